// SPDX-License-Identifier: Apache-2.0
#include "agent/node/etcd_health.hpp"

#include <gmock/gmock.h>

#include <vector>

#include "lib/log/log.hpp"
#include "tests/agent/support.hpp"
#include "tests/fakes/fake_clock.hpp"
#include "tests/lib/kube/fake_http_client.hpp"

namespace kua::node {
namespace {

using std::chrono::seconds;
using test::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// As etcd 3.5 says it.
constexpr auto kHealthy = R"({"health":"true","reason":""})";
constexpr auto kSick = R"({"health":"false","reason":"RAFT NO LEADER"})";

class EtcdHealth : public ::testing::Test {
  protected:
    EtcdHealth() {
        log::set_sink([this](log::Level, std::string_view message, const log::Fields&) {
            logged_.emplace_back(message);
        });
    }
    ~EtcdHealth() override { log::set_sink({}); }

    void wait() { wait_etcd_healthy(web_, clock_, seconds(60), {}); }

    test::FakeHttpClient web_;
    test::FakeClock clock_;
    std::vector<std::string> logged_;
};

TEST_F(EtcdHealth, IsAskedOnThisHost) {
    web_.then_text(200, kHealthy);
    EXPECT_NO_THROW(wait());
    ASSERT_THAT(web_.requests(), SizeIs(1));
    EXPECT_EQ(web_.requests().front().url, "http://localhost:2381/health");
}

TEST_F(EtcdHealth, IsWaitedFor) {
    web_.then_fail().then_text(503, kSick).then_fail().then_text(200, kHealthy);
    EXPECT_NO_THROW(wait());
    EXPECT_THAT(web_.requests(), SizeIs(4));
    EXPECT_THAT(logged_, IsEmpty());
}

TEST_F(EtcdHealth, FailsWithWhatEtcdSays) {
    for (int i = 0; i < 100; ++i) {
        web_.then_text(503, kSick);
    }
    const auto error = error_of([&] { wait(); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("the etcd of this host is not healthy after 1m"),
                                    HasSubstr("503 RAFT NO LEADER")));
}

TEST_F(EtcdHealth, FailsWithAllThatAnOldEtcdSays) {
    for (int i = 0; i < 100; ++i) {
        web_.then_text(503, R"({"health":"false"})");
    }
    EXPECT_THAT(error_of([&] { wait(); }).what(), HasSubstr(R"(503 {"health":"false"})"));
}

TEST_F(EtcdHealth, FailsWhenItIsSickAndThenSilent) {
    web_.then_text(503, "no JSON");
    for (int i = 0; i < 100; ++i) {
        web_.then_fail();
    }
    EXPECT_EQ(error_of([&] { wait(); }).kind(), ErrorKind::failed);
}

TEST_F(EtcdHealth, IsNotToBeKnownWhereNobodyAnswers) {
    for (int i = 0; i < 100; ++i) {
        web_.then_fail();
    }
    const auto begin = clock_.monotonic();
    EXPECT_NO_THROW(wait());
    EXPECT_LE(clock_.monotonic() - begin, seconds(31));
    EXPECT_THAT(logged_, SizeIs(1));
}

TEST_F(EtcdHealth, EndsWhenTheAgentDoes) {
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ(
        error_of([&] { wait_etcd_healthy(web_, clock_, seconds(60), stop.get_token()); }).kind(),
        ErrorKind::stopped);
}

}  // namespace
}  // namespace kua::node
