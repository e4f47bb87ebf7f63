// SPDX-License-Identifier: Apache-2.0
#include "agent/lock/slots.hpp"

#include <gmock/gmock.h>

#include <atomic>

#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"
#include "tests/fakes/fake_clock.hpp"

namespace kua::lock {
namespace {

using std::chrono::seconds;
using test::error_of;
using test::FakeApi;
using test::FakeClock;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr auto kPath = "/api/v1/namespaces/system-upgrade/configmaps/k3s-upgrade-agent";
constexpr Duration kTtl = std::chrono::minutes(15);
constexpr auto kVersion = "v1.31.4+k3s1";

Request request(const std::string& node = "server-1", const std::string& hash = "h") {
    return {"p", node, hash, 1};
}

class SlotsTest : public ::testing::Test {
  protected:
    SlotsTest() { api_.put(kPath, {{"metadata", {{"name", "k3s-upgrade-agent"}}}}); }

    static LockSettings settings(const std::string& node) {
        LockSettings made;
        made.node = node;
        made.ttl = kTtl;
        return made;
    }

    [[nodiscard]] std::optional<Slot> slot_of(const std::string& node) const {
        return read_slot(string_at(api_.get(kPath), {"data", slot_key("p", node)}));
    }

    void set_slot(const std::string& node, const std::string& phase) {
        const Slot slot{"p", node, phase, "h", kVersion, "t0", "t0", 900, "somebody's"};
        api_.edit(kPath, {{"data", {{slot_key("p", node), to_json(slot).dump()}}}});
    }

    /// Does `action` just before the next patch of the lock is served.
    void before_next_patch(std::function<void()> action) {
        auto done = std::make_shared<std::atomic<bool>>(false);
        api_.before([=](const FakeApi::Seen& request) -> std::optional<http::Response> {
            if (request.method == "PATCH" && !done->exchange(true)) {
                action();
            }
            return std::nullopt;
        });
    }

