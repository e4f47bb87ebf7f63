// SPDX-License-Identifier: Apache-2.0
#include "lib/http/url.hpp"

#include <gtest/gtest.h>

#include "lib/base/error.hpp"
#include "tests/lib/http/fixture.hpp"

namespace kua::http {
namespace {

TEST(Url, KeepsAnEncodedPlusAsItIs) {
    const Url url = parse_url("https://example.org/download/v1.30.4%2Bk3s1/k3s");
    EXPECT_EQ(url.text, "https://example.org/download/v1.30.4%2Bk3s1/k3s");
    EXPECT_EQ(parse_url("https://example.org/v1.30.4+k3s1").text,
              "https://example.org/v1.30.4+k3s1");
}

TEST(Url, ShowsNeitherUserNorQuery) {
    EXPECT_EQ(parse_url("https://user:secret@example.org/a?token=secret#x").shown,
              "https://example.org/a");
}

TEST(Url, NamesItsOriginWithThePort) {
    EXPECT_EQ(parse_url("https://example.org/a").origin, "https://example.org:443");
    EXPECT_EQ(parse_url("http://example.org:8080/a").origin, "http://example.org:8080");
    EXPECT_EQ(parse_url("HTTPS://example.org").scheme, "https");
}

TEST(Url, ResolvesWhatALocationHeaderMaySay) {
    const Url base = parse_url("https://example.org/a/b?c");
    EXPECT_EQ(resolve_url(base, "/x").text, "https://example.org/x");
    EXPECT_EQ(resolve_url(base, "x?y=1").text, "https://example.org/a/x?y=1");
    EXPECT_EQ(resolve_url(base, "//other.example/x").text, "https://other.example/x");
    EXPECT_EQ(resolve_url(base, "http://other.example/x#part").text, "http://other.example/x");
}

TEST(Url, RefusesWhatIsNoHttpUrlAndSaysWhy) {
    for (const char* text : {"", "/path", "file:///etc/passwd", "ftp://example.org/", "https://",
                             "https://exa mple.org/", "https://example.org:99999/", "nonsense"}) {
        const Error error = test::error_of([&] { parse_url(text); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << text;
        EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
}

TEST(Url, ThatIsNoneIsShownWithoutItsSecrets) {
    for (const char* text :
         {"https://user:secret@exa mple.org/", "https://user:se?secret@exa mple.org/",
          "user:secret@exa mple.org", "https://example.org:99999/?secret", "@secret@: //",
          "https://user:x@secret@exa mple.org/"}) {
        const Error error = test::error_of([&] { parse_url(text); });
        EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos) << error.what();
    }
}

TEST(Url, KeepsCredentialsOnTheSameHostOnly) {
    const Url base = parse_url("https://user:password@example.org/a/b");
    EXPECT_EQ(base.shown, "https://example.org/a/b");
    EXPECT_EQ(base.host, "example.org");
    EXPECT_EQ(base.port, "443");
    EXPECT_EQ(resolve_url(base, "/c").text, "https://user:password@example.org/c");
    EXPECT_EQ(resolve_url(base, "//other.example/c").text, "https://other.example/c");
    EXPECT_EQ(resolve_url(base, "https://other.example/c").text, "https://other.example/c");
}

}  // namespace
}  // namespace kua::http
