// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/election.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"
#include "tests/fakes/fake_clock.hpp"

namespace kua::coordinator {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr auto kLock = "/api/v1/namespaces/system-upgrade/configmaps/k3s-upgrade-agent";
const std::string kPatch = format("PATCH {}", kLock);
const std::string kGet = format("GET {}", kLock);

class ElectionTest : public ::testing::Test {
  protected:
    ElectionTest() { api_.put(kLock, {{"metadata", {{"name", "k3s-upgrade-agent"}}}}); }

    /// What a watch would have brought by now.
    [[nodiscard]] lock::Lock lock() const { return lock::read_lock(api_.get(kLock)); }

    Duration turn(const lock::Lock& seen, std::optional<std::int64_t> nodes = std::nullopt) {
        slots_.observe(seen);
        return election_.turn(seen, nodes, {});
    }

    Duration turn(std::optional<std::int64_t> nodes = std::nullopt) { return turn(lock(), nodes); }

    void put_lease(const std::string& holder, const std::string& renewed, int nodes = 0) {
        api_.edit(
            kLock,
            {{"data",
              {{"coordinator",
                to_json(lock::CoordinatorLease{holder, renewed, renewed, 45, nodes}).dump()}}}});
    }

    /// The requests since this was asked last.
    std::vector<std::string> requests() {
        std::vector<std::string> texts;
        const auto all = api_.requests();
        for (; asked_ < all.size(); ++asked_) {
            texts.push_back(all[asked_].text());
        }
        return texts;
    }

