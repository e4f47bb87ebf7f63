// SPDX-License-Identifier: Apache-2.0
// Which redirects CurlClient follows, and what it takes along.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <netdb.h>

#include <map>
#include <string_view>

#include "tests/lib/http/fixture.hpp"

namespace {

constexpr const char* kLinkLocal4 = "four.link-local.test";
constexpr const char* kLinkLocal6 = "six.link-local.test";
constexpr const char* kLinkLocalMapped = "mapped.link-local.test";

}  // namespace

// Stands in for a name server that somebody else has: libcurl's look-ups in this program come here
// first. Different from one: it knows three names.
extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints,
                           addrinfo** result) {
    using Lookup = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
    static const auto real = reinterpret_cast<Lookup>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    const std::string_view asked(name == nullptr ? "" : name);
    addrinfo own = hints == nullptr ? addrinfo{} : *hints;
    own.ai_family = AF_UNSPEC;  // libcurl may ask for IPv4 only, where there is no IPv6
    if (asked == kLinkLocal4) return real("169.254.169.254", service, &own, result);
    if (asked == kLinkLocal6) return real("fe80::1", service, &own, result);
    if (asked == kLinkLocalMapped) return real("::ffff:169.254.169.254", service, &own, result);
    return real(name, service, hints, result);
}

