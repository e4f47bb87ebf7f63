// SPDX-License-Identifier: Apache-2.0
#include "agent/node/restart.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"
#include "tests/fakes/fake_clock.hpp"
#include "tests/fakes/fake_units.hpp"

namespace kua::node {
namespace {

using std::chrono::seconds;
using test::error_of;
using test::FakeClock;
using test::FakeUnits;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RestartUnit : public ::testing::Test {
  protected:
    RestartUnit() { units_.add("k3s.service", {"/usr/local/bin/k3s", "server"}); }

    void restart(Duration timeout = std::chrono::minutes(5)) {
        restart_unit(units_, clock_, "k3s.service", timeout, stop_.get_token());
    }

    FakeClock clock_;
    FakeUnits units_;
    std::stop_source stop_;
};

TEST_F(RestartUnit, EndsWithAnActiveUnit) {
    EXPECT_NO_THROW(restart());
    EXPECT_THAT(units_.restarted, ElementsAre("k3s.service"));
}

TEST_F(RestartUnit, FailsWithTheJobsResult) {
    units_.on_restart = [](const std::string&) { return systemd::JobResult{"failed"}; };
    const auto error = error_of([&] { restart(); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("the job ended with \"failed\""));
}

TEST_F(RestartUnit, FailsWithTheStateOfAUnitThatIsNotActive) {
    auto& unit = units_.units.at("k3s.service");
    unit.active_state = "failed";
    unit.sub_state = "failed";
    unit.result = "exit-code";
    const auto error = error_of([&] { restart(); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(),
                HasSubstr("after the restart k3s.service is failed (failed), result exit-code"));
}

TEST_F(RestartUnit, AsksAgainWhileTheBusIsAway) {
    int tries = 0;
    units_.on_restart = [&](const std::string&) -> systemd::JobResult {
        if (++tries < 3) {
            throw Error(ErrorKind::transient, "the bus is away");
        }
        return {"done"};
    };
    EXPECT_NO_THROW(restart());
    EXPECT_EQ(units_.restarted.size(), 3U);
    EXPECT_EQ(clock_.waits(), 2);
}

TEST_F(RestartUnit, LooksAgainWhenTheBusGoesAwayAfterTheJob) {
    int tries = 0;
    units_.on_wait_settled = [&](const std::string&) {
        if (++tries < 3) {
            throw Error(ErrorKind::transient, "the bus is away");
        }
    };
    EXPECT_NO_THROW(restart());
    EXPECT_EQ(tries, 3);
    EXPECT_EQ(units_.restarted.size(), 1U) << "it was restarted already";
}

TEST_F(RestartUnit, FailsWhenItsTimeIsOver) {
    units_.on_restart = [&](const std::string&) -> systemd::JobResult {
        clock_.advance(seconds(40));
        throw Error(ErrorKind::transient, "the job did not end");
    };
    auto error = error_of([&] { restart(seconds(60)); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("not done after 1m: the job did not end"));
    EXPECT_EQ(units_.timeouts.front(), seconds(60));
    EXPECT_LT(units_.timeouts.back(), seconds(60));

    units_.on_restart = nullptr;
    units_.on_wait_settled = [&](const std::string&) {
        clock_.advance(seconds(40));
        throw Error(ErrorKind::transient, "the bus is away");
    };
    error = error_of([&] { restart(seconds(60)); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("not done after 1m: the bus is away"));
}

TEST_F(RestartUnit, HasASisterThatStops) {
    const auto stop = [&] { stop_unit(units_, clock_, "k3s.service", seconds(60), {}); };
    EXPECT_NO_THROW(stop());
    EXPECT_EQ(units_.units.at("k3s.service").active_state, "inactive");
    // A program that ends with an error when it is told to end has ended.
    units_.units.at("k3s.service").active_state = "failed";
    EXPECT_NO_THROW(stop());
    units_.units.at("k3s.service").main_pid = 7;
    EXPECT_THAT(error_of(stop).what(), HasSubstr("after it was stopped k3s.service is failed"));
    units_.on_stop = [](const std::string&) { return systemd::JobResult{"timeout"}; };
    EXPECT_THAT(error_of(stop).what(),
                HasSubstr("stopping k3s.service: the job ended with \"timeout\""));
}

TEST_F(RestartUnit, HasASisterThatStarts) {
    const auto start = [&] { return start_unit(units_, clock_, "k3s.service", seconds(60), {}); };
    units_.units.at("k3s.service").active_state = "inactive";
    EXPECT_EQ(start().active_state, "active");
    units_.on_start = [](const std::string&) { return systemd::JobResult{"failed"}; };
    EXPECT_THAT(error_of(start).what(),
                HasSubstr("starting k3s.service: the job ended with \"failed\""));
}

TEST_F(RestartUnit, PutsTheStateOfAUnitInWordsWhateverIsTheMatter) {
    units_.units.at("k3s.service").n_restarts = 3;
    EXPECT_EQ(unit_in_words(units_, "k3s.service"),
              "k3s.service is active (running), result success, restarted by systemd 3 times");
    EXPECT_EQ(unit_in_words(units_, "x.service"), "x.service is gone");
}

using Settles = RestartUnit;

constexpr Settling kSettling{seconds(30), seconds(60)};

TEST_F(Settles, GoesByWhatTheUnitIsWhileItIsWatched) {
    const std::string steady;
    for (const auto& [what, happens, said] : {
             std::tuple{"nothing", +[](systemd::UnitState&) {}, steady},
             std::tuple{"it reloads",
                        +[](systemd::UnitState& unit) { unit.active_state = "reloading"; }, steady},
             std::tuple{"it fails", +[](systemd::UnitState& unit) { unit.active_state = "failed"; },
                        std::string("k3s.service is failed")},
             std::tuple{"it waits to be started again",
                        +[](systemd::UnitState& unit) {
                            unit.active_state = "activating";
                            unit.sub_state = "auto-restart";
                        },
                        std::string("k3s.service is activating (auto-restart)")},
             std::tuple{"it was started again",
                        +[](systemd::UnitState& unit) { ++unit.n_restarts; },
                        std::string("restarted by systemd 1 times")},
             std::tuple{"it is gone, and nobody has asked for it",
                        +[](systemd::UnitState& unit) {
                            unit.active_state = "deactivating";
                            unit.sub_state = "stop-sigterm";
                        },
                        std::string("k3s.service is deactivating (stop-sigterm)")},
             std::tuple{"systemd's own restart is under way",
                        +[](systemd::UnitState& unit) {
                            unit.active_state = "activating";
                            unit.sub_state = "start";
                            unit.has_job = true;
                            ++unit.n_restarts;
                        },
                        std::string("k3s.service is activating (start)")},
         }) {
        SCOPED_TRACE(what);
        auto& unit = units_.add("k3s.service", {"/usr/local/bin/k3s", "server"});
        unit.main_pid = 7;
        const auto active = unit;
        units_.on_wait_unsettled = [&, act = happens](const std::string&) { act(unit); };
        const auto settle = [&] { ensure_settles(units_, clock_, active, kSettling, {}); };
        if (said == steady) {
            EXPECT_NO_THROW(settle());
            continue;
        }
        const auto error = error_of(settle);
        EXPECT_EQ(error.kind(), ErrorKind::failed);
        EXPECT_THAT(error.what(), HasSubstr("did not stay up for 30s (health.settle): "));
        EXPECT_THAT(error.what(), HasSubstr(said));
    }
}

TEST_F(Settles, GoesOnWatchingWhatWasActiveWhenTheBusComesBack) {
    const auto active = units_.units.at("k3s.service");
    int tries = 0;
    units_.on_wait_unsettled = [&](const std::string& name) {
        if (++tries < 3) {
            throw Error(ErrorKind::transient, "the bus is away");
        }
        ++units_.units.at(name).n_restarts;  // While nobody could see it.
    };
    EXPECT_EQ(error_of([&] { ensure_settles(units_, clock_, active, kSettling, {}); }).kind(),
              ErrorKind::failed);
    EXPECT_EQ(tries, 3);
    EXPECT_EQ(units_.watched.front(), seconds(30));
    EXPECT_LT(units_.watched.back(), seconds(30));
}

TEST_F(Settles, AnewWhenSomebodyRestartsTheUnit) {
    auto& unit = units_.units.at("k3s.service");
    const auto active = unit;
    int looks = 0;
    units_.on_wait_unsettled = [&](const std::string&) {
        clock_.advance(seconds(10));
        if (++looks == 1) {
            unit.active_state = "deactivating";
            unit.has_job = true;
        }
    };
    units_.on_wait_settled = [&](const std::string&) {
        // A server that was told to end.
        unit.active_state = "failed";
        unit.has_job = false;
        units_.on_wait_settled = [&](const std::string&) {
            unit.active_state = "active";
            unit.main_pid = 8;
        };
    };
    EXPECT_NO_THROW(ensure_settles(units_, clock_, active, kSettling, {}));
    EXPECT_EQ(units_.watched, (std::vector<Duration>{seconds(30), seconds(30)}));
}

TEST_F(Settles, NotWhenTheUnitCrashesAfterSomebodyHasRestartedIt) {
    auto& unit = units_.units.at("k3s.service");
    const auto active = unit;
    units_.on_wait_unsettled = [&](const std::string&) { unit.has_job = true, unit.main_pid = 8; };
    units_.on_wait_settled = [&](const std::string&) { ++unit.n_restarts; };
    const auto error = error_of([&] { ensure_settles(units_, clock_, active, kSettling, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("did not come up again after somebody had stopped"));
}

TEST_F(Settles, NotWhenItStaysStopped) {
    auto& unit = units_.units.at("k3s.service");
    const auto active = unit;
    units_.on_wait_unsettled = [&](const std::string&) {
        unit.active_state = "deactivating";
        unit.has_job = true;
    };
    units_.on_wait_settled = [&](const std::string&) { unit.active_state = "failed"; };
    const auto began = clock_.monotonic();
    const auto error = error_of([&] { ensure_settles(units_, clock_, active, kSettling, {}); });
    EXPECT_THAT(error.what(), HasSubstr("k3s.service is failed"));
    EXPECT_EQ(clock_.monotonic() - began, seconds(90));
}

TEST_F(Settles, NotWhenItIsRestartedAgainAndAgain) {
    auto& unit = units_.units.at("k3s.service");
    const auto active = unit;
    units_.on_wait_unsettled = [&](const std::string&) {
        clock_.advance(seconds(20));
        ++unit.main_pid;
    };
    const auto error = error_of([&] { ensure_settles(units_, clock_, active, kSettling, {}); });
    EXPECT_THAT(error.what(), HasSubstr("did not stay up for 30s (health.settle)"));
    EXPECT_EQ(units_.watched.size(), 5U);
}

TEST_F(Settles, LeavesItToTheNodeWhenTheBusStaysAway) {
    units_.on_wait_unsettled = [](const std::string&) {
        throw Error(ErrorKind::transient, "the bus is away");
    };
    EXPECT_NO_THROW(ensure_settles(units_, clock_, units_.units.at("k3s.service"), kSettling, {}));
    EXPECT_EQ(clock_.waits(), 30);
}

TEST_F(RestartUnit, StopsWhileTheBusIsAway) {
    units_.on_restart = [&](const std::string&) -> systemd::JobResult {
        stop_.request_stop();
        throw Error(ErrorKind::transient, "the bus is away");
    };
    EXPECT_EQ(error_of([&] { restart(); }).kind(), ErrorKind::stopped);
}

}  // namespace
}  // namespace kua::node
