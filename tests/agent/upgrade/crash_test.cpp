// SPDX-License-Identifier: Apache-2.0
// The agent is killed at every effect it has on the world, before and after it; the next start must
// bring the host to a good end.
#include "tests/agent/upgrade/fixture.hpp"

namespace kua::upgrade {
namespace {

using test::error_of;
using test::FakeApi;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// Not a std::exception: nothing on the way may catch it, as nothing catches SIGKILL.
struct Killed {};

class Crash : public test::Host {
  protected:
    enum class When { before, after };

    /// Runs, killed at effect number `at`; false when it came to its end before that.
    bool run_killed_at(int at, When when) {
        int count = 0;
        const auto perhaps_kill = [at, &count] {
            if (count++ == at) {
                throw Killed();
            }
        };
        if (when == When::before) {
            on_request_ = [=](const FakeApi::Seen& request) -> std::optional<http::Response> {
                if (!effect_of(request).empty()) {
                    perhaps_kill();
                }
                return std::nullopt;
            };
            on_start_ = perhaps_kill;
            units_.on_stop = [=](const std::string&) {
                perhaps_kill();
                return systemd::JobResult{"done"};
            };
        } else {
            api_.after([=](const FakeApi::Seen& request) {
                if (!effect_of(request).empty()) {
                    perhaps_kill();
                }
            });
            units_.on_wait_settled = [=](const std::string&) { perhaps_kill(); };
            units_.on_stop = [=, this](const std::string& name) {
                units_.units.at(name).active_state = "inactive";
                perhaps_kill();
                return systemd::JobResult{"done"};
            };
        }
        bool killed = false;
        try {
            run(plan::DrainSpec());
        } catch (const Killed&) {
            killed = true;
        }
        on_request_ = nullptr;
        on_start_ = nullptr;
        units_.on_wait_settled = nullptr;
        units_.on_stop = nullptr;
        api_.after(nullptr);
        return killed;
    }

    /// The host as it is before an upgrade.
    void begin_anew() {
        test::write_text(folder_ / "k3s", kOld);
        std::filesystem::remove(places_.next);
        std::filesystem::remove(places_.previous);
        journal_.end();
        api_.put(kNode, {{"metadata", {{"name", "server-1"}}}});
        report_kubelet(kOldVersion, true);
        api_.put(kLock, {{"metadata", {{"name", "k3s-upgrade-agent"}}}});
        add_pod();
        prepare();
    }

    void kill_everywhere(int least_effects) {
        for (const auto when : {When::before, When::after}) {
            int at = 0;
            for (;; ++at) {
                SCOPED_TRACE(std::string(when == When::before ? "before" : "after") + " effect " +
                             std::to_string(at));
                begin_anew();
                const bool killed = run_killed_at(at, when);
                const auto step = journal_.read() ? journal_.read()->step : "none";
                SCOPED_TRACE("at step " + step);
                if (killed) {
                    const auto outcome = resume();
                    ASSERT_TRUE(outcome);
                    EXPECT_EQ(units_.units.at("k3s.service").active_state, "active");
                    switch (outcome->ending) {
                        case Ending::succeeded:
                            expect_upgraded();
                            break;
                        case Ending::undone:
                            expect_as_it_was();
                            break;
                        case Ending::failed:
                            expect_rolled_back();
                            break;
                    }
                }
                if (!killed || HasFailure()) {
                    break;
                }
            }
            EXPECT_GE(at, least_effects);
        }
    }

    /// k3s was started a moment ago. `on_wait` is told how long it has run.
    void reboot(const std::function<void(Duration)>& on_wait) {
        const auto started = clock_.monotonic() - std::chrono::seconds(2);
        const auto grow_older = [this, started] {
            const auto up = std::chrono::duration_cast<Duration>(clock_.monotonic() - started);
            units_.units.at("k3s.service").main_age = up;
            return up;
        };
        grow_older();
        clock_.on_wait([grow_older, on_wait] { on_wait(grow_older()); });
    }

