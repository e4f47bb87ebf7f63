// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/upgrade.hpp"

#include <atomic>
#include <thread>

#include "lib/base/format.hpp"
#include "tests/agent/upgrade/fixture.hpp"

namespace kua::upgrade {
namespace {

using plan::DrainSpec;
using std::chrono::seconds;
using test::error_of;
using test::FakeApi;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

using Response = std::optional<http::Response>;

class UpgradeTest : public test::Host {
  protected:
    UpgradeTest() { prepare(); }

    /// Refuses what `effect` names, with `status`, `times` times.
    void refuse(const std::string& effect, int status, int times = 1'000'000) {
        on_request_ = [=, count = 0](const FakeApi::Seen& request) mutable -> Response {
            if (effect_of(request) == effect && count++ < times) {
                return FakeApi::refuse(status, "not now");
            }
            return std::nullopt;
        };
    }
};

TEST_F(UpgradeTest, UnpacksTheNewVersionBeforeTheCordonOrIsUndone) {
    const std::string broken = "#!/bin/sh\necho \"$*: no room\" >&2\nexit 1\n";
    test::write_text(folder_ / "staged", broken);
    auto record = new_record();
    record.sha256 = crypto::hex_digest(crypto::Algorithm::sha256, broken);
    take_slot();
    const auto outcome = run(std::move(record));
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr(format("--data-dir {} kubectl version --client: no room",
                                                 (folder_ / "data").string())));
    EXPECT_THAT(effects_, Not(Contains(HasSubstr("cordon"))));
    expect_as_it_was();
}

TEST_F(UpgradeTest, GoesItsStepsInOrderEachInTheJournalBeforeItsEffect) {
    add_pod();
    const auto outcome = run(DrainSpec());
    EXPECT_EQ(outcome.ending, Ending::succeeded) << outcome.reason;
    EXPECT_THAT(effects_,
                ElementsAre("cordon: cordon", "drain: evict", "restart: restart k3s.service",
                            "uncordon: uncordon", "label: label", "release: give back"));
    EXPECT_EQ(result(), "Succeeded");
    expect_upgraded();
    EXPECT_TRUE(std::filesystem::exists(places_.previous)) << "the way back is kept";
}

TEST_F(UpgradeTest, NeitherCordonsNorDrainsWhereThePlanDoesNotSaySo) {
    auto record = new_record();
    record.cordon = false;
    EXPECT_EQ(run(std::move(record)).ending, Ending::succeeded);
    EXPECT_THAT(effects_, Not(Contains(HasSubstr("cordon"))));
    expect_upgraded();
}

TEST_F(UpgradeTest, RunsTheHooksOfItsWay) {
    for (const auto* point :
         {"pre-drain", "post-drain", "pre-restart", "post-upgrade", "on-failure"}) {
        add_hook(point);
    }
    EXPECT_EQ(run(DrainSpec()).ending, Ending::succeeded);
    EXPECT_EQ(hooks_ran(), "pre-drain \npost-drain \npre-restart \npost-upgrade \n");
    expect_upgraded();
}

TEST_F(UpgradeTest, IsUndoneWhenAHookBeforeTheSwapFails) {
    add_hook("on-failure", 1);
    for (const std::string point : {"pre-drain", "post-drain", "pre-restart"}) {
        SCOPED_TRACE(point);
        std::filesystem::remove(folder_ / "hooks-ran");
        add_hook(point, 3);
        take_slot();
        const auto outcome = run(DrainSpec());
        EXPECT_EQ(outcome.ending, Ending::undone)
            << "and a failing on-failure hook changes nothing";
        EXPECT_THAT(outcome.reason, HasSubstr("failed with exit status 3: not today"));
        EXPECT_EQ(hooks_ran(), point + " \non-failure " + outcome.reason + "\n");
        EXPECT_THAT(units_.restarted, IsEmpty());
        expect_as_it_was();
        std::filesystem::remove_all(folder_ / "hooks.d" / point);
    }
}

TEST_F(UpgradeTest, StaysWhatItIsWhenALaterHookFails) {
    add_hook("post-upgrade", 1);
    EXPECT_EQ(run().ending, Ending::succeeded);
    EXPECT_EQ(hooks_ran(), "post-upgrade \n");
    expect_upgraded();
    test::write_text(folder_ / "k3s", kOld);
    prepare();
    add_hook("on-failure", 1);
    new_does_not_start_ = true;
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_EQ(hooks_ran(), "post-upgrade \non-failure " + outcome.reason + "\n");
}

TEST_F(UpgradeTest, LeavesTheCordonOfSomebodyElse) {
    for (const bool fails : {false, true}) {
        api_.edit(kNode, {{"spec", {{"unschedulable", true}}}});
        new_does_not_start_ = fails;
        auto record = new_record();
        record.foreign_cordon = true;
        const auto outcome = run(std::move(record));
        EXPECT_EQ(outcome.ending, fails ? Ending::failed : Ending::succeeded);
        EXPECT_TRUE(cordoned());
        EXPECT_THAT(effects_, Not(Contains(HasSubstr(": cordon"))));
        EXPECT_THAT(effects_, Not(Contains(HasSubstr(": uncordon"))));
        EXPECT_EQ(plan::left_cordoned_by(kube::annotations_of(api_.get(kNode)), cordoned()),
                  fails ? "" : "server-plan");
        const std::string said =
            "left cordoned: it was cordoned before this upgrade; kubectl "
            "uncordon server-1";
        EXPECT_EQ(outcome.reason == said, !fails) << outcome.reason;
        EXPECT_EQ(
            string_at(Json::parse(test::read_text(folder_ / "last-result.json")), {"message"}),
            outcome.reason);
        EXPECT_THAT(events("LeftCordoned"), SizeIs(1)) << "the first, which has succeeded";
        effects_.clear();
        api_.edit(kNode, {{"metadata", {{"annotations", {{plan::kLeftCordoned, nullptr}}}}}});
        test::write_text(folder_ / "k3s", kOld);
        prepare();
    }
}

TEST_F(UpgradeTest, LiftsTheCordonOfSomebodyElseWhereItIsToldSoAndHasSucceeded) {
    for (const bool fails : {true, false}) {
        api_.edit(kNode, {{"spec", {{"unschedulable", true}}}});
        new_does_not_start_ = fails;
        auto record = new_record();
        record.foreign_cordon = true;
        record.lift_foreign = true;
        EXPECT_EQ(run(std::move(record)).ending, fails ? Ending::failed : Ending::succeeded);
        EXPECT_EQ(cordoned(), fails) << "what is rolled back is as it was";
        test::write_text(folder_ / "k3s", kOld);
        prepare();
    }
}

/// An admission policy may refuse any change of a Node, or of the lock, and for good.
class Refused : public UpgradeTest {
  protected:
    void refuse_for_good(const std::string& effect, int status) {
        on_request_ = [=](const FakeApi::Seen& request) -> Response {
            return effect_of(request) == effect
                       ? Response(FakeApi::refuse(status, "a policy says no"))
                       : std::nullopt;
        };
    }
};

TEST_F(Refused, LabelIsNoReasonToKeepTheSlot) {
    for (const int status : {403, 422, 500}) {
        refuse_for_good("label", status);
        const auto outcome = run();
        EXPECT_EQ(outcome.ending, Ending::succeeded) << status;
        EXPECT_THAT(outcome.reason,
                    AllOf(HasSubstr("could not be labelled"), HasSubstr("a policy says no")));
        EXPECT_EQ(binary(), kNew);
        EXPECT_FALSE(cordoned());
        EXPECT_FALSE(slot());
        EXPECT_EQ(label(), "");
        expect_at_rest();
        test::write_text(folder_ / "k3s", kOld);
        report_kubelet(kOldVersion, true);
        prepare();
    }
}

TEST_F(Refused, UncordonFailsTheNodeThatWorks) {
    refuse_for_good("uncordon", 403);
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason,
                AllOf(HasSubstr("a policy says no"), HasSubstr("stays cordoned"),
                      HasSubstr("kubectl uncordon server-1"), HasSubstr("release`")));
    EXPECT_EQ(binary(), kNew) << "nothing is taken back";
    EXPECT_EQ(kubelet(), kNewVersion);
    EXPECT_EQ(slot()->phase, "Failed") << "the next node would stay cordoned, too";
    EXPECT_EQ(units_.restarted.size(), 1U);
    EXPECT_FALSE(journal_.read());
}

