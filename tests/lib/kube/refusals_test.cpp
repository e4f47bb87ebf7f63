// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/refusals.hpp"

#include <gtest/gtest.h>

#include "tests/fakes/fake_clock.hpp"

namespace kua::kube {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using Verdict = Refusals::Verdict;

class RefusalsTest : public ::testing::Test {
  protected:
    Verdict refuse(const std::string& request = "GET /a", const std::string& said = "forbidden") {
        return refusals_.refused(request, said, clock_.monotonic());
    }
    void start() { refusals_.server_may_have_started(clock_.monotonic()); }

    test::FakeClock clock_;
    Refusals refusals_;
};

TEST_F(RefusalsTest, LastAfterThirtySecondsWithoutAGrant) {
    EXPECT_EQ(refuse(), Verdict::may_pass);
    clock_.advance(milliseconds(29'999));
    EXPECT_EQ(refuse(), Verdict::may_pass);
    clock_.advance(milliseconds(1));
    EXPECT_EQ(refuse(), Verdict::lasts);
    clock_.advance(minutes(60));
    EXPECT_EQ(refuse(), Verdict::lasts);
}

TEST_F(RefusalsTest, BeginAnewAfterAGrantAndAfterAnOutage) {
    refuse();
    clock_.advance(seconds(30));
    refusals_.granted("GET /b");
    EXPECT_EQ(refuse(), Verdict::lasts) << "that was another request";
    refusals_.granted("GET /a");
    EXPECT_EQ(refuse(), Verdict::may_pass);
    clock_.advance(seconds(30));
    start();
    EXPECT_EQ(refuse(), Verdict::starting);
    clock_.advance(seconds(30));
    EXPECT_EQ(refuse(), Verdict::lasts);
}

TEST_F(RefusalsTest, BelongToTheStartWhenTheyBeginWithinAMinuteOfIt) {
    start();
    clock_.advance(seconds(59));
    EXPECT_EQ(refuse("GET /a"), Verdict::starting);
    clock_.advance(seconds(1));
    EXPECT_EQ(refuse("GET /a"), Verdict::starting) << "it began in time";
    EXPECT_EQ(refuse("GET /b"), Verdict::may_pass);
}

TEST_F(RefusalsTest, BelongToTheStartWhereTheServerSaysSo) {
    const std::string role =
        R"(plans is forbidden: User "x" cannot list resource "plans": RBAC: clusterrole.rbac.)"
        R"(authorization.k8s.io "y" not found)";
    EXPECT_EQ(refuse("GET /a", role), Verdict::starting);
    EXPECT_EQ(refuse("GET /b", "pods is forbidden: not yet ready to handle request"),
              Verdict::starting);
    // A binding to a role that never comes.
    clock_.advance(seconds(30));
    EXPECT_EQ(refuse("GET /a", role), Verdict::lasts);
}

TEST_F(RefusalsTest, OfEverNewObjectsForgetTheOldestOnly) {
    refuse("GET /lasting");
    for (int second = 0; second < 1'000; ++second) {
        clock_.advance(seconds(1));
        refuse("POST /pods/" + std::to_string(second) + "/eviction");
        const auto expected = second + 1 < 30 ? Verdict::may_pass : Verdict::lasts;
        ASSERT_EQ(refuse("GET /lasting"), expected) << second;
    }
}

}  // namespace
}  // namespace kua::kube