    test::TempFolder folder_;
    FakeApi api_;
    FakeClock clock_;
    kube::Client client_{api_, test::write_kubeconfig(folder_)};
    Slots slots_{client_, clock_, settings("server-1")};
};

TEST_F(SlotsTest, TakesASlotAndGivesItBack) {
    const auto choice = slots_.take(request(), kVersion, {});
    EXPECT_TRUE(choice.take);
    EXPECT_EQ(choice.decided, clock_.monotonic());
    const auto slot = slot_of("server-1");
    ASSERT_TRUE(slot);
    EXPECT_EQ(slot->phase, "Acquired");
    EXPECT_EQ(slot->version, kVersion);
    EXPECT_EQ(slot->ttl_seconds, 900);
    EXPECT_EQ(slot->renewed, "2026-01-01T00:00:00.000000Z");
    EXPECT_TRUE(slots_.give_back("p", {}));
    EXPECT_FALSE(slot_of("server-1"));
    EXPECT_FALSE(slots_.give_back("p", {}));
}

TEST_F(SlotsTest, SaysWhoHoldsItAndWritesNothing) {
    set_slot("server-2", "Draining");
    const auto choice = slots_.take(request(), kVersion, {});
    EXPECT_FALSE(choice.take);
    EXPECT_THAT(choice.why_not, HasSubstr("server-2 (Draining, somebody's)"));
    EXPECT_EQ(choice.again, kTtl);
    EXPECT_THAT(api_.writes(), IsEmpty());
}

TEST_F(SlotsTest, DecidesAgainWhenAnotherWasFaster) {
    before_next_patch([this] { set_slot("server-2", "Acquired"); });
    const auto choice = slots_.take(request(), kVersion, {});
    EXPECT_FALSE(choice.take) << "decided on the newer state";
    EXPECT_FALSE(slot_of("server-1"));
    EXPECT_THAT(api_.writes(), SizeIs(1));
    EXPECT_EQ(clock_.waits(), 1) << "with a pause";
}

TEST_F(SlotsTest, TakesItInTheSecondTryWhenTheChangeWasSomethingElse) {
    before_next_patch([this] { set_slot("server-2", "Blocked"); });
    EXPECT_TRUE(slots_.take(request(), kVersion, {}).take);
    EXPECT_TRUE(slot_of("server-1"));
    EXPECT_TRUE(slot_of("server-2"));
}

TEST_F(SlotsTest, EveryWriteCarriesTheResourceVersionItWasDecidedOn) {
    const auto before = string_at(api_.get(kPath), {"metadata", "resourceVersion"});
    slots_.take(request(), kVersion, {});
    ASSERT_THAT(api_.writes(), SizeIs(1));
    EXPECT_EQ(string_at(api_.writes()[0].body, {"metadata", "resourceVersion"}), before);
    EXPECT_EQ(api_.writes()[0].body.at("data").size(), 1U) << "its own key and no other";
}

TEST_F(SlotsTest, OnlyOneOfManyGetsTheOnlySlot) {
    constexpr int kMany = 6;
    std::atomic<int> taken = 0;
    {
        std::vector<std::jthread> agents;
        for (int i = 0; i < kMany; ++i) {
            agents.emplace_back([&, i] {
                Slots slots(client_, clock_, settings("server-" + std::to_string(i)));
                if (slots.take(request("server-" + std::to_string(i)), kVersion, {}).take) {
                    ++taken;
                }
            });
        }
    }
    EXPECT_EQ(taken, 1);
    EXPECT_EQ(api_.get(kPath).at("data").size(), 1U);
}

TEST_F(SlotsTest, TakesOverASlotThatWasNotRenewed) {
    set_slot("server-2", "Draining");
    EXPECT_FALSE(slots_.take(request(), kVersion, {}).take);
    clock_.advance(kTtl - Duration(1));
    EXPECT_FALSE(slots_.take(request(), kVersion, {}).take);
    clock_.advance(Duration(1));
    EXPECT_TRUE(slots_.take(request(), kVersion, {}).take);
}

TEST_F(SlotsTest, SaysWhatToDoWhenTheConfigMapIsMissing) {
    api_.remove(kPath);
    for (const auto& error : {error_of([&] { slots_.read({}); }),
                              error_of([&] { slots_.take(request(), kVersion, {}); }),
                              error_of([&] { slots_.give_back("p", {}); })}) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        EXPECT_THAT(error.what(), HasSubstr("system-upgrade/k3s-upgrade-agent, does not exist"));
        EXPECT_THAT(error.what(), HasSubstr("kubectl apply -f"));
    }
}

TEST_F(SlotsTest, SaysSoWhenTheConfigMapGoesWhileItIsWritten) {
    before_next_patch([this] { api_.remove(kPath); });
    const auto error = error_of([&] { slots_.take(request(), kVersion, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("does not exist"));
}

TEST_F(SlotsTest, PassesOnWhatTheApiRefuses) {
    api_.before([](const FakeApi::Seen& request) -> std::optional<http::Response> {
        return request.method == "PATCH" ? std::optional(FakeApi::refuse(403, "forbidden"))
                                         : std::nullopt;
    });
    const auto error = error_of([&] { slots_.take(request(), kVersion, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("writing the lock: 403 forbidden"));
    EXPECT_EQ(clock_.waits(), 0);
}

TEST_F(SlotsTest, StopsBetweenTwoTries) {
    std::stop_source stop;
    api_.before([&](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.method == "PATCH") {
            stop.request_stop();
            return FakeApi::refuse(409, "conflict");
        }
        return std::nullopt;
    });
    EXPECT_EQ(error_of([&] { slots_.take(request(), kVersion, stop.get_token()); }).kind(),
              ErrorKind::stopped);
}

TEST_F(SlotsTest, SaysThatNothingWasThereWhenItWasGoneInTheSecondTry) {
    set_slot("server-1", "Draining");
    before_next_patch([this] {
        api_.edit(kPath, {{"data", {{slot_key("p", "server-1"), nullptr}}}});
    });
    EXPECT_FALSE(slots_.give_back("p", {}));
}

TEST_F(SlotsTest, GivesBackOnlyItsOwn) {
    set_slot("server-1", "Failed");
    set_slot("server-2", "Draining");
    EXPECT_TRUE(slots_.give_back("p", {}));
    EXPECT_FALSE(slot_of("server-1"));
    EXPECT_TRUE(slot_of("server-2"));
}

TEST_F(SlotsTest, LeavesAReportOnce) {
    slots_.report({"p", "h", kVersion}, kFailed, "no heartbeat", {});
    EXPECT_EQ(slot_of("server-1")->phase, "Failed");
    EXPECT_EQ(slot_of("server-1")->detail, "no heartbeat");
    slots_.report({"p", "h", kVersion}, kFailed, "no heartbeat", {});
    EXPECT_THAT(api_.writes(), SizeIs(1));
    slots_.report({"p", "h", kVersion}, kFailed, "another reason", {});
    slots_.report({"p", "h2", kVersion}, kFailed, "another reason", {});
    EXPECT_THAT(api_.writes(), SizeIs(3));
}

TEST_F(SlotsTest, WritesAReportThatIsNoUtf8) {
    EXPECT_NO_THROW(slots_.report({"p", "h", kVersion}, kFailed, "bytes \xff\xfe", {}));
    EXPECT_EQ(slot_of("server-1")->phase, "Failed");
}

TEST_F(SlotsTest, SaysWhenItsReportMayBeSeenAsALease) {
    // A Failed slot stays one for ever; nobody may find it run out because of what stands in it.
    slots_.report({"p", "h", kVersion}, kFailed, "x", {});
    Slots other(client_, clock_, settings("server-2"));
    EXPECT_FALSE(other.take(request("server-2"), kVersion, {}).take);
    clock_.advance(kTtl * 10);
    EXPECT_FALSE(other.take(request("server-2"), kVersion, {}).take);
    EXPECT_TRUE(other.take(request("server-2", "h2"), kVersion, {}).take);
}

TEST_F(SlotsTest, TriesAFailureAgainInItsOwnSlotWhichStaysOneUntilItSucceeds) {
    slots_.report({"p", "h", kVersion, {"spec", ""}}, kFailed, "verify: not Ready", {});
    auto asked = request();
    asked.intent = {"spec", ""};
    EXPECT_FALSE(slots_.take(asked, kVersion, {}).take);
    // What blocks the next try does not free the slot.
    slots_.report({"p", "h", kVersion, {"spec 2", ""}}, kBlocked, "a pod refuses", {});
    slots_.report({"p", "h", kVersion, {"spec 2", ""}}, kBlocked, "a pod still refuses", {});
    EXPECT_EQ(slot_of("server-1")->phase, "Failed");
    EXPECT_EQ(slot_of("server-1")->detail,
              "verify: not Ready; can't be tried again yet: a pod still refuses");
    Slots other(client_, clock_, settings("server-2"));
    EXPECT_FALSE(other.take(request("server-2"), kVersion, {}).take);

    asked.intent = {"spec 2", ""};
    EXPECT_TRUE(slots_.take(asked, kVersion, {}).take);
    EXPECT_EQ(slot_of("server-1")->phase, "Acquired");
    clock_.advance(kTtl * 10);
    EXPECT_FALSE(other.take(request("server-2"), kVersion, {}).take);
    EXPECT_TRUE(slots_.step_back("p", "undone", {}));
    EXPECT_EQ(slot_of("server-1")->phase, "Failed");
    EXPECT_EQ(slot_of("server-1")->detail,
              "verify: not Ready; tried again, which came to nothing: undone");
    // Asked for again, as after a lost answer or a crash.
    const auto failed = slot_of("server-1")->acquired;
    EXPECT_TRUE(slots_.step_back("p", "undone", {}));
    EXPECT_EQ(slot_of("server-1")->acquired, failed);
    EXPECT_TRUE(slots_.take(asked, kVersion, {}).take) << "nothing has failed for this intent";
    // What blocks it while it still has the slot makes it a failure again, too.
    slots_.report({"p", "h", kVersion, {"spec 2", ""}}, kBlocked, "no answer", {});
    EXPECT_EQ(slot_of("server-1")->phase, "Failed");
    EXPECT_EQ(slot_of("server-1")->detail,
              "verify: not Ready; can't be tried again yet: no answer");
    EXPECT_FALSE(other.take(request("server-2"), kVersion, {}).take);
    EXPECT_TRUE(slots_.take(asked, kVersion, {}).take);
    EXPECT_TRUE(slots_.give_back("p", {}));
    EXPECT_FALSE(slot_of("server-1"));
    // One that tries nothing again is just gone.
    EXPECT_TRUE(slots_.take(asked, kVersion, {}).take);
    EXPECT_TRUE(slots_.step_back("p", "undone", {}));
    EXPECT_FALSE(slot_of("server-1"));
}

TEST_F(SlotsTest, DoesNotRepeatForEverWhatIsNoConflict) {
    slots_.take(request(), kVersion, {});
    int asked = 0;
    api_.before([&](const FakeApi::Seen& seen) -> std::optional<http::Response> {
        if (seen.method != "PATCH") {
            return std::nullopt;
        }
        ++asked;
        return FakeApi::refuse(422, "data: Too long: must have at most 1048576 characters");
    });
    const auto error = test::error_of([&] {
        slots_.report({"p", "h", kVersion}, kFailed, "x", {});
    });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("writing the lock: 422 data: Too long"));
    EXPECT_LT(asked, 4);
}

TEST_F(SlotsTest, AsksForATurnAgainWhenAnotherTookASlotMeanwhile) {
    auto asked = request();
    asked.concurrency = 3;
    before_next_patch([this] { set_slot("server-2", "Acquired"); });
    const auto choice = slots_.take(asked, kVersion, {});
    EXPECT_FALSE(choice.take) << "though there is a slot left";
    EXPECT_EQ(choice.why_not, "another node was faster");
    EXPECT_TRUE(slots_.take(asked, kVersion, {}).take);
}

TEST_F(SlotsTest, IsInNobodysWayWhenItWritesItsOwnKey) {
    slots_.take(request(), kVersion, {});
    const auto writes = api_.writes().size();
    before_next_patch([this] { set_slot("server-2", "Blocked"); });
    EXPECT_TRUE(slots_.give_back("p", {}));
    EXPECT_FALSE(slot_of("server-1"));
    EXPECT_EQ(api_.writes().size(), writes + 1) << "no conflict";
}

TEST_F(SlotsTest, RemovesWhatAWatchHasBroughtOnlyWhileItIsStillThat) {
    // A watch that is behind says "Acquired" of a node that has failed since.
    slots_.take(request(), kVersion, {});
    const auto seen = *slot_of("server-1");
    slots_.report({"p", "h", kVersion}, kFailed, "x", {});
    slots_.observe(read_lock(api_.get(kPath)));
    EXPECT_FALSE(slots_.give_back_seen(seen, {}));
    EXPECT_EQ(slot_of("server-1")->phase, "Failed");
    EXPECT_TRUE(slots_.give_back_seen(*slot_of("server-1"), {}));
    EXPECT_FALSE(slot_of("server-1"));
}

TEST_F(SlotsTest, AsksNobodyAboutWhatItHasJustRemovedItself) {
    slots_.take(request(), kVersion, {});
    const auto seen = *slot_of("server-1");
    const auto lock = api_.get(kPath);
    EXPECT_TRUE(slots_.give_back("p", {}));
    const auto requests = api_.requests().size();
    EXPECT_FALSE(slots_.give_back_seen(seen, {})) << "the watch is behind";
    EXPECT_EQ(api_.requests().size(), requests);
    // Somebody has brought back an old copy of the lock.
    api_.put(kPath, lock);
    clock_.advance(std::chrono::minutes(1));
    EXPECT_TRUE(slots_.give_back_seen(seen, {}));
    EXPECT_FALSE(slot_of("server-1"));
}

TEST_F(SlotsTest, DecidesAgainWhenItsOwnKeyWasChangedByAnother) {
    slots_.take(request(), kVersion, {});
    before_next_patch([this] { set_slot("server-1", "Released"); });
    slots_.report({"p", "h", kVersion}, kFailed, "x", {});
    EXPECT_EQ(slot_of("server-1")->phase, "Failed");
    EXPECT_EQ(slot_of("server-1")->acquired, "2026-01-01T00:00:00.000000Z");
}

TEST_F(SlotsTest, DecidesOnWhatAWatchHasBroughtWithoutReading) {
    slots_.observe(read_lock(api_.get(kPath)));
    EXPECT_TRUE(slots_.take(request(), kVersion, {}).take);
    EXPECT_THAT(api_.requests(), SizeIs(1));
    EXPECT_TRUE(slots_.give_back("p", {})) << "on what the first write was answered";
    EXPECT_THAT(api_.requests(), SizeIs(2));
}

TEST_F(SlotsTest, ReadsAgainWhenWhatAWatchHasBroughtIsOld) {
    slots_.observe(read_lock(api_.get(kPath)));
    set_slot("server-2", "Acquired");
    EXPECT_FALSE(slots_.take(request(), kVersion, {}).take);
    EXPECT_FALSE(slot_of("server-1"));
    EXPECT_EQ(clock_.waits(), 0) << "nobody was in the way: the copy was old";
}

TEST_F(SlotsTest, LeavesNothingUndoneBecauseOfAnOldCopy) {
    slots_.observe(read_lock(api_.get(kPath)));
    set_slot("server-1", "Draining");
    EXPECT_TRUE(slots_.give_back("p", {}));
    EXPECT_FALSE(slot_of("server-1"));
}

class HeldSlotTest : public SlotsTest {
  protected:
    static constexpr Duration kBetweenWrites{3'000};

    void hold(Duration age = Duration::zero()) {
        slots_.take(request(), kVersion, {});
        held_ = std::make_unique<HeldSlot>(slots_, clock_, "p", "h", kVersion,
                                           clock_.monotonic() - age);
    }

    /// Asks for a renewal and waits until it has been written.
    bool renew(const std::string& detail) {
        clock_.advance(kBetweenWrites);
        held_->show("Draining", detail);
        return api_.wait_until([&] {
            const auto slot = slot_of("server-1");
            return slot && slot->detail == detail;
        });
    }

    bool held() {
        try {
            held_->ensure_held();
            return true;
        } catch (const Error&) {
            return false;
        }
    }

    /// True as soon as ensure_held says what is expected.
    bool becomes_lost() {
        return api_.wait_until([&] {
            // Asking for a renewal makes another request, and the condition is looked at again.
            clock_.advance(kBetweenWrites);
            held_->show("Draining", std::to_string(++asked_));
            try {
                held_->ensure_held();
                return false;
            } catch (const Error& error) {
                return error.kind() == ErrorKind::lost_lease;
            }
        });
    }

    std::unique_ptr<HeldSlot> held_;
    int asked_ = 0;
};

TEST_F(HeldSlotTest, RenewsWhatItShows) {
    hold();
    clock_.advance(seconds(5));
    ASSERT_TRUE(renew("2 pods left"));
    const auto slot = slot_of("server-1");
    EXPECT_EQ(slot->phase, "Draining");
    EXPECT_EQ(slot->acquired, "2026-01-01T00:00:00.000000Z");
    EXPECT_EQ(slot->renewed, "2026-01-01T00:00:08.000000Z");
}

TEST_F(HeldSlotTest, WritesNotMoreThanOnceInThreeSeconds) {
    hold();
    for (int i = 0; i < 50; ++i) {
        held_->show("Draining", std::to_string(i));
    }
    ASSERT_TRUE(renew("the last"));
    EXPECT_LE(api_.writes().size(), 3U);
}

TEST_F(HeldSlotTest, FencesAtTwoThirdsOfItsTimeToLive) {
    hold();
    EXPECT_NO_THROW(held_->ensure_held());
    clock_.advance(kTtl * 2 / 3);
    EXPECT_NO_THROW(held_->ensure_held());
    clock_.advance(Duration(1));
    const auto error = error_of([&] { held_->ensure_held(); });
    EXPECT_EQ(error.kind(), ErrorKind::lost_lease);
    EXPECT_THAT(error.what(), HasSubstr("could not be renewed for 10m"));
}

TEST_F(HeldSlotTest, CountsFromWhenTheSlotWasDecidedOn) {
    hold(kTtl * 2 / 3 + Duration(1));
    EXPECT_EQ(error_of([&] { held_->ensure_held(); }).kind(), ErrorKind::lost_lease);
}

TEST_F(HeldSlotTest, IsGoodForAsLongAsItIsRenewedInTime) {
    hold();
    for (int i = 0; i < 5; ++i) {
        clock_.advance(kTtl / 2);
        ASSERT_TRUE(renew(std::to_string(i)));
        // The renewal is noted right after it was written.
        EXPECT_TRUE(api_.wait_until([&] { return held(); }));
    }
    EXPECT_FALSE(slot_of("server-1")->late);
}

TEST_F(HeldSlotTest, IsLostForGoodWhenItWasRenewedOnlyAfterTheFence) {
    hold();
    clock_.advance(kTtl * 2 / 3);
    // By a clock that is faster somebody may find it run out before this is written.
    ASSERT_TRUE(renew("late"));
    ASSERT_TRUE(renew("later"));
    EXPECT_FALSE(held());
    EXPECT_TRUE(slot_of("server-1")->late) << "for an agent that is started again here";
}

TEST_F(HeldSlotTest, IsLostWhenSomebodyRemovedIt) {
    hold();
    api_.edit(kPath, {{"data", {{slot_key("p", "server-1"), nullptr}}}});
    EXPECT_TRUE(becomes_lost());
    EXPECT_FALSE(slot_of("server-1")) << "and it is not put back";
    EXPECT_THAT(error_of([&] { held_->ensure_held(); }).what(), HasSubstr("no longer in the lock"));
}

TEST_F(HeldSlotTest, IsLostWhenItsKeyIsAboutAnotherHash) {
    hold();
    auto other = *slot_of("server-1");
    other.hash = "h2";
    api_.edit(kPath, {{"data", {{slot_key("p", "server-1"), to_json(other).dump()}}}});
    EXPECT_TRUE(becomes_lost());
    EXPECT_EQ(slot_of("server-1")->hash, "h2");
}

TEST_F(HeldSlotTest, SurvivesAnApiThatIsAway) {
    hold();
    api_.set_down(true);
    held_->show("Draining", "nobody hears this");
    EXPECT_NO_THROW(held_->ensure_held());
    api_.set_down(false);
    EXPECT_TRUE(renew("back"));
    EXPECT_NO_THROW(held_->ensure_held());
}

TEST_F(HeldSlotTest, SurvivesAnAnswerThatIsNoSense) {
    hold();
    std::atomic<int> odd = 0;
    api_.before([&](const FakeApi::Seen&) -> std::optional<http::Response> {
        if (odd++ < 1) {
            return http::Response{200, {}, "[1,2", FakeApi::kServer};
        }
        return std::nullopt;
    });
    held_->show("Draining", "first");
    EXPECT_TRUE(api_.wait_until([&] { return odd > 0; }));
    EXPECT_TRUE(renew("second"));
    held_.reset();
}

TEST_F(HeldSlotTest, GivesNothingBackWhenItGoes) {
    hold();
    held_.reset();
    EXPECT_TRUE(slot_of("server-1"));
}

TEST_F(HeldSlotTest, RenewsTogetherWithConflictingWriters) {
    hold();
    before_next_patch([this] { set_slot("server-2", "Blocked"); });
    EXPECT_TRUE(renew("through a conflict"));
    EXPECT_TRUE(slot_of("server-2"));
}

}  // namespace
}  // namespace kua::lock