TEST_F(Refused, UncordonOfAnUndoneUpgradeFailsTheNode) {
    add_pod(false);
    refuse_for_good("uncordon", 403);
    const auto outcome = run(DrainSpec());
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason, AllOf(HasSubstr("default/web is managed by no controller"),
                                      HasSubstr("a policy says no")));
    EXPECT_EQ(slot()->phase, "Failed");
    EXPECT_EQ(binary(), kOld);
    EXPECT_FALSE(journal_.read());
}

TEST_F(Refused, ReportOfAFailureEnds) {
    new_does_not_start_ = true;
    refuse_for_good("report failure", 422);
    EXPECT_EQ(run().ending, Ending::failed);
    EXPECT_EQ(result(), "Failed");
    EXPECT_EQ(binary(), kOld);
    EXPECT_FALSE(cordoned());
    EXPECT_FALSE(journal_.read());
}

TEST_F(Refused, GivingTheSlotBackEnds) {
    refuse_for_good("give back", 403);
    EXPECT_EQ(run().ending, Ending::succeeded);
    EXPECT_EQ(label(), kHash);
    EXPECT_FALSE(journal_.read());
}

TEST_F(UpgradeTest, AsksForTheLabelUntilAnApiThatIsAwayComesBack) {
    int asked = 0;
    on_request_ = [&](const FakeApi::Seen& request) -> Response {
        asked += effect_of(request) == "label" ? 1 : 0;
        const bool away = asked > 0 && asked < 200;
        return away ? Response(FakeApi::refuse(503, "starting")) : std::nullopt;
    };
    EXPECT_EQ(run().ending, Ending::succeeded);
    expect_upgraded();
}