    test::TempFolder folder_;
    test::FakeApi api_;
    test::FakeClock clock_;
    kube::Client client_{api_, test::write_kubeconfig(folder_)};
    lock::Slots slots_{client_, clock_, {"system-upgrade", "k3s-upgrade-agent", "server-1"}};
    std::vector<bool> roles_;
    Election election_{slots_, clock_, [this](bool leading) { roles_.push_back(leading); }};
    std::size_t asked_ = 0;
};

TEST_F(ElectionTest, TakesALeaseThatNobodyHoldsWithOneRequest) {
    EXPECT_EQ(turn(), seconds(15));
    EXPECT_TRUE(election_.leading());
    EXPECT_THAT(roles_, ElementsAre(true));
    EXPECT_THAT(requests(), ElementsAre(kPatch));
    const auto lease = lock().coordinator.value();
    EXPECT_EQ(lease.holder, "server-1");
    EXPECT_EQ(lease.ttl_seconds, 45);
    EXPECT_EQ(lease.acquired, lease.renewed);
}

TEST_F(ElectionTest, RenewsWithOneRequestAndNotBeforeItIsTime) {
    turn();
    const auto first = lock().coordinator.value();
    requests();
    clock_.advance(seconds(14));
    EXPECT_EQ(turn(), seconds(1));
    EXPECT_THAT(requests(), IsEmpty());
    clock_.advance(seconds(1));
    EXPECT_EQ(turn(), seconds(15));
    EXPECT_THAT(requests(), ElementsAre(kPatch));
    const auto second = lock().coordinator.value();
    EXPECT_EQ(second.acquired, first.acquired);
    EXPECT_NE(second.renewed, first.renewed);
    EXPECT_THAT(roles_, ElementsAre(true));
}

TEST_F(ElectionTest, RenewsWhateverElseIsWrittenInTheLock) {
    turn();
    const auto stale = lock();
    api_.edit(kLock, {{"data", {{"p.a", "x"}}}});
    requests();
    clock_.advance(seconds(15));
    turn(stale);
    EXPECT_THAT(requests(), ElementsAre(kPatch));
    EXPECT_TRUE(election_.leading());
}

TEST_F(ElectionTest, ReadsTheLockWhenAnotherHasTakenItsLease) {
    turn();
    const auto stale = lock();
    put_lease("server-2", "t9");
    requests();
    clock_.advance(seconds(15));
    turn(stale);
    EXPECT_THAT(requests(), ElementsAre(kPatch, kGet));
    EXPECT_FALSE(election_.leading());
}

TEST_F(ElectionTest, IsNotConfusedByACopyFromBeforeItWasElected) {
    const auto stale = lock();
    turn(stale);
    requests();
    EXPECT_EQ(turn(stale), seconds(15));
    EXPECT_THAT(requests(), IsEmpty());
    EXPECT_TRUE(election_.leading());
}

TEST_F(ElectionTest, TakesNoDeadHolderForALivingOneBecauseItsCopyIsOld) {
    put_lease("server-2", "last");
    turn();
    clock_.advance(seconds(45));
    const auto old = lock();
    api_.edit(kLock, {{"data", {{"p.a", "x"}}}});
    turn(old);
    EXPECT_THAT(requests(), ElementsAre(kPatch));
    // The copy has server-2's lease again, as if that were new.
    turn(old);
    EXPECT_TRUE(election_.leading());
    EXPECT_THAT(requests(), IsEmpty());
    clock_.advance(seconds(15));
    turn(old);
    EXPECT_TRUE(election_.leading());
    EXPECT_THAT(requests(), ElementsAre(kPatch));
}

TEST_F(ElectionTest, LeavesALivingHolderAlone) {
    put_lease("server-2", "1");
    EXPECT_EQ(turn(), seconds(45) + Duration(1));
    for (int i = 2; i < 20; ++i) {
        clock_.advance(seconds(15));
        put_lease("server-2", std::to_string(i));
        turn();
    }
    EXPECT_FALSE(election_.leading());
    EXPECT_THAT(roles_, IsEmpty());
    EXPECT_THAT(requests(), IsEmpty());
}

TEST_F(ElectionTest, TakesOverFromADeadHolderWithinAMinute) {
    // Whenever it died, its last renewal was not later than that.
    put_lease("server-2", "last");
    const auto died = clock_.monotonic();
    while (!election_.leading() && clock_.monotonic() - died < seconds(120)) {
        clock_.advance(turn());
    }
    // The turn that took it came before the last advance, by which it is to renew.
    EXPECT_LT(clock_.monotonic() - died - seconds(15), seconds(60));
    EXPECT_TRUE(election_.leading());
    EXPECT_EQ(lock().coordinator->holder, "server-1");
    EXPECT_THAT(requests(), ElementsAre(kPatch));
}

TEST_F(ElectionTest, LeavesItToTheOtherWhenBothTryAtOnce) {
    put_lease("server-2", "last");
    turn();
    clock_.advance(seconds(45));
    const auto copy = lock();
    put_lease("server-3", "first");
    turn(copy);
    EXPECT_FALSE(election_.leading());
    EXPECT_THAT(requests(), ElementsAre(kPatch, kGet));
    EXPECT_EQ(lock().coordinator->holder, "server-3");
}

TEST_F(ElectionTest, StepsDownWhenAnotherHoldsTheLease) {
    turn();
    turn();
    put_lease("server-2", "1");
    turn();
    EXPECT_FALSE(election_.leading());
    EXPECT_THAT(roles_, ElementsAre(true, false));
}

TEST_F(ElectionTest, IsNoCoordinatorOnceItsLeaseMayHaveRunOut) {
    turn();
    api_.set_down(true);
    clock_.advance(seconds(44));
    EXPECT_THROW(turn(), Error);
    EXPECT_TRUE(election_.leading());
    clock_.advance(seconds(1));
    EXPECT_THROW(turn(), Error);
    EXPECT_FALSE(election_.leading());
    EXPECT_THAT(roles_, ElementsAre(true, false));
    api_.set_down(false);
    turn();
    EXPECT_TRUE(election_.leading());
}

TEST_F(ElectionTest, GivesTheRoleBack) {
    turn();
    election_.resign();
    EXPECT_FALSE(lock().coordinator);
    EXPECT_THAT(roles_, ElementsAre(true, false));
    requests();
    election_.resign();
    EXPECT_THAT(requests(), IsEmpty());
}

TEST_F(ElectionTest, LeavesAnothersLeaseWhenItGivesTheRoleBack) {
    turn();
    put_lease("server-2", "1");
    election_.resign();
    EXPECT_EQ(lock().coordinator->holder, "server-2");
}

TEST_F(ElectionTest, TellsHowManyNodesThereAre) {
    struct Case {
        std::int64_t before;
        std::int64_t now;
        bool at_once;
    };
    for (const auto& [before, now, at_once] : std::vector<Case>{{0, 1, true},
                                                                {1, 2, true},
                                                                {4, 5, false},
                                                                {4, 6, true},
                                                                {200, 250, false},
                                                                {200, 251, true},
                                                                {200, 150, false},
                                                                {200, 149, true},
                                                                {200, 200, false}}) {
        clock_.advance(seconds(15));
        turn(before);
        EXPECT_EQ(lock().coordinator->nodes, before);
        requests();
        turn(now);
        EXPECT_EQ(requests().size(), at_once ? 1U : 0U) << before << " to " << now;
        clock_.advance(seconds(15));
        turn(now);
        EXPECT_EQ(lock().coordinator->nodes, now) << "with the next renewal";
    }
}

TEST_F(ElectionTest, KeepsTheCountOfTheOneBeforeUntilItHasItsOwn) {
    put_lease("server-2", "1", 200);
    turn();
    clock_.advance(seconds(45));
    turn();
    EXPECT_EQ(lock().coordinator->nodes, 200);
    requests();
    turn(200);
    EXPECT_THAT(requests(), IsEmpty());
}

}  // namespace
}  // namespace kua::coordinator