namespace kua::http {
namespace {

using test::answer;
using test::Connection;
using test::error_of;
using test::Identity;
using test::Received;
using test::replying;
using test::TlsServer;
using ::testing::HasSubstr;

using Redirect = test::CurlClientTest;

std::string to(const std::string& location, int status = 302) {
    return answer(status, "elsewhere", "Location: " + location + "\r\n");
}

TEST_F(Redirect, IsAnAnswerUnlessAskedFor) {
    TlsServer server(identity_, replying([](const Received&) { return to("/v1.30.4+k3s1"); }));
    const Response response = client_.send(request(server.url("/channels/stable")), {});
    EXPECT_EQ(response.status, 302);
    EXPECT_EQ(response.header("Location"), "/v1.30.4+k3s1");
    EXPECT_EQ(response.url, server.url("/channels/stable"));
}

TEST_F(Redirect, IsFollowedAsOftenAsAllowed) {
    TlsServer server(identity_, replying([](const Received& received) {
                         if (received.target == "/a/1") return to("2");
                         if (received.target == "/a/2") return to("/b%2Bc", 307);
                         return answer(200, "here");
                     }));
    Request sent = request(server.url("/a/1"));
    sent.most_redirects = 2;
    const Response response = client_.send(sent, {});
    EXPECT_EQ(response.body, "here");
    EXPECT_EQ(response.url, server.url("/b%2Bc"));
    EXPECT_EQ(response.header("Location"), "");

    sent.most_redirects = 1;
    const Error error = error_of([&] { client_.send(sent, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("more than 1 redirects"));
}

TEST_F(Redirect, IsNotShownToTheConsumerOfAStream) {
    TlsServer server(identity_, replying([](const Received& received) {
                         return received.target == "/1" ? to("/2") : answer(200, "here");
                     }));
    Request sent = request(server.url("/1"));
    sent.most_redirects = 5;
    std::string seen;
    int heads = 0;
    Consumer consumer;
    consumer.on_head = [&](const Response& head) { return ++heads == 1 && head.status == 200; };
    consumer.on_data = [&](std::string_view data) { seen += data; };
    EXPECT_EQ(client_.stream(sent, consumer, {}).url, server.url("/2"));
    EXPECT_EQ(seen, "here");
}

TEST_F(Redirect, NeverLeavesTls) {
    TlsServer server(identity_,
                     replying([](const Received&) { return to("http://127.0.0.1:1/x?secret"); }));
    Request sent = request(server.url("/"));
    sent.most_redirects = 5;
    const Error error = error_of([&] { client_.send(sent, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("is redirected to http://127.0.0.1:1/x, without TLS"));
}

TEST_F(Redirect, DoesNotLeadToALinkLocalAddress) {
    for (const char* target :
         {"https://169.254.169.254/latest?secret", "https://[fe80::1]/latest?secret",
          "https://[::ffff:169.254.169.254]/latest?secret", "https://2852039166/latest?secret",
          "//0xa9.0xfe.0xa9.0xfe/latest?secret"}) {
        TlsServer server(identity_, replying([&](const Received&) { return to(target); }));
        Request sent = request(server.url("/"));
        sent.most_redirects = 5;
        const Error error = error_of([&] { client_.send(sent, {}); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << target;
        EXPECT_THAT(error.what(),
                    ::testing::AllOf(HasSubstr("GET " + server.url("/")), HasSubstr("/latest"),
                                     HasSubstr("a link-local address"),
                                     ::testing::Not(HasSubstr("secret"))));
    }
}

TEST_F(Redirect, DoesNotLeadToALinkLocalAddressByName) {
    for (const char* host : {kLinkLocal4, kLinkLocal6, kLinkLocalMapped}) {
        TlsServer server(identity_, replying([&](const Received&) {
                             return to(std::string("https://") + host + "/latest?secret");
                         }));
        Request sent = request(server.url("/"));
        sent.most_redirects = 5;
        const Error error = error_of([&] { client_.send(sent, {}); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << host;
        EXPECT_THAT(error.what(),
                    ::testing::AllOf(HasSubstr(std::string("GET https://") + host + "/latest: "),
                                     HasSubstr("link-local"), ::testing::Not(HasSubstr("secret"))));
    }
}

TEST_F(Redirect, FromALinkLocalAddressThatWasAskedForIsAnotherMatter) {
    // Without a zone the kernel refuses at once: that is not our refusal.
    Request sent = request(std::string("https://") + kLinkLocal6 + "/");
    sent.most_redirects = 5;
    EXPECT_EQ(error_of([&] { client_.send(sent, {}); }).kind(), ErrorKind::transient);
}

TEST_F(Redirect, ToNowhereSensibleIsRefused) {
    TlsServer server(identity_, replying([](const Received&) { return to("file:///etc/passwd"); }));
    Request sent = request(server.url("/"));
    sent.most_redirects = 5;
    EXPECT_EQ(error_of([&] { client_.send(sent, {}); }).kind(), ErrorKind::invalid);
}

TEST_F(Redirect, TakesCredentialsAlongOnTheSameHostOnly) {
    std::map<std::string, std::string> seen;
    const auto note = [&](Connection& connection, const Received& received) {
        const auto found = received.headers.find("Authorization");
        seen[received.target] =
            (found == received.headers.end() ? "" : found->second) + "|" + connection.client();
    };
    TlsServer other(identity_, [&](Connection& connection) {
        while (const auto received = connection.receive()) {
            note(connection, *received);
            connection.send(answer(200, ""));
        }
    });
    // This server asks for a certificate.
    TlsServer server(
        identity_,
        [&](Connection& connection) {
            while (const auto received = connection.receive()) {
                note(connection, *received);
                connection.send(received->target == "/1" ? to("/2") : to(other.url("/3")));
            }
        },
        authority_.pem());
    const Identity self = authority_.issue({"me"});
    Request sent = request(server.url("/1"));
    sent.tls.certificate_pem = self.certificate_pem;
    sent.tls.key_pem = self.key_pem;
    sent.headers.emplace("authorization", "Bearer x");
    sent.most_redirects = 5;
    EXPECT_EQ(client_.send(sent, {}).status, 200);
    const std::map<std::string, std::string> expected{
        {"/1", "Bearer x|me"}, {"/2", "Bearer x|me"}, {"/3", "|"}};
    EXPECT_EQ(seen, expected);
}

TEST_F(Redirect, DoesNotShowTheCertificateToAnotherHostThatAsksForIt) {
    TlsServer other(identity_, replying([](const Received&) { return answer(200, ""); }),
                    authority_.pem());
    TlsServer server(identity_, replying([&](const Received&) { return to(other.url("/")); }));
    const Identity self = authority_.issue({"me"});
    Request sent = request(server.url("/"));
    sent.tls.certificate_pem = self.certificate_pem;
    sent.tls.key_pem = self.key_pem;
    sent.most_redirects = 5;
    // It insists, and is left without.
    EXPECT_EQ(error_of([&] { client_.send(sent, {}); }).kind(), ErrorKind::transient);
}

TEST_F(Redirect, KeepsOrDropsMethodAndBodyByStatus) {
    struct Case {
        int status;
        const char* method;
        const char* then;
    };
    for (const Case& one : {Case{303, "POST", "GET"}, Case{302, "POST", "GET"},
                            Case{307, "POST", "POST"}, Case{308, "PUT", "PUT"}}) {
        Received last;
        TlsServer server(identity_, replying([&](const Received& received) {
                             last = received;
                             return received.target == "/1" ? to("/2", one.status)
                                                            : answer(200, "");
                         }));
        Request sent = request(server.url("/1"));
        sent.method = one.method;
        sent.body = "text";
        sent.most_redirects = 1;
        EXPECT_EQ(client_.send(sent, {}).status, 200);
        EXPECT_EQ(last.method, one.then) << one.status;
        EXPECT_EQ(last.body, std::string(one.then) == "GET" ? "" : "text") << one.status;
    }
}

}  // namespace
}  // namespace kua::http