TEST_F(UpgradeTest, IsUndoneWhenItMayNotCordon) {
    refuse("cordon", 403);
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("cordoning Node server-1: 403"));
    EXPECT_THAT(units_.restarted, IsEmpty());
    EXPECT_EQ(result(), "Undone");
    expect_as_it_was();
}

TEST_F(UpgradeTest, IsUndoneEvenWhenItMayNoLongerTouchTheNode) {
    // RBAC is gone: the cordon is refused, and an uncordon would be. Nothing was cordoned, so
    // nothing has to be waited for.
    on_request_ = [](const FakeApi::Seen& request) -> Response {
        return request.path == kNode && request.method == "PATCH"
                   ? Response(FakeApi::refuse(403, "forbidden"))
                   : std::nullopt;
    };
    EXPECT_EQ(run().ending, Ending::undone);
    expect_as_it_was();
}

TEST_F(UpgradeTest, TriesAgainWhatTheApiDidNotAnswer) {
    refuse("cordon", 503, 3);
    EXPECT_EQ(run().ending, Ending::succeeded);
    EXPECT_EQ(clock_.waits(), 3);
    expect_upgraded();
}

TEST_F(UpgradeTest, IsUndoneWhenTheDeadlinePassesWhileCordoning) {
    refuse("cordon", 503);
    limits_.deadline = seconds(60);
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason,
                AllOf(HasSubstr("DeadlineExceeded: cordoning: "), HasSubstr("attempt 1 of 3")));
    expect_as_it_was();
}

TEST_F(UpgradeTest, IsUndoneWhenAPodRefusesTheDrain) {
    add_pod(false);
    const auto outcome = run(DrainSpec());
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("default/web is managed by no controller"));
    EXPECT_FALSE(api_.get(kPod).is_null());
    expect_as_it_was();
}

/// A pod that a budget holds, and minutes that pass with every attempt.
class StuckDrain : public UpgradeTest {
  protected:
    StuckDrain() {
        add_pod();
        spec_.timeout = std::chrono::minutes(1);
        on_request_ = [this](const FakeApi::Seen& request) -> std::optional<http::Response> {
            if (request.method == "POST" && held_) {
                clock_.advance(std::chrono::minutes(2));
                auto refused = FakeApi::refuse(429, "not now");
                refused.headers["Retry-After"] = "0";
                return refused;
            }
            return std::nullopt;
        };
    }

    std::atomic<bool> held_ = true;
    DrainSpec spec_;
};

