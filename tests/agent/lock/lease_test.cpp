// SPDX-License-Identifier: Apache-2.0
#include "agent/lock/lease.hpp"

#include <gmock/gmock.h>

#include "tests/fakes/fake_clock.hpp"

namespace kua::lock {
namespace {

using std::chrono::seconds;
using test::FakeClock;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kTtl = 60;

Slot slot(const std::string& node, const std::string& phase = "Draining",
          const std::string& hash = "h") {
    return {"p", node, phase, hash, "v1.31.4+k3s1", "t0", "t0", kTtl, ""};
}

Lock lock_of(const std::vector<Slot>& slots) {
    Lock lock;
    for (const auto& each : slots) {
        lock.slots[slot_key(each.plan, each.node)] = each;
    }
    return lock;
}

TEST(Slot, SurvivesTheWayThroughTheConfigMap) {
    const auto written = slot("server-1");
    const auto read = read_slot(to_json(written).dump());
    ASSERT_TRUE(read);
    EXPECT_EQ(to_json(*read), to_json(written));
    EXPECT_EQ(read->ttl_seconds, kTtl);
}

TEST(Slot, HasAKeyThatFitsAConfigMap) {
    EXPECT_EQ(slot_key("server-plan", "server-1"), "server-plan.server-1");
    EXPECT_EQ(slot_key("p", "host.example.com"), "p.host.example.com");
    const std::string name(253, 'n');
    const auto key = slot_key("plan", name);
    EXPECT_EQ(key.size(), 253U);
    EXPECT_THAT(key, ::testing::StartsWith("plan.nnn"));
    EXPECT_NE(key, slot_key("plan", std::string(252, 'n') + "m")) << "the end counts too";
    EXPECT_EQ(slot_key("p", std::string(251, 'n')).size(), 253U);
    EXPECT_EQ(slot_key("p", std::string(251, 'n')), "p." + std::string(251, 'n'));
}

TEST(Slot, HasAKeyOfItsOwnEvenWithDotsInTheNames) {
    EXPECT_NE(slot_key("a.b", "c"), slot_key("a", "b.c"));
    EXPECT_EQ(
        slot_key("a.b", "c")
            .find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-._ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        std::string::npos);
}

TEST(Lock, IsReadWithWhatSomebodyBroke) {
    const auto good = to_json(slot("server-1")).dump();
    const auto lock = read_lock(
        {{"metadata", {{"resourceVersion", "9"}}},
         {"data",
          {{"coordinator", R"({"holder":"server-1","renewed":"t","ttlSeconds":60})"},
           {"p.server-1", good},
           {"empty", ""},
           {"text", "hello"},
           {"number", "1"},
           {"null", "null"},
           {"list", "[]"},
           {"truncated", good.substr(0, 20)},
           {"no-node", R"({"plan":"p","phase":"Draining","ttlSeconds":60})"},
           {"no-phase", R"({"plan":"p","node":"n","ttlSeconds":60})"},
           {"no-ttl", R"({"plan":"p","node":"n","phase":"Draining"})"},
           {"odd-ttl", R"({"plan":"p","node":"n","phase":"Draining","ttlSeconds":"60"})"},
           {"wrapped-ttl", R"({"plan":"p","node":"n","phase":"Draining","ttlSeconds":4294967296})"},
           {"negative-ttl", R"({"plan":"p","node":"n","phase":"Draining","ttlSeconds":-1})"},
           {"not-text", 7}}}});
    EXPECT_EQ(lock.resource_version, "9");
    ASSERT_TRUE(lock.coordinator);
    EXPECT_EQ(lock.coordinator->holder, "server-1");
    EXPECT_EQ(lock.slots.at("p.server-1").node, "server-1");
    EXPECT_EQ(lock.slots.at("p.server-1").ttl_seconds, kTtl);
    EXPECT_THAT(lock.unreadable, ElementsAre("empty", "list", "no-node", "no-phase", "not-text",
                                             "null", "number", "text", "truncated"));
    // Without a sensible time to live a slot counts all the same.
    for (const char* key : {"no-ttl", "odd-ttl", "wrapped-ttl", "negative-ttl"}) {
        EXPECT_EQ(lock.slots.at(key).ttl_seconds, 900) << key;
    }
}

TEST(Lock, IsEmptyWithoutData) {
    for (const Json& config_map : std::vector<Json>{
             nullptr, Json::object(), {{"data", nullptr}}, {{"metadata", {{"name", "x"}}}}}) {
        const auto lock = read_lock(config_map);
        EXPECT_THAT(lock.slots, IsEmpty());
        EXPECT_FALSE(lock.coordinator);
    }
}

TEST(Lock, HasNoCoordinatorWhenItsKeyIsBroken) {
    for (const char* text : {"", "x", "{}", R"({"holder":""})", R"({"holder":7})"}) {
        EXPECT_FALSE(read_lock({{"data", {{"coordinator", text}}}}).coordinator) << text;
    }
}

TEST(Lease, RunsOutByTheObserversClock) {
    FakeClock clock;
    Observer observer;
    observer.see({{"k", "t0"}}, clock.monotonic());
    EXPECT_FALSE(observer.run_out("k", seconds(60), clock.monotonic()));
    EXPECT_EQ(observer.remaining("k", seconds(60), clock.monotonic()), seconds(60));
    clock.advance(Duration(59'999));
    observer.see({{"k", "t0"}}, clock.monotonic());
    EXPECT_FALSE(observer.run_out("k", seconds(60), clock.monotonic()));
    EXPECT_EQ(observer.remaining("k", seconds(60), clock.monotonic()), Duration(1));
    clock.advance(Duration(1));
    EXPECT_TRUE(observer.run_out("k", seconds(60), clock.monotonic()));
    EXPECT_EQ(observer.remaining("k", seconds(60), clock.monotonic()), Duration::zero());
}

TEST(Lease, BeginsAnewWithEveryOtherTextHoweverOldItSaysItIs) {
    FakeClock clock;
    Observer observer;
    observer.see({{"k", "2026-01-01T00:00:00Z"}}, clock.monotonic());
    clock.advance(seconds(60));
    observer.see({{"k", "1999-01-01T00:00:00Z"}}, clock.monotonic());
    EXPECT_FALSE(observer.run_out("k", seconds(60), clock.monotonic()));
    EXPECT_EQ(observer.remaining("k", seconds(60), clock.monotonic()), seconds(60));
}

TEST(Lease, IsForgottenWithItsKey) {
    FakeClock clock;
    Observer observer;
    observer.see({{"k", "t0"}}, clock.monotonic());
    clock.advance(seconds(60));
    observer.see({}, clock.monotonic());
    EXPECT_FALSE(observer.run_out("k", seconds(60), clock.monotonic())) << "never seen";
    observer.see({{"k", "t0"}}, clock.monotonic());
    EXPECT_FALSE(observer.run_out("k", seconds(60), clock.monotonic())) << "seen now";
}

TEST(Lease, OfTheCoordinatorIsAnotherWithAnotherHolder) {
    Lock lock;
    lock.coordinator = CoordinatorLease{"a", "t", "t", 60};
    const auto first = renewals(lock);
    lock.coordinator->holder = "b";
    EXPECT_NE(first, renewals(lock));
}

TEST(Slot, OccupiesUntilItRunsOutOrItsFailureIsHistory) {
    struct Case {
        std::string phase;
        std::string hash;
        bool run_out;
        bool expected;
    };
    for (const auto& [phase, hash, run_out, expected] : std::vector<Case>{
             {"Acquired", "h", false, true},
             {"Draining", "old", false, true},
             {"Draining", "h", true, false},
             {"Failed", "h", false, true},
             {"Failed", "h", true, true},
             {"Failed", "old", false, false},
             {"Blocked", "h", false, false},
             {"Blocked", "h", true, false},
         }) {
        EXPECT_EQ(occupies(slot("n", phase, hash), "h", {}, run_out), expected)
            << phase << " " << hash << " " << run_out;
    }
}

TEST(Slot, HasFailedForWhatItsPlanSaysNowAndNothingElse) {
    struct Case {
        std::string name;
        std::string hash;
        plan::Intent intent;
        bool failed;
        bool occupies;
    };
    auto failed = slot("n", "Failed", "h");
    failed.intent = {"spec", "labels"};
    for (const auto& one : std::vector<Case>{
             {"the same", "h", {"spec", "labels"}, true, true},
             {"another drain", "h", {"other", "labels"}, false, true},
             {"another label", "h", {"spec", "other"}, false, true},
             {"another version", "h2", {"other", "labels"}, false, false},
             {"a digest that names concurrency", "h2", {"spec", "labels"}, true, true},
         }) {
        EXPECT_EQ(has_failed(failed, one.hash, one.intent), one.failed) << one.name;
        EXPECT_EQ(occupies(failed, one.hash, one.intent, true), one.occupies) << one.name;
    }
    failed.intent = {};
    EXPECT_TRUE(has_failed(failed, "h", {"spec", "labels"})) << "an agent that knew no intents";
    EXPECT_FALSE(has_failed(failed, "h2", {}));
}

TEST(Slot, DoesNotRunOutWhileAFailureIsTriedAgainInIt) {
    auto again = slot("n", "Draining", "h");
    again.retried = Failure{"verify: not Ready", {"spec", "labels"}};
    EXPECT_TRUE(occupies(again, "h", {}, true));
    EXPECT_FALSE(occupies(again, "h2", {}, true));
    EXPECT_EQ(to_json(*read_slot(to_json(again).dump())), to_json(again));
}

Request request(std::int64_t concurrency) { return {"p", "server-1", "h", concurrency}; }

struct ChoiceCase {
    std::string name;
    std::vector<Slot> slots;
    std::int64_t concurrency;
    bool take;
    std::string why_not{};
};

TEST(Choose, CountsWhatOccupies) {
    auto failed = slot("server-1", "Failed");
    failed.detail = "no heartbeat";
    auto detailed = slot("server-2");
    detailed.detail = "2 pods left";
    auto other_plan = slot("server-2");
    other_plan.plan = "q";
    const std::vector<ChoiceCase> cases = {
        {"an empty lock", {}, 1, true},
        {"paused", {}, 0, false, "paused: spec.concurrency is 0"},
        {"paused, held by another", {slot("server-2")}, 0, false, "paused"},
        {"held by another",
         {detailed},
         1,
         false,
         "1 of 1 slots held: server-2 (Draining, 2 pods left)"},
        {"one of two", {slot("server-2")}, 2, true},
        {"two of two",
         {slot("server-2"), slot("server-3", "Acquired")},
         2,
         false,
         "2 of 2 slots held: server-2 (Draining), server-3 (Acquired)"},
        {"three of two",
         {slot("server-2"), slot("server-3"), slot("server-4")},
         2,
         false,
         "3 of 2 slots held"},
        {"held here", {slot("server-1")}, 1, true},
        {"held here at an older hash", {slot("server-1", "Draining", "old")}, 1, true},
        {"held here, paused meanwhile", {slot("server-1")}, 0, false, "paused"},
        {"held here, and by another since it ran out there",
         {slot("server-1"), slot("server-2")},
         1,
         false,
         "1 of 1 slots held: server-2"},
        {"failed here", {failed}, 2, false, "failed here before: no heartbeat"},
        {"failed here at an older hash", {slot("server-1", "Failed", "old")}, 1, true},
        {"failed there", {slot("server-2", "Failed")}, 1, false, "server-2 (Failed)"},
        {"failed there at an older hash", {slot("server-2", "Failed", "old")}, 1, true},
        {"blocked here", {slot("server-1", "Blocked")}, 1, true},
        {"blocked there", {slot("server-2", "Blocked")}, 1, true},
        {"of another Plan", {other_plan}, 1, true},
    };
    FakeClock clock;
    for (const auto& test : cases) {
        const auto lock = lock_of(test.slots);
        Observer observer;
        observer.see(renewals(lock), clock.monotonic());
        const auto choice = choose(lock, request(test.concurrency), observer, clock.monotonic());
        EXPECT_EQ(choice.take, test.take) << test.name;
        EXPECT_THAT(choice.why_not, HasSubstr(test.why_not)) << test.name;
        EXPECT_EQ(choice.decided, clock.monotonic()) << test.name;
    }
}

TEST(Choose, TakesOverWhatHasRunOutAndSaysWhenThatWillBe) {
    FakeClock clock;
    Observer observer;
    const auto lock = lock_of({slot("server-2")});
    observer.see(renewals(lock), clock.monotonic());
    clock.advance(seconds(kTtl - 10));
    auto choice = choose(lock, request(1), observer, clock.monotonic());
    EXPECT_FALSE(choice.take);
    EXPECT_EQ(choice.again, seconds(10));
    clock.advance(seconds(10));
    choice = choose(lock, request(1), observer, clock.monotonic());
    EXPECT_TRUE(choice.take);
    EXPECT_FALSE(choice.again);
}

TEST(Choose, NeverWaitsForAFailureToRunOut) {
    FakeClock clock;
    Observer observer;
    const auto lock = lock_of({slot("server-2", "Failed")});
    observer.see(renewals(lock), clock.monotonic());
    clock.advance(seconds(kTtl * 10));
    const auto choice = choose(lock, request(1), observer, clock.monotonic());
    EXPECT_FALSE(choice.take);
    EXPECT_FALSE(choice.again);
}

TEST(Choose, NamesTheFirstLeaseToRunOut) {
    FakeClock clock;
    Observer observer;
    auto lock = lock_of({slot("server-2"), slot("server-3")});
    observer.see(renewals(lock), clock.monotonic());
    clock.advance(seconds(20));
    lock.slots.at("p.server-2").renewed = "t1";
    observer.see(renewals(lock), clock.monotonic());
    EXPECT_EQ(choose(lock, request(2), observer, clock.monotonic()).again, seconds(40));
}

TEST(Choose, AsksAnewForASlotOfItsOwnThatHasRunOut) {
    FakeClock clock;
    Observer observer;
    auto lock = lock_of({slot("server-1"), slot("server-2")});
    observer.see(renewals(lock), clock.monotonic());
    clock.advance(seconds(kTtl));
    lock.slots.at("p.server-2").renewed = "t1";
    observer.see(renewals(lock), clock.monotonic());
    EXPECT_FALSE(choose(lock, request(1), observer, clock.monotonic()).take);
}

TEST(Choose, IsNotMisledByAKeyThatIsNotTheSlots) {
    Lock lock;
    lock.slots["renamed-by-somebody"] = slot("server-2");
    EXPECT_FALSE(choose(lock, request(1), Observer(), Monotonic()).take);
}

/// A slot of a server that is an etcd member, for the Plan `q` unless another is named.
Slot server_slot(const std::string& node, const std::string& phase = "Draining",
                 const std::string& plan = "q") {
    auto held = slot(node, phase);
    held.plan = plan;
    held.server = true;
    held.etcd = true;
    return held;
}

Request server_request(std::int64_t concurrency, std::set<std::string> members,
                       std::set<std::string> not_ready = {}) {
    auto asked = request(concurrency);
    asked.server = true;
    asked.etcd = true;
    asked.etcd_members = std::move(members);
    asked.etcd_not_ready = std::move(not_ready);
    return asked;
}

struct ServerCase {
    std::string name;
    std::vector<Slot> slots;
    Request request;
    bool take;
    std::string why_not{};
    bool stuck = false;
};

TEST(Choose, TakesDownNoMoreServersThanThePlanAndEtcdAllow) {
    const std::set<std::string> three = {"server-1", "server-2", "server-3"};
    const std::set<std::string> five = {"server-1", "server-2", "server-3", "server-4", "server-5"};
    auto sqlite = server_request(1, {});
    sqlite.etcd = false;
    auto sqlite_two = server_request(2, {});
    sqlite_two.etcd = false;
    const std::vector<ServerCase> cases = {
        {"one of three", {}, server_request(1, three), true},
        {"the only one", {}, server_request(1, {"server-1"}), true},
        {"one of two, which there is no better way for",
         {},
         server_request(1, {"server-1", "server-2"}),
         true},
        {"one of two while the other is down",
         {},
         server_request(1, {"server-1", "server-2"}, {"server-2"}),
         false,
         "etcd would lose its majority: of 2 members 2 must stay up, and server-2 is not",
         true},
        {"another server of another Plan",
         {server_slot("server-2")},
         server_request(1, three),
         false,
         "another server is being upgraded: server-2 (Draining)"},
        {"another server of another Plan, without etcd",
         {server_slot("server-2")},
         sqlite,
         false,
         "another server is being upgraded"},
        {"two at once, asked for, without etcd", {server_slot("server-2")}, sqlite_two, true},
        {"two of three at once, asked for",
         {server_slot("server-2", "Draining", "p")},
         server_request(2, three),
         false,
         "of 3 members 2 must stay up, and server-2 is not"},
        {"two of five at once, asked for",
         {server_slot("server-2", "Draining", "p")},
         server_request(2, five),
         true},
        {"two of five at once, not asked for",
         {server_slot("server-2")},
         server_request(1, five),
         false,
         "another server"},
        {"three of five at once",
         {server_slot("server-2", "Draining", "p"), server_slot("server-3", "Draining", "p")},
         server_request(3, five),
         false,
         "of 5 members 3 must stay up, and server-2, server-3 are not"},
        {"one of three while another is not Ready",
         {},
         server_request(1, three, {"server-3"}),
         false,
         "of 3 members 2 must stay up, and server-3 is not",
         true},
        {"the one that is not Ready itself", {}, server_request(1, three, {"server-1"}), true},
        {"one of five while another is not Ready", {}, server_request(1, five, {"server-3"}), true},
        {"one that failed is up again",
         {server_slot("server-2", "Failed")},
         server_request(1, three),
         true},
        {"a report takes nothing down",
         {server_slot("server-2", "Blocked")},
         server_request(1, three),
         true},
        {"an agent waits for no server", {server_slot("server-2")}, request(1), true},
    };
    FakeClock clock;
    for (const auto& test : cases) {
        const auto lock = lock_of(test.slots);
        Observer observer;
        observer.see(renewals(lock), clock.monotonic());
        const auto choice = choose(lock, test.request, observer, clock.monotonic());
        EXPECT_EQ(choice.take, test.take) << test.name << ": " << choice.why_not;
        EXPECT_THAT(choice.why_not, HasSubstr(test.why_not)) << test.name;
        EXPECT_EQ(choice.stuck, test.stuck) << test.name;
    }
}

TEST(Choose, CountsAServerThatFellSilentByWhatItsNodeSays) {
    FakeClock clock;
    Observer observer;
    const std::set<std::string> three = {"server-1", "server-2", "server-3"};
    const auto lock = lock_of({server_slot("server-2")});
    observer.see(renewals(lock), clock.monotonic());
    clock.advance(seconds(kTtl));
    EXPECT_TRUE(choose(lock, server_request(1, three), observer, clock.monotonic()).take);
    EXPECT_FALSE(
        choose(lock, server_request(1, three, {"server-2"}), observer, clock.monotonic()).take);
}

TEST(Choose, WaitsForNothingWhereAHolderFellSilentInANewTry) {
    auto lost = slot("agent-1");
    lost.retried = Failure{"verify: not Ready", {}};
    const auto lock = lock_of({lost});
    FakeClock clock;
    Observer observer;
    observer.see(renewals(lock), clock.monotonic());
    clock.advance(std::chrono::hours(1));
    const auto choice = choose(lock, request(1), observer, clock.monotonic());
    EXPECT_FALSE(choice.take);
    EXPECT_FALSE(choice.again) << "no time ends it";
    EXPECT_FALSE(choice.stuck);
}

TEST(Choose, NeverLetsTwoExclusivePlansHaveSlotsAtOnce) {
    auto asked = request(2);
    auto other = slot("agent-1");
    other.plan = "q";
    FakeClock clock;
    for (const auto& [ours, theirs, phase, take] :
         std::vector<std::tuple<bool, bool, std::string, bool>>{
             {true, true, "Draining", false},
             {true, true, "Failed", true},
             {true, true, "Blocked", true},
             {true, false, "Draining", true},
             {false, true, "Draining", true},
         }) {
        asked.exclusive = ours;
        other.exclusive = theirs;
        other.phase = phase;
        const auto lock = lock_of({other});
        Observer observer;
        observer.see(renewals(lock), clock.monotonic());
        const auto choice = choose(lock, asked, observer, clock.monotonic());
        EXPECT_EQ(choice.take, take) << ours << theirs << phase;
        EXPECT_THAT(choice.why_not,
                    HasSubstr(take ? "" : "another exclusive Plan is being applied: q: agent-1"));
    }
}

}  // namespace
}  // namespace kua::lock