    /// A host on which the agent was killed at `step`, and whose k3s is the new one where
    /// `swapped`.
    node::Record killed_at(const std::string& step, bool swapped) {
        prepare();
        if (swapped) {
            release::swap(places_, kSum);
        }
        auto record = new_record();
        record.prepared = true;
        record.step = step;
        journal_.begin(record);
        return record;
    }
};

TEST_F(Crash, EndsWellOnTheWayForward) { kill_everywhere(6); }

TEST_F(Crash, EndsWellWhereK3sIsStoppedForTheCopyOfItsDataStore) {
    datastore_ = "sqlite";
    std::filesystem::create_directories(folder_ / "data" / "server" / "db");
    test::write_text(folder_ / "data" / "server" / "db" / "state.db", "all");
    kill_everywhere(7);
}

TEST_F(Crash, EndsWellOnTheWayBack) {
    new_does_not_start_ = true;
    kill_everywhere(5);
}

TEST_F(Crash, WhilePreparingTouchesNothingThatAnEarlierUpgradeHasLeft) {
    take_slot();
    test::write_text(places_.previous, "the version before the old one");
    auto record = new_record();
    record.step = "prepare";
    journal_.begin(record);
    test::write_text(places_.next, "half of the new one");
    EXPECT_EQ(resume()->ending, Ending::undone);
    expect_as_it_was();
}

TEST_F(Crash, InAHookIsUndoneBeforeTheSwapAndRepeatedLater) {
    for (const std::string point : {"pre-drain", "post-drain", "pre-restart"}) {
        SCOPED_TRACE(point);
        add_hook(point);
        killed_at("hooks-" + point, false);
        node::OwnNode(client_, "server-1").cordon("server-plan", {});
        EXPECT_EQ(resume().value().ending, Ending::undone);
        EXPECT_EQ(hooks_ran(), "");
        expect_as_it_was();
    }
    auto record = killed_at("hooks-on-failure", false);
    record.undone = "not today";
    slots_.give_back("server-plan", {});
    journal_.begin(record);
    add_hook("on-failure");
    EXPECT_EQ(resume().value().ending, Ending::undone);
    EXPECT_EQ(hooks_ran(), "on-failure not today\n");
}

TEST_F(Crash, BeforeTheSwapIsUndone) {
    for (const char* step : {"cordon", "drain", "swap", "undo"}) {
        SCOPED_TRACE(step);
        killed_at(step, false);
        node::OwnNode(client_, "server-1").cordon("server-plan", {});
        EXPECT_EQ(resume().value().ending, Ending::undone);
        EXPECT_THAT(units_.restarted, IsEmpty());
        expect_as_it_was();
    }
}

TEST_F(Crash, RightAfterTheSwapGoesOn) {
    killed_at("swap", true);
    EXPECT_EQ(resume().value().ending, Ending::succeeded);
    expect_upgraded();
}

TEST_F(Crash, InTheMiddleOfUndoingIsUndone) {
    // The swap had happened, the restart had not.
    killed_at("undo", true);
    EXPECT_EQ(resume().value().ending, Ending::undone);
    expect_as_it_was();
}

TEST_F(Crash, AfterTheRestartBeganGoesOn) {
    for (const char* step : {"restart", "verify", "uncordon", "label", "release"}) {
        SCOPED_TRACE(step);
        test::write_text(folder_ / "k3s", kOld);
        auto record = killed_at(step, true);
        record.restarted = "2026-01-01T00:00:00Z";
        journal_.begin(record);
        report_kubelet(kNewVersion, true);
        if (record.step == "release") {
            api_.edit(kNode, {{"metadata", {{"labels", {{kLabel, kHash}}}}}});
        }
        EXPECT_EQ(resume().value().ending, Ending::succeeded);
        expect_upgraded();
        api_.edit(kNode, {{"metadata", {{"labels", nullptr}}}});
    }
}

TEST_F(Crash, OnTheWayBackGoesOnBack) {
    for (const char* step : {"restore", "restart-previous", "verify-previous", "uncordon-previous",
                             "report-failure"}) {
        for (const bool restored : {false, true}) {
            SCOPED_TRACE(step);
            test::write_text(folder_ / "k3s", kOld);
            auto record = killed_at(step, true);
            record.restarted = "2026-01-01T00:00:00Z";
            const std::string rolled_back = "verify: not Ready; rolled back to v1.30.4+k3s1";
            const auto told =
                rolled_back + ", uncordoned; when it is mended: `k3s-upgrade-agent release`";
            record.failure = record.step == "report-failure"      ? told
                             : record.step == "uncordon-previous" ? rolled_back
                                                                  : "verify: not Ready";
            journal_.begin(record);
            if (restored || record.step != "restore") {
                release::restore(places_);
                report_kubelet(kOldVersion, true);
            }
            const auto outcome = resume().value();
            EXPECT_EQ(outcome.ending, Ending::failed);
            EXPECT_EQ(outcome.reason, told);
            EXPECT_EQ(slot()->detail, told);
            expect_rolled_back();
        }
    }
}

TEST_F(Crash, WithALostSlotIsUndoneBeforeTheRestart) {
    killed_at("swap", true);
    api_.edit(kLock, {{"data", {{"server-plan.server-1", nullptr}}}});
    EXPECT_EQ(resume().value().ending, Ending::undone);
    EXPECT_THAT(units_.restarted, IsEmpty());
    expect_as_it_was();
}

TEST_F(Crash, WithASlotThatMayHaveRunOutIsUndoneBeforeTheRestart) {
    killed_at("swap", true);
    clock_.advance(slots_.settings().ttl + Duration(1));
    EXPECT_EQ(resume().value().ending, Ending::undone);
    EXPECT_THAT(units_.restarted, IsEmpty());
    expect_as_it_was();
}

TEST_F(Crash, WithALostSlotGoesOnOnceK3sRunsTheNewVersion) {
    // The host was rebooted after the swap: there is nothing left to undo.
    killed_at("swap", true);
    api_.edit(kLock, {{"data", {{"server-plan.server-1", nullptr}}}});
    report_kubelet(kNewVersion, true);
    EXPECT_EQ(resume().value().ending, Ending::succeeded);
    expect_upgraded();
}

TEST_F(Crash, WithALostSlotDoesNotRestartAgainWhatRuns) {
    // Whether its restart had begun or not: others may have slots by now.
    auto record = killed_at("restart", true);
    record.restarted = "2026-01-01T00:00:00Z";
    journal_.begin(record);
    clock_.advance(slots_.settings().ttl + Duration(1));
    EXPECT_EQ(resume().value().ending, Ending::undone);
    EXPECT_THAT(units_.restarted, IsEmpty());
    expect_as_it_was();
}

TEST_F(Crash, WithALostSlotStartsWhatIsDown) {
    killed_at("restart", true);
    api_.edit(kLock, {{"data", {{"server-plan.server-1", nullptr}}}});
    units_.units.at("k3s.service").active_state = "inactive";
    units_.on_restart = [this](const std::string& name) {
        units_.units.at(name).active_state = "active";
        return start_k3s(name);
    };
    EXPECT_EQ(resume().value().ending, Ending::succeeded);
    EXPECT_THAT(units_.restarted, SizeIs(1));
    EXPECT_EQ(kubelet(), kNewVersion);
}

TEST_F(Crash, WithALateSlotIsUndoneBeforeTheRestart) {
    killed_at("swap", true);
    auto late = *slot();
    late.late = true;
    api_.edit(kLock, {{"data", {{"server-plan.server-1", to_json(late).dump()}}}});
    EXPECT_EQ(resume().value().ending, Ending::undone);
    EXPECT_THAT(units_.restarted, IsEmpty());
    expect_as_it_was();
}

TEST_F(Crash, WaitsForAnAnswerBeforeItRestartsWhatRuns) {
    killed_at("swap", true);
    clock_.advance(slots_.settings().ttl + Duration(1));
    api_.set_down(true);
    int waits = 0;
    clock_.on_wait([&] {
        EXPECT_THAT(units_.restarted, IsEmpty());
        if (++waits == 3) {
            api_.set_down(false);
        }
    });
    EXPECT_EQ(resume().value().ending, Ending::undone);
    EXPECT_GE(waits, 3);
    EXPECT_THAT(units_.restarted, IsEmpty());
    expect_as_it_was();
}

TEST_F(Crash, KnowsTheNewVersionOnceTheNodeReportsAfterAReboot) {
    // Just booted: the Node still shows what ran before.
    killed_at("swap", true);
    clock_.advance(slots_.settings().ttl + Duration(1));
    int waits = 0;
    reboot([&](Duration) {
        if (++waits == 2) {
            report_kubelet(kNewVersion, true);
        }
    });
    EXPECT_EQ(resume().value().ending, Ending::succeeded);
    EXPECT_THAT(units_.restarted, IsEmpty());
    expect_upgraded();
}

TEST_F(Crash, KnowsAtOnceThatWhatHasLongRunIsTheOldVersion) {
    // An idle kubelet's next report may be minutes away.
    killed_at("swap", true);
    clock_.advance(slots_.settings().ttl + Duration(1));
    EXPECT_EQ(resume().value().ending, Ending::undone);
    EXPECT_EQ(clock_.waits(), 0);
    expect_as_it_was();
}

TEST_F(Crash, TakesOnlyAReportOfTheK3sThatRunsForTheOldVersion) {
    killed_at("swap", true);
    clock_.advance(slots_.settings().ttl + Duration(1));
    std::optional<Duration> reported;
    reboot([&](Duration up) {
        if (!reported && up >= std::chrono::seconds(20)) {
            reported = up;
            report_kubelet(kOldVersion, false);
        }
    });
    EXPECT_EQ(resume().value().ending, Ending::undone);
    EXPECT_TRUE(reported);
    EXPECT_THAT(units_.restarted, IsEmpty());
}

TEST_F(Crash, WaitsAsLongWhereTheClockIsBehindAfterAReboot) {
    // A host without a clock of its own has not been told the time of day yet.
    killed_at("swap", true);
    api_.edit(kLock, {{"data", {{"server-plan.server-1", nullptr}}}});
    clock_.set_wall(clock_.wall() - std::chrono::hours(1));
    bool reported = false;
    reboot([&](Duration up) {
        if (!reported && up >= std::chrono::seconds(20)) {
            reported = true;
            report_kubelet(kNewVersion, true);
        }
    });
    EXPECT_EQ(resume().value().ending, Ending::succeeded);
    EXPECT_TRUE(reported);
    expect_upgraded();
}

TEST_F(Crash, WithTheBinaryGonePutsTheOldOneBack) {
    killed_at("swap", true);
    std::filesystem::remove(places_.binary);
    EXPECT_EQ(resume().value().ending, Ending::undone);
    expect_as_it_was();
}

TEST_F(Crash, AtAStepThatThisAgentDoesNotKnowTouchesNothing) {
    killed_at("dance", true);
    const auto error = error_of([&] { resume(); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("\"dance\""));
    EXPECT_TRUE(journal_.read());
    EXPECT_EQ(label(), "");
}

TEST_F(Crash, LeavesNothingToDoWithoutAJournal) { EXPECT_FALSE(resume()); }

}  // namespace
}  // namespace kua::upgrade