TEST_F(StuckDrain, IsUndoneAndFailsForGoodTheThirdTimeInARow) {
    for (int attempt = 1; attempt < 3; ++attempt) {
        const auto outcome = run(spec_);
        EXPECT_EQ(outcome.ending, Ending::undone);
        EXPECT_THAT(outcome.reason, HasSubstr(format("attempt {} of 3", attempt)));
        EXPECT_THAT(events("JobFailed"), SizeIs(attempt));
        expect_as_it_was();
        take_slot();
    }
    const auto outcome = run(spec_);
    EXPECT_EQ(outcome.ending, Ending::failed);
    expect_rolled_back();
    EXPECT_THAT(slot()->detail,
                AllOf(HasSubstr("default/web"), HasSubstr("attempt 3 of 3"),
                      HasSubstr("; undone, uncordoned; when it is mended: `k3s-upgrade-agent "
                                "release`")));
    EXPECT_TRUE(units_.restarted.empty());
    // Who frees the slot begins anew.
    take_slot();
    EXPECT_EQ(run(spec_).ending, Ending::undone);
}

TEST_F(StuckDrain, CountsOnlyARow) {
    limits_.drain_attempts = 2;
    limits_.health = std::chrono::seconds(1);
    EXPECT_EQ(run(spec_).ending, Ending::undone);
    held_ = false;
    new_is_not_ready_ = true;
    EXPECT_EQ(run(spec_).ending, Ending::failed);
    held_ = true;
    add_pod();
    EXPECT_THAT(run(spec_).reason, HasSubstr("attempt 1 of 2"));
}

TEST_F(StuckDrain, CountsTheUpgradesOwnDeadlineToo) {
    limits_.drain_attempts = 2;
    limits_.deadline = std::chrono::seconds(30);
    EXPECT_EQ(run(spec_).ending, Ending::undone);
    expect_as_it_was();
    EXPECT_THAT(events("JobFailed").at(0),
                AllOf(HasSubstr("Job failed on Node server-1: DeadlineExceeded: "),
                      HasSubstr("default/web"), HasSubstr("spec.jobActiveDeadlineSecs")));
    take_slot();
    EXPECT_EQ(run(spec_).ending, Ending::failed);
    EXPECT_THAT(slot()->detail, AllOf(HasSubstr("drain: DeadlineExceeded: "),
                                      HasSubstr("default/web"), HasSubstr("attempt 2 of 2")));
}

TEST_F(StuckDrain, NamesInItsSlotWhatItWaitsFor) {
    std::atomic<int> evictions = 0;
    const auto refuse = on_request_;
    on_request_ = [&](const FakeApi::Seen& request) {
        if (request.method == "POST" && ++evictions == 3) {
            EXPECT_TRUE(api_.wait_until([this] {
                return slot_is([](const lock::Slot& own) {
                    return own.waits && own.phase == "Draining" &&
                           own.detail.find("1 pod left: default/web") != std::string::npos;
                });
            }));
        }
        return refuse(request);
    };
    spec_.timeout = std::chrono::minutes(20);
    run(spec_);
    EXPECT_GE(evictions, 3);
}

TEST_F(UpgradeTest, IsUndoneWhenTheStagedBinaryIsNotTheVerifiedOne) {
    test::write_text(folder_ / "staged", "tampered with");
    EXPECT_EQ(run().ending, Ending::undone);
    EXPECT_THAT(effects_, Not(Contains(HasSubstr("cordon"))));
    expect_as_it_was();
}

TEST_F(UpgradeTest, IsUndoneWhenTheNewBinaryIsTamperedWithAfterItWasPrepared) {
    on_request_ = [this](const test::FakeApi::Seen& request) {
        if (effect_of(request) == "cordon") {
            test::write_text(places_.next, "tampered with");
        }
        return std::nullopt;
    };
    EXPECT_EQ(run().ending, Ending::undone);
    EXPECT_THAT(units_.restarted, IsEmpty());
    expect_as_it_was();
}

TEST_F(UpgradeTest, IsUndoneWhenTheNewBinaryIsGone) {
    on_request_ = [this](const test::FakeApi::Seen& request) {
        if (effect_of(request) == "cordon") {
            std::filesystem::remove(places_.next);
        }
        return std::nullopt;
    };
    EXPECT_EQ(run().ending, Ending::undone);
    expect_as_it_was();
}

TEST_F(UpgradeTest, IsUndoneWithoutTouchingTheNodeWhenTheFilesCannotBePrepared) {
    std::filesystem::remove(folder_ / "staged");
    EXPECT_EQ(run().ending, Ending::undone);
    EXPECT_THAT(effects_, Not(Contains(HasSubstr("cordon"))));
    expect_as_it_was();
}

