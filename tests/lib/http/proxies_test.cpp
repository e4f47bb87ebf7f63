// SPDX-License-Identifier: Apache-2.0
#include "lib/http/proxies.hpp"

#include <gmock/gmock.h>

#include <vector>

#include "lib/base/error.hpp"
#include "tests/lib/http/fixture.hpp"

namespace kua::http {
namespace {

using test::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Proxies, AreChosenByTheUrlsScheme) {
    const Proxies proxies{"https://s.example:8443", "h.example:3128", ""};
    EXPECT_EQ(proxy_for(parse_url("https://example.org/"), proxies), "https://s.example:8443");
    EXPECT_EQ(proxy_for(parse_url("http://example.org/"), proxies), "http://h.example:3128");
    EXPECT_EQ(proxy_for(parse_url("http://example.org/"), {"x", "", ""}), "");
    EXPECT_EQ(proxy_for(parse_url("https://example.org/"), {" u:p%40@x:1 ", "", ""}),
              "http://u:p%40@x:1");
}

TEST(Proxies, AreNotAskedForWhatNoProxyNames) {
    struct Case {
        const char* no_proxy;
        const char* url;
        bool direct;
    };
    for (const auto& [no_proxy, url, direct] : std::vector<Case>{
             {"", "https://example.org/", false},
             {"*", "https://example.org/", true},
             {"a, * ,b", "https://example.org/", true},
             {"example.org", "https://example.org/", true},
             {"Example.ORG", "https://eXample.org/", true},
             {"example.org", "https://www.example.org/", true},
             {"example.org", "https://badexample.org/", false},
             {"example.org", "https://example.org.evil.test/", false},
             {".example.org", "https://www.example.org/", true},
             {".example.org", "https://example.org/", false},
             {"*.example.org", "https://www.example.org/", true},
             {"example.org:8443", "https://example.org:8443/", true},
             {"example.org:8443", "https://example.org/", false},
             {"example.org:443", "https://example.org/", true},
             {"10.0.0.0/8", "https://10.1.2.3/", true},
             {"10.0.0.0/8", "https://11.1.2.3/", false},
             {"10.1.2.128/25", "https://10.1.2.127/", false},
             {"10.0.0.0/33", "https://10.0.0.0/", false},
             {"10.0.0.0/", "https://10.0.0.0/", false},
             {"0.0.0.0/0", "https://192.0.2.1/", true},
             {"0.0.0.0/0", "https://[2001:db8::1]/", false},
             {"2001:db8::/32", "https://[2001:db8::1]/", true},
             {"192.0.2.1", "https://192.0.2.1/", true},
             {"192.0.2.1", "https://192.0.2.10/", false},
             {"192.0.2.1:5000", "https://192.0.2.1:5000/", true},
             {"192.0.2.1:5000", "https://192.0.2.1/", false},
             {"2001:db8::1", "https://[2001:db8::1]/", true},
             {"[2001:db8::1]:5000", "https://[2001:db8::1]:5000/", true},
             {",,", "https://example.org/", false},
             {"", "https://localhost/", true},
             {"", "https://127.0.0.1:6443/", true},
             {"", "https://[::1]/", true},
         }) {
        EXPECT_EQ(proxy_for(parse_url(url), {"p.example", "", no_proxy}).empty(), direct)
            << url << " with " << no_proxy;
    }
}

TEST(Proxies, ThatAreNoneAreRefusedWithoutTheirPassword) {
    for (const char* proxy : {"http://user:secret@", "ftp://user:secret@proxy.example",
                              "http://user:secret@pro xy", "user:secret@proxy.example:99999999"}) {
        const Error error = error_of([&] {
            proxy_for(parse_url("https://example.org/"), {proxy, "", ""});
        });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << proxy;
        EXPECT_THAT(error.what(), AllOf(HasSubstr("the proxy for https"), Not(HasSubstr("secret")),
                                        HasSubstr("http://proxy.example:3128")));
    }
}

TEST(Proxies, OfAnEnvironmentPreferCapitals) {
    const Environment environment{{"HTTPS_PROXY", "one"},        {"https_proxy", "two"},
                                  {"http_proxy", "three"},       {"NO_PROXY", " "},
                                  {"no_proxy", "four"},          {"CONTAINERD_HTTPS_PROXY", "five"},
                                  {"CONTAINERD_no_proxy", "six"}};
    const auto plain = proxies_of(environment);
    EXPECT_EQ(plain.https, "one");
    EXPECT_EQ(plain.http, "three");
    EXPECT_EQ(plain.no_proxy, "four");
    const auto prefixed = proxies_of(environment, "CONTAINERD_");
    EXPECT_EQ(prefixed.https, "five");
    EXPECT_EQ(prefixed.http, "");
    EXPECT_EQ(prefixed.no_proxy, "six");
}

}  // namespace
}  // namespace kua::http
