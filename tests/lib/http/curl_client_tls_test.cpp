// SPDX-License-Identifier: Apache-2.0
// Whom CurlClient trusts, and as whom it shows itself.
#include <gmock/gmock.h>

#include <map>
#include <mutex>
#include <set>

#include "tests/lib/http/fixture.hpp"

namespace kua::http {
namespace {

using test::answer;
using test::Authority;
using test::Connection;
using test::error_of;
using test::Identity;
using test::Received;
using test::replying;
using test::TlsServer;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using CurlClientTls = test::CurlClientTest;

std::function<void(Connection&)> fine() {
    return replying([](const Received&) { return answer(200, "x"); });
}

TEST_F(CurlClientTls, RefusesAnUntrustedAuthority) {
    TlsServer server(identity_, fine());
    Request sent = request(server.url("/"));
    sent.tls.ca_pem = Authority("another authority").pem();
    const Error error = error_of([&] { client_.send(sent, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), StartsWith("GET " + server.url("/") + ": SSL certificate problem"));
}

TEST_F(CurlClientTls, TrustsTheSystemsStoreWhenNoAuthorityIsGiven) {
    TlsServer server(identity_, fine());
    Request sent = request(server.url("/"));
    sent.tls.ca_pem.clear();
    EXPECT_EQ(error_of([&] { client_.send(sent, {}); }).kind(), ErrorKind::invalid);
}

TEST_F(CurlClientTls, RefusesAnotherHostsCertificate) {
    TlsServer server(authority_.issue({"other", "", {"other.example", "127.0.0.2"}}), fine());
    const Error error = error_of([&] { client_.send(request(server.url("/")), {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("127.0.0.1"));
}

TEST_F(CurlClientTls, TakesAnyCertificateWhenToldNotToLook) {
    TlsServer server(Authority("another authority")
                         .issue({"other", "", {"other.example"}, std::chrono::hours(-1)}),
                     fine());
    Request sent = request(server.url("/"));
    EXPECT_EQ(error_of([&] { client_.send(sent, {}); }).kind(), ErrorKind::invalid);
    sent.tls.verify = false;
    EXPECT_EQ(client_.send(sent, {}).body, "x");
    // The connection that was made without looking is not for those who look.
    sent.tls.verify = true;
    EXPECT_EQ(error_of([&] { client_.send(sent, {}); }).kind(), ErrorKind::invalid);
}

TEST_F(CurlClientTls, RefusesAnExpiredCertificate) {
    TlsServer server(authority_.issue({"server", "", {"127.0.0.1"}, std::chrono::hours(-1)}),
                     fine());
    const Error error = error_of([&] { client_.send(request(server.url("/")), {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("expired"));
}

TEST_F(CurlClientTls, DoesNotReuseATrustedConnectionForWhoDoesNotTrustIt) {
    TlsServer server(identity_, fine());
    EXPECT_EQ(client_.send(request(server.url("/")), {}).status, 200);
    Request sent = request(server.url("/"));
    sent.tls.ca_pem = Authority("another authority").pem();
    EXPECT_EQ(error_of([&] { client_.send(sent, {}); }).kind(), ErrorKind::invalid);
}

TEST_F(CurlClientTls, RefusesACertificateOfOurOwnThatIsNone) {
    TlsServer server(identity_, fine());
    const Identity self = authority_.issue({"client"});
    const Identity stranger = authority_.issue({"stranger"});
    Request sent = request(server.url("/"));
    sent.tls.certificate_pem = "nonsense";
    sent.tls.key_pem = self.key_pem;
    EXPECT_EQ(error_of([&] { client_.send(sent, {}); }).kind(), ErrorKind::invalid);
    sent.tls.certificate_pem = self.certificate_pem;
    sent.tls.key_pem = stranger.key_pem;
    EXPECT_EQ(error_of([&] { client_.send(sent, {}); }).kind(), ErrorKind::invalid);
}

// Who was seen on which connection.
class Visitors {
  public:
    std::function<void(Connection&)> handler() {
        return [this](Connection& connection) {
            while (connection.receive()) {
                {
                    const std::lock_guard lock(mutex_);
                    seen_[connection.client()].insert(connection.number());
                }
                connection.send(answer(200, connection.client()));
            }
        };
    }
    std::map<std::string, std::set<int>> seen() {
        const std::lock_guard lock(mutex_);
        return seen_;
    }

  private:
    std::mutex mutex_;
    std::map<std::string, std::set<int>> seen_;
};

TEST_F(CurlClientTls, ShowsTheClientsCertificate) {
    Visitors visitors;
    TlsServer server(identity_, visitors.handler(), authority_.pem());
    const Identity self = authority_.issue({"system:node:one", "system:nodes", {}});
    Request sent = request(server.url("/"));
    EXPECT_EQ(error_of([&] { client_.send(sent, {}); }).kind(), ErrorKind::transient);
    sent.tls.certificate_pem = self.certificate_pem;
    sent.tls.key_pem = self.key_pem;
    EXPECT_EQ(client_.send(sent, {}).body, "system:node:one");
}

// libcurl shares connections and TLS sessions by what they were made with: a rotated certificate
// must not go on with the old one.
TEST_F(CurlClientTls, OpensAnotherConnectionForAnotherCertificate) {
    Visitors visitors;
    TlsServer server(identity_, visitors.handler(), authority_.pem());
    const Identity first = authority_.issue({"first"});
    const Identity second = authority_.issue({"second"});
    Request sent = request(server.url("/"));
    for (int round = 0; round < 3; ++round) {
        sent.tls.certificate_pem = first.certificate_pem;
        sent.tls.key_pem = first.key_pem;
        EXPECT_EQ(client_.send(sent, {}).body, "first");
        sent.tls.certificate_pem = second.certificate_pem;
        sent.tls.key_pem = second.key_pem;
        EXPECT_EQ(client_.send(sent, {}).body, "second");
    }
    const std::map<std::string, std::set<int>> expected{{"first", {1}}, {"second", {2}}};
    EXPECT_EQ(visitors.seen(), expected);
}

}  // namespace
}  // namespace kua::http