TEST_F(UpgradeTest, UndoesAllThatItCanWhenTheBinaryCannotBePutBack) {
    test::write_text(places_.next, "tampered with");
    std::filesystem::remove(places_.previous);
    std::filesystem::create_directory(places_.previous);
    const auto outcome = run();
    EXPECT_NE(outcome.ending, Ending::succeeded);
    EXPECT_FALSE(cordoned());
    EXPECT_FALSE(slot());
    EXPECT_FALSE(journal_.read());
}

TEST_F(UpgradeTest, IsNotTakenBackForAJournalThatCannotBeWrittenAfterTheRestart) {
    const Pause pause = [this](std::string_view step, Moment moment) {
        if (step == "verify" && moment == Moment::after) {
            api_.before(nullptr);  // Noting effects reads the journal.
            std::filesystem::remove(journal_.path());
            std::filesystem::create_directories(journal_.path() / "x");
        }
    };
    tools_.pause = &pause;
    EXPECT_EQ(run().ending, Ending::succeeded);
    EXPECT_EQ(binary(), kNew);
    EXPECT_EQ(label(), kHash);
    EXPECT_FALSE(cordoned());
    EXPECT_FALSE(slot());
    EXPECT_THAT(units_.restarted, ElementsAre("k3s.service"));
}

TEST_F(UpgradeTest, IsUndoneWhenTheJournalCannotBeWritten) {
    // A folder in the journal's place: not even root can rename a file over that.
    std::filesystem::create_directories(folder_ / "journal.json" / "x");
    const auto outcome = [&] {
        on_request_ = nullptr;
        api_.before(nullptr);  // Noting effects reads the journal.
        return run();
    }();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_EQ(binary(), kOld);
    EXPECT_FALSE(cordoned());
    EXPECT_FALSE(slot());
    EXPECT_THAT(units_.restarted, IsEmpty());
}

TEST_F(UpgradeTest, DoesNotRestartK3sToRollBackWhatWasNeverRestarted) {
    // The disk fails for the journal just before the restart.
    on_request_ = [this](const FakeApi::Seen& request) -> Response {
        const bool before_restart = request.method == "GET" && request.path == kNode &&
                                    binary() == kNew &&
                                    !std::filesystem::is_directory(journal_.path());
        if (before_restart) {
            std::filesystem::remove(journal_.path());
            std::filesystem::create_directories(journal_.path() / "x");
            api_.before(nullptr);
        }
        return std::nullopt;
    };
    EXPECT_EQ(run().ending, Ending::undone);
    EXPECT_THAT(units_.restarted, IsEmpty());
    EXPECT_EQ(binary(), kOld);
    EXPECT_FALSE(cordoned());
}

TEST_F(UpgradeTest, IsRolledBackWhenTheRestartFails) {
    new_does_not_start_ = true;
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason, AllOf(HasSubstr("restart: "), HasSubstr("\"failed\"")));
    EXPECT_THAT(effects_,
                ElementsAre("cordon: cordon", "restart: restart k3s.service",
                            "restart-previous: restart k3s.service", "uncordon-previous: uncordon",
                            "report-failure: report failure"));
    EXPECT_EQ(slot()->detail, outcome.reason);
    EXPECT_EQ(slot()->hash, kHash);
    EXPECT_EQ(result(), "Failed");
    expect_rolled_back();
}

TEST_F(UpgradeTest, IsRolledBackWhenTheUnitIsNotActiveAfterwards) {
    units_.on_wait_settled = [this](const std::string& name) {
        const bool is_new = binary() == kNew;
        units_.units.at(name).active_state = is_new ? "failed" : "active";
    };
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason, HasSubstr("k3s.service is failed"));
    expect_rolled_back();
}

TEST_F(UpgradeTest, IsRolledBackWhenTheNodeDoesNotBecomeReady) {
    new_is_not_ready_ = true;
    limits_.health = seconds(2);
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason, HasSubstr("verify: not healthy after 2s: the node is not Ready"));
    expect_rolled_back();
}

TEST_F(UpgradeTest, SaysSoWhenTheWayBackFailsToo) {
    units_.on_restart = [this](const std::string& name) {
        note_effect("restart " + name);
        return systemd::JobResult{"failed"};
    };
    limits_.health = Duration(300);
    report_kubelet(kOldVersion, false);
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason,
                AllOf(HasSubstr("restart: "), HasSubstr("while rolling back, restart-previous: "),
                      HasSubstr("while rolling back, verify-previous: ")));
    EXPECT_EQ(binary(), kOld);
    EXPECT_FALSE(cordoned()) << "whatever else, it is not left cordoned";
    EXPECT_EQ(slot()->phase, "Failed");
    EXPECT_FALSE(journal_.read());
}

