// SPDX-License-Identifier: Apache-2.0
#include "agent/lock/turns.hpp"

#include <gtest/gtest.h>

namespace kua::lock {
namespace {

constexpr auto kHash = "hash";
const Monotonic kNow{std::chrono::hours(1)};

Request request(const std::string& rank) {
    Request asked;
    asked.plan = "p";
    asked.hash = kHash;
    asked.rank = rank;
    return asked;
}

Lock held_by(const std::string& rank, const std::string& acquired = "t0") {
    Lock lock;
    Slot slot;
    slot.plan = "p";
    slot.node = "node-" + rank;
    slot.phase = "Draining";
    slot.hash = kHash;
    slot.acquired = acquired;
    slot.rank = rank;
    lock.slots["p." + slot.node] = slot;
    return lock;
}

TEST(Rank, IsSucsOrder) {
    // printf 'node-uidplan-uidhash' | sha256sum
    EXPECT_EQ(rank_of("node-uid", "plan-uid", "hash"), "9ebc15f3fe4614a3");
    EXPECT_NE(rank_of("node-uid", "plan-uid", "hash"), rank_of("node-uid", "plan-uid", "other"));
    EXPECT_NE(rank_of("node-uid", "plan-uid", "hash"), rank_of("other", "plan-uid", "hash"));
}

TEST(Turns, ComeSoonWhereTheClusterIsSmallOrNotCounted) {
    Turns turns;
    EXPECT_LT(turns.wait(request("ffffffffffffffff"), 0, kNow), std::chrono::seconds(2));
    EXPECT_LT(turns.wait(request("ffffffffffffffff"), 3, kNow), std::chrono::milliseconds(200));
}

TEST(Turns, ComeInTheOrderOfTheRanks) {
    Turns turns;
    const auto first = turns.wait(request("0100000000000000"), 200, kNow);
    const auto second = turns.wait(request("0200000000000000"), 200, kNow);
    const auto last = turns.wait(request("ff00000000000000"), 200, kNow);
    EXPECT_LT(first, second);
    EXPECT_LT(second, last);
}

TEST(Turns, FollowTheOneThatTookTheLastSlot) {
    Turns turns;
    turns.see(held_by("8000000000000000"));
    const auto next = turns.wait(request("8100000000000000"), 200, kNow);
    const auto later = turns.wait(request("9000000000000000"), 200, kNow);
    const auto passed = turns.wait(request("7f00000000000000"), 200, kNow);
    EXPECT_LT(next, later);
    EXPECT_LT(later, passed) << "who was held up comes after all others";
}

TEST(Turns, StayWhereTheyAreForOneThatWasHeldUp) {
    Turns turns;
    turns.see(held_by("8000000000000000"));
    const auto before = turns.wait(request("8100000000000000"), 200, kNow);
    turns.see(held_by("7f00000000000000"));
    EXPECT_EQ(turns.wait(request("8100000000000000"), 200, kNow), before);
}

TEST(Turns, BeginAnewWithAnotherHash) {
    Turns turns;
    turns.see(held_by("8000000000000000"));
    auto other = request("0100000000000000");
    other.hash = "other";
    EXPECT_LT(turns.wait(other, 200, kNow), turns.wait(request("7f00000000000000"), 200, kNow));
}

TEST(Turns, ComeWithTimeForAsLongAsASlotIsFree) {
    Turns turns;
    const auto asked = request("8000000000000000");
    const auto whole = turns.wait(asked, 100, kNow);
    ASSERT_GT(whole, std::chrono::seconds(1));
    EXPECT_EQ(turns.wait(asked, 100, kNow + std::chrono::seconds(1)),
              whole - std::chrono::seconds(1));
    EXPECT_EQ(turns.wait(asked, 100, kNow + whole), Duration::zero());
    turns.none_free("p");
    EXPECT_EQ(turns.wait(asked, 100, kNow + whole), whole) << "counted from the next free slot";
}

TEST(Turns, AreCountedAnewWhenSomebodyHasTakenASlot) {
    Turns turns;
    turns.see(held_by("1000000000000000"));
    const auto asked = request("3000000000000000");
    turns.wait(asked, 200, kNow);
    const auto later = kNow + std::chrono::seconds(1);
    auto lock = held_by("1000000000000000");
    lock.slots.merge(held_by("2000000000000000").slots);
    turns.see(lock);
    Turns fresh;
    fresh.see(held_by("2000000000000000"));
    EXPECT_EQ(turns.wait(asked, 200, later), fresh.wait(asked, 200, later));
}

TEST(Turns, LeaveNobodyWaitingForLong) {
    Turns turns;
    EXPECT_LE(turns.wait(request("ffffffffffffffff"), 100'000, kNow), std::chrono::seconds(10));
}

}  // namespace
}  // namespace kua::lock
