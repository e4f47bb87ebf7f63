// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/channel.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"
#include "tests/lib/kube/fake_http_client.hpp"

namespace kua::channel {
namespace {

using test::error_of;
using test::FakeHttpClient;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kStable = "https://update.k3s.io/v1-release/channels/stable";

std::string named(FakeHttpClient& web, const std::string& url = kStable) {
    return resolve(web, url, "", "", {}).text();
}

TEST(Channel, TakesTheVersionFromA302) {
    for (const char* location :
         {"https://github.com/k3s-io/k3s/releases/tag/v1.31.4+k3s1",
          "https://github.com/k3s-io/k3s/releases/tag/v1.31.4%2Bk3s1",
          "https://github.com/k3s-io/k3s/releases/tag/v1.31.4%2bk3s1",
          "https://example.org/v1.31.4-k3s1", "/tag/v1.31.4+k3s1/", "v1.31.4+k3s1",
          "https://example.org/tag/v1.31.4+k3s1?from=channel#top"}) {
        FakeHttpClient web;
        web.then_text(302, "", {{"Location", location}});
        EXPECT_EQ(named(web), "v1.31.4+k3s1") << location;
        EXPECT_EQ(web.requests().at(0).most_redirects, 0) << "a redirect is the answer";
    }
}

TEST(Channel, TakesTheVersionFromItsOwnUrlWithAnyOtherStatusBelow400) {
    // SUC's test is `status / 200 == 1`.
    for (const int status : {200, 204, 299, 301, 304, 307, 399}) {
        FakeHttpClient web;
        web.then_text(status, "<html>");
        EXPECT_EQ(named(web, "https://example.org/pinned/v1.31.4%2Bk3s1/?x=y"), "v1.31.4+k3s1");
    }
}

TEST(Channel, IsNotFooledByACaptivePortal) {
    FakeHttpClient web;
    web.then_text(200, "<html>log in here</html>");
    auto error = error_of([&] { named(web); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("names \"stable\", which is not a k3s version"));
    web.then_text(302, "", {{"Location", "http://wifi.example.org/login"}});
    error = error_of([&] { named(web); });
    EXPECT_THAT(error.what(), HasSubstr("names \"login\""));
    web.then_text(302, "");
    error = error_of([&] { named(web); });
    EXPECT_THAT(error.what(), HasSubstr("names \"\""));
    web.then_text(302, "", {{"Location", std::string(5000, 'x')}});
    EXPECT_LT(std::string(error_of([&] { named(web); }).what()).size(), 400U);
    web.then_text(301, "", {{"Location", "https://example.org/v1.31.4+k3s1"}});
    error = error_of([&] { named(web); });
    EXPECT_THAT(error.what(), HasSubstr("(status 301, so its own URL counts)"));
}

TEST(Channel, IsNotShownWithItsSecrets) {
    FakeHttpClient web;
    web.then_text(404, "").then_text(302, "");
    for (int i = 0; i < 2; ++i) {
        const auto error =
            error_of([&] { named(web, "https://me:pass@example.org/stable?token=secret"); });
        EXPECT_THAT(error.what(), HasSubstr("https://example.org/stable"));
        EXPECT_THAT(error.what(), Not(AnyOf(HasSubstr("secret"), HasSubstr("pass"))));
    }
    EXPECT_EQ(web.requests().at(0).url, "https://me:pass@example.org/stable?token=secret");
    EXPECT_EQ(error_of([&] { named(web, "no url at all"); }).kind(), ErrorKind::invalid);
}

TEST(Channel, NeedNotRepeatItself) {
    FakeHttpClient web;
    web.then_text(302, "", {{"Location", "/v1.31.4+k3s1"}, {"ETag", "\"a\""}}).then_text(304, "");
    const auto first = ask(web, kStable, "", "", "", {});
    EXPECT_FALSE(first.unchanged);
    EXPECT_EQ(first.version.text(), "v1.31.4+k3s1");
    EXPECT_EQ(first.etag, "\"a\"");
    const auto second = ask(web, kStable, "", "", first.etag, {});
    EXPECT_TRUE(second.unchanged);
    EXPECT_EQ(second.etag, first.etag) << "for the question after this one";
    EXPECT_FALSE(web.requests().at(0).headers.contains("If-None-Match"));
    EXPECT_EQ(web.requests().at(1).headers.at("If-None-Match"), "\"a\"");
}

TEST(Channel, IsNotWaitedForLong) {
    FakeHttpClient web;
    web.then_text(302, "", {{"Location", "/v1.31.4+k3s1"}});
    named(web);
    EXPECT_EQ(web.requests().at(0).timeout, std::chrono::seconds(15));
}

TEST(Channel, SaysWhatElseItIsAnswered) {
    struct Case {
        int status;
        ErrorKind kind;
    };
    for (const auto& [status, kind] : std::vector<Case>{{199, ErrorKind::invalid},
                                                        {400, ErrorKind::invalid},
                                                        {404, ErrorKind::invalid},
                                                        {429, ErrorKind::transient},
                                                        {500, ErrorKind::transient},
                                                        {503, ErrorKind::transient}}) {
        FakeHttpClient web;
        web.then_text(status, "", {{"Location", "https://example.org/v1.31.4+k3s1"}});
        const auto error = error_of([&] { named(web); });
        EXPECT_EQ(error.kind(), kind) << status;
        EXPECT_THAT(error.what(), AllOf(HasSubstr(kStable), HasSubstr(std::to_string(status))));
    }
    FakeHttpClient web;
    web.then_fail();
    EXPECT_EQ(error_of([&] { named(web); }).kind(), ErrorKind::transient);
}

TEST(Channel, IsToldWhatSucTellsIt) {
    FakeHttpClient web;
    const http::Headers answer = {{"Location", "/v1.31.4+k3s1"}};
    web.then_text(302, "", answer).then_text(302, "", answer);
    resolve(web, kStable, "v1.30.4-k3s1", "cluster-uid", {});
    resolve(web, kStable, "", "", {});
    const auto requests = web.requests();
    EXPECT_EQ(requests.at(0).method, "GET");
    EXPECT_EQ(requests.at(0).headers.at("X-SUC-Latest-Version"), "v1.30.4-k3s1");
    EXPECT_EQ(requests.at(0).headers.at("X-SUC-Cluster-ID"), "cluster-uid");
    EXPECT_FALSE(requests.at(1).headers.contains("X-SUC-Latest-Version"));
    EXPECT_FALSE(requests.at(1).headers.contains("X-SUC-Cluster-ID"));
}

}  // namespace
}  // namespace kua::channel