TEST_F(UpgradeTest, ReportsOnlySoMuchOfAFailure) {
    units_.on_restart = [](const std::string&) -> systemd::JobResult {
        throw Error(ErrorKind::failed, std::string(100'000, 'x'));
    };
    limits_.health = Duration(300);
    report_kubelet(kOldVersion, false);
    EXPECT_EQ(run().ending, Ending::failed);
    EXPECT_LT(slot()->detail.size(), 5'000U);
}

TEST_F(UpgradeTest, IsUndoneWhenItsLeaseIsLostBeforeTheSwap) {
    add_pod();
    on_request_ = [this](const FakeApi::Seen& request) -> Response {
        if (effect_of(request) == "evict") {
            clock_.advance(slots_.settings().ttl);
        }
        return std::nullopt;
    };
    const auto outcome = run(DrainSpec());
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("the slot"));
    EXPECT_THAT(units_.restarted, IsEmpty());
    expect_as_it_was();
}

TEST_F(UpgradeTest, DoesNotBeginWithALeaseThatIsLost) {
    upgrade::Upgrade upgrade(tools_, limits_, "server-1", new_record(), std::nullopt,
                             clock_.monotonic() - slots_.settings().ttl);
    EXPECT_EQ(upgrade.run({}).ending, Ending::undone);
    EXPECT_THAT(effects_, Not(Contains(HasSubstr(": cordon"))));
    expect_as_it_was();
}

TEST_F(UpgradeTest, FinishesWhatWasRestartedEvenWithoutALease) {
    on_start_ = [this] {
        clock_.advance(slots_.settings().ttl);
        api_.edit(kLock, {{"data", {{"server-plan.server-1", nullptr}}}});
    };
    EXPECT_EQ(run().ending, Ending::succeeded);
    expect_upgraded();
}

TEST_F(UpgradeTest, SurvivesAnApiThatGoesAwayWithK3s) {
    on_start_ = [this] { api_.set_down(true); };
    std::jthread server([this] {
        // Comes back only after somebody has missed it.
        api_.wait_until([this] { return api_.refused() > 1; });
        api_.set_down(false);
    });
    EXPECT_EQ(run().ending, Ending::succeeded);
    expect_upgraded();
}

TEST_F(UpgradeTest, StopsInTheMiddleAndIsUndoneByTheNextStart) {
    add_pod();
    on_request_ = [this](const FakeApi::Seen& request) -> Response {
        if (effect_of(request) == "evict") {
            stop_.request_stop();
            return FakeApi::refuse(429, "not now");
        }
        return std::nullopt;
    };
    EXPECT_EQ(error_of([&] { run(DrainSpec()); }).kind(), ErrorKind::stopped);
    EXPECT_EQ(journal_.read().value().step, "drain");
    EXPECT_TRUE(cordoned());
    EXPECT_TRUE(slot());
    stop_ = std::stop_source();
    const auto outcome = resume();
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->ending, Ending::undone);
    expect_as_it_was();
}

TEST_F(UpgradeTest, StopsBeforeItsFirstStep) {
    stop_.request_stop();
    EXPECT_EQ(error_of([&] { run(); }).kind(), ErrorKind::stopped);
    EXPECT_FALSE(journal_.read());
    EXPECT_THAT(effects_, IsEmpty());
}

TEST_F(UpgradeTest, StopsWhileItWaitsForTheNode) {
    new_is_not_ready_ = true;
    std::jthread impatient([this] {
        api_.wait_until([this] { return kubelet() == kNewVersion; });
        stop_.request_stop();
    });
    EXPECT_EQ(error_of([&] { run(); }).kind(), ErrorKind::stopped);
    const auto step = journal_.read().value().step;
    EXPECT_TRUE(step == "restart" || step == "verify") << step;
    impatient.join();
    stop_ = std::stop_source();
    new_is_not_ready_ = false;
    report_kubelet(kNewVersion, true);
    EXPECT_EQ(resume().value().ending, Ending::succeeded);
    expect_upgraded();
}

TEST_F(UpgradeTest, LeavesALaterCordonOfSomebodyElseWhenUncordoningIsRepeated) {
    // Uncordoned, then the agent was killed; an administrator cordoned before it came back.
    run();
    auto record = new_record();
    record.step = "uncordon";
    record.restarted = "2026-01-01T00:00:00Z";
    journal_.begin(record);
    api_.edit(kNode, {{"spec", {{"unschedulable", true}}}});
    EXPECT_EQ(resume().value().ending, Ending::succeeded);
    EXPECT_TRUE(cordoned());
}

TEST_F(UpgradeTest, WaitsUncordonedBeforeItLabels) {
    prepare();
    auto record = new_record();
    record.delay = std::chrono::minutes(10);
    record.labels["site/upgraded-to"] = "v1.31.4-k3s1";
    bool waited = false;
    const auto start = clock_.monotonic();
    clock_.on_wait([&] {
        if (clock_.monotonic() - start >= std::chrono::minutes(10)) {
            waited = true;
            EXPECT_FALSE(cordoned());
            EXPECT_EQ(label(), "");
            EXPECT_TRUE(slot());
        }
    });
    EXPECT_EQ(run(record).ending, Ending::succeeded);
    EXPECT_TRUE(waited);
    EXPECT_EQ(string_at(api_.get(kNode), {"metadata", "labels", "site/upgraded-to"}),
              "v1.31.4-k3s1");
    expect_upgraded();
}

TEST_F(UpgradeTest, WaitsOnlyForWhatIsLeftOfTheDelayAfterAnInterruption) {
    prepare();
    auto record = new_record();
    record.delay = std::chrono::minutes(10);
    clock_.on_wait([&] {
        if (journal_.read() && journal_.read()->step == "delay") {
            stop_.request_stop();
        }
    });
    EXPECT_EQ(error_of([&] { run(record); }).kind(), ErrorKind::stopped);
    ASSERT_EQ(journal_.read()->step, "delay");
    // The interrupted wait has used up its ten minutes of the fake clock; set the record back.
    auto left = *journal_.read();
    left.completed = to_rfc3339(clock_.wall() - std::chrono::minutes(4));
    journal_.begin(left);
    stop_ = std::stop_source();
    clock_.on_wait(nullptr);
    const auto start = clock_.monotonic();
    EXPECT_EQ(resume()->ending, Ending::succeeded);
    const auto took = clock_.monotonic() - start;
    EXPECT_GE(took, std::chrono::minutes(6));
    EXPECT_LT(took, std::chrono::minutes(7));
    expect_upgraded();
}

TEST_F(UpgradeTest, IsUndoneWhenThePlanIsDeletedBeforeTheRestart) {
    add_pod();
    prepare();
    int asked = 0;
    const auto outcome = run(
        new_record(), plan::DrainSpec(), {[&]() -> std::optional<std::string> {
            return ++asked > 2 ? std::optional<std::string>("the Plan was deleted") : std::nullopt;
        }});
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("the Plan was deleted"));
    EXPECT_TRUE(units_.restarted.empty());
    expect_as_it_was();
}

TEST_F(UpgradeTest, IsFinishedWhenThePlanIsDeletedAfterTheRestart) {
    prepare();
    const auto outcome = run(new_record(), std::nullopt, {[&]() -> std::optional<std::string> {
                                 return units_.restarted.empty()
                                            ? std::nullopt
                                            : std::optional<std::string>("the Plan was deleted");
                             }});
    EXPECT_EQ(outcome.ending, Ending::succeeded);
    expect_upgraded();
}

TEST_F(UpgradeTest, IsUndoneWhenItsDeadlineHasPassedBeforeTheRestart) {
    prepare();
    limits_.deadline = std::chrono::seconds(10);
    on_request_ = [&](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (effect_of(request) == "cordon") {
            clock_.advance(std::chrono::seconds(11));
        }
        return std::nullopt;
    };
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("jobActiveDeadlineSecs"));
    expect_as_it_was();
}

TEST_F(UpgradeTest, IsRolledBackWhenItsDeadlinePassesWhileTheNodeBecomesReady) {
    prepare();
    limits_.deadline = std::chrono::seconds(5);
    limits_.health = std::chrono::minutes(5);
    new_is_not_ready_ = true;
    EXPECT_EQ(run().ending, Ending::failed);
    expect_rolled_back();
}

}  // namespace
}  // namespace kua::upgrade
