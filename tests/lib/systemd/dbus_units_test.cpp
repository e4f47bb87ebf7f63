// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/dbus_units.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <future>
#include <optional>

#include "lib/base/error.hpp"
#include "tests/fakes/systemd_bus/private_bus.hpp"
#include "tests/fakes/systemd_bus/systemd_bus.hpp"
#include "tests/lib/base/shows_progress.hpp"

// LeakSanitizer asks for this. sdbus-c++ 1.2 leaks the sd_bus object when the bus at an *address*
// is not there; the system bus, which the agent uses, is opened by libsystemd itself, and does not
// leak.
extern "C" const char*
__lsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier,readability-identifier-naming)
extern "C" const char*
__lsan_default_suppressions() {  // NOLINT(bugprone-reserved-identifier,readability-identifier-naming)
    return "leak:sd_bus_new\n";
}

namespace kua::systemd {
namespace {

using namespace std::chrono_literals;
using fakes::FakeJob;
using fakes::FakeUnit;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Duration kLong = 60s;
/// For a wait that is to end by itself: its questions before that must be answered by then.
constexpr Duration kShort = 1s;

FakeUnit k3s() {
    FakeUnit unit;
    unit.name = "k3s.service";
    unit.exec_start = {"/usr/local/bin/k3s", "server", "--flag=a b"};
    unit.main_pid = 42;
    return unit;
}

FakeUnit k3s_in_state(const std::string& active, const std::string& sub) {
    FakeUnit unit = k3s();
    unit.active_state = active;
    unit.sub_state = sub;
    return unit;
}

template <typename Action>
std::string message_of(ErrorKind kind, Action&& action) {
    try {
        action();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), kind) << to_string(error.kind()) << ": " << error.what();
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
}

class DbusUnitsTest : public testing::Test {
  protected:
    DbusUnitsTest() : units_(bus_.address()) { start_systemd(); }

    void start_systemd(const FakeUnit& unit = k3s()) {
        systemd_.reset();
        FakeUnit timer;
        timer.name = "a.timer";
        FakeUnit other;
        other.name = "b.service";
        systemd_.emplace(bus_.address(), std::vector{unit, timer, other});
    }

    /// wait_settled in a thread of its own.
    std::future<UnitState> settling(Duration timeout, std::stop_token stop = {}) {
        return std::async(std::launch::async, [this, timeout, stop] {
            return units_.wait_settled("k3s.service", timeout, stop);
        });
    }

    /// wait_unsettled in a thread of its own.
    std::future<std::optional<UnitState>> watching(Duration timeout, std::stop_token stop = {}) {
        const auto settled = units_.state("k3s.service").value();
        return std::async(std::launch::async, [this, settled, timeout, stop] {
            return units_.wait_unsettled(settled, timeout, stop);
        });
    }

    fakes::PrivateBus bus_;
    std::optional<fakes::SystemdBus> systemd_;
    DbusUnits units_;
};

using UnitsState = DbusUnitsTest;
using Services = DbusUnitsTest;
using Restart = DbusUnitsTest;
using WaitSettled = DbusUnitsTest;
using WaitUnsettled = DbusUnitsTest;
using Reconnection = DbusUnitsTest;

TEST_F(UnitsState, IsReadFromItsProperties) {
    FakeUnit unit = k3s_in_state("activating", "auto-restart");
    unit.n_restarts = 7;
    unit.result = "exit-code";
    const auto before = std::chrono::steady_clock::now() - 90s;
    unit.main_started = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(before.time_since_epoch()).count());
    start_systemd(unit);
    const auto state = units_.state("k3s.service");
    ASSERT_TRUE(state);
    EXPECT_EQ(state->name, "k3s.service");
    EXPECT_EQ(state->load_state, "loaded");
    EXPECT_EQ(state->active_state, "activating");
    EXPECT_EQ(state->sub_state, "auto-restart");
    EXPECT_THAT(state->exec_start, ElementsAre("/usr/local/bin/k3s", "server", "--flag=a b"));
    EXPECT_EQ(state->main_pid, 42U);
    EXPECT_GE(state->main_age.value(), 90s);
    EXPECT_LE(state->main_age.value(), std::chrono::steady_clock::now() - before);
    EXPECT_EQ(state->n_restarts, 7U);
    EXPECT_EQ(state->result, "exit-code");
}

TEST_F(UnitsState, HasItsEnvironment) {
    FakeUnit unit = k3s_in_state("active", "running");
    unit.environment = {"A=1", "B=two words"};
    unit.environment_files = {{"/etc/default/k3s", true}, {"/etc/k3s.env", false}};
    start_systemd(unit);
    const auto state = units_.state("k3s.service");
    ASSERT_TRUE(state);
    EXPECT_THAT(state->environment, ElementsAre("A=1", "B=two words"));
    ASSERT_EQ(state->environment_files.size(), 2U);
    EXPECT_EQ(state->environment_files[0].path, "/etc/default/k3s");
    EXPECT_TRUE(state->environment_files[0].may_be_missing);
    EXPECT_EQ(state->environment_files[1].path, "/etc/k3s.env");
    EXPECT_FALSE(state->environment_files[1].may_be_missing);
}

TEST_F(UnitsState, NeedsNoExecStart) {
    const auto state = units_.state("b.service");
    ASSERT_TRUE(state);
    EXPECT_TRUE(state->exec_start.empty());
}

TEST_F(UnitsState, IsLessForWhatIsNoService) {
    const auto state = units_.state("a.timer");
    ASSERT_TRUE(state);
    EXPECT_EQ(state->active_state, "active");
    EXPECT_EQ(state->result, "");
}

TEST_F(UnitsState, IsAbsentForAnUnknownUnit) { EXPECT_FALSE(units_.state("k3s-agent.service")); }

TEST_F(UnitsState, TellsWhatSystemdHasAgainstTheName) {
    EXPECT_THAT(
        message_of(ErrorKind::failed, [&] { (void)units_.state("k3s"); }),
        HasSubstr("looking at k3s: LoadUnit: systemd refused: Unit name k3s is not valid."));
    // And goes on working.
    EXPECT_TRUE(units_.state("k3s.service"));
}

TEST_F(UnitsState, HasItsProcessesByTheirCommands) {
    FakeUnit unit = k3s();
    unit.processes = {{42, R"("/usr/local/bin/k3s server" "" "")"}, {43, "containerd -c a.toml"}};
    start_systemd(unit);
    const auto processes = units_.processes("k3s.service");
    ASSERT_EQ(processes.size(), 2U);
    EXPECT_EQ(processes[0].pid, 42U);
    EXPECT_EQ(processes[0].command, "/usr/local/bin/k3s server");
    EXPECT_EQ(processes[1].pid, 43U);
    EXPECT_EQ(processes[1].command, "containerd -c a.toml");
}

TEST_F(UnitsState, HasNoProcessesWhereNothingRuns) {
    EXPECT_THAT(units_.processes("k3s.service"), IsEmpty());
    systemd_->forget("k3s.service");
    EXPECT_THAT(units_.processes("k3s.service"), IsEmpty());
}

TEST_F(UnitsState, HasNoProcessesToTellForAnUnknownUnit) {
    EXPECT_EQ(message_of(ErrorKind::failed, [&] { (void)units_.processes("k3s-agent.service"); }),
              "looking at the processes of k3s-agent.service: no such unit");
    // And goes on working.
    EXPECT_TRUE(units_.state("k3s.service"));
}

TEST_F(Services, ThatRunAreThoseThatAreUpOrAboutToBe) {
    std::vector<FakeUnit> all = {k3s()};
    for (const auto* state : {"activating", "reloading", "inactive", "failed", "deactivating"}) {
        FakeUnit unit;
        unit.name = std::string(state) + ".service";
        unit.active_state = state;
        all.push_back(unit);
    }
    FakeUnit timer;
    timer.name = "k3s.timer";
    all.push_back(timer);
    systemd_.reset();
    systemd_.emplace(bus_.address(), all);
    EXPECT_THAT(units_.running_services(),
                ElementsAre("activating.service", "k3s.service", "reloading.service"));
}

TEST_F(Restart, WaitsForItsJobsResult) {
    EXPECT_TRUE(units_.restart("k3s.service", kLong, {}).done());
}

TEST_F(Restart, TakesAResultThatComesBeforeTheReply) {
    systemd_->on_job([](FakeJob job) {
        job.end("done");
        job.reply();
    });
    EXPECT_TRUE(units_.restart("k3s.service", kLong, {}).done());
}

TEST_F(Restart, TellsHowAJobFailed) {
    for (const char* const result : {"failed", "canceled", "timeout", "dependency", "skipped"}) {
        systemd_->on_job([result](FakeJob job) {
            job.reply();
            job.end(result);
        });
        const JobResult ended = units_.restart("k3s.service", kLong, {});
        EXPECT_EQ(ended.result, result);
        EXPECT_FALSE(ended.done());
    }
}

TEST_F(Restart, IsOneOfThreeThatAUnitCanBeAskedFor) {
    std::vector<std::string> asked;
    systemd_->on_job([&asked](FakeJob job) {
        asked.push_back(job.method() + " " + job.unit());
        job.reply();
        job.end(asked.size() == 1 ? "timeout" : "done");
    });
    EXPECT_EQ(units_.stop("k3s.service", kLong, {}).result, "timeout");
    EXPECT_TRUE(units_.start("k3s.service", kLong, {}).done());
    EXPECT_TRUE(units_.restart("k3s.service", kLong, {}).done());
    EXPECT_THAT(asked, ElementsAre("StopUnit k3s.service", "StartUnit k3s.service",
                                   "RestartUnit k3s.service"));
    EXPECT_THAT(message_of(ErrorKind::failed, [&] { units_.stop("missing.service", kLong, {}); }),
                HasSubstr("stopping missing.service: StopUnit: systemd refused: "));
    EXPECT_THAT(message_of(ErrorKind::failed, [&] { units_.start("missing.service", kLong, {}); }),
                HasSubstr("starting missing.service: StartUnit: systemd refused: "));
}

TEST_F(Restart, IsNotMistakenAboutOthersJobs) {
    systemd_->on_job([this](FakeJob job) {
        systemd_->end_foreign_job("k3s.service", "canceled");
        job.reply();
        systemd_->end_foreign_job("k3s.service", "failed");
        job.end("done");
    });
    EXPECT_TRUE(units_.restart("k3s.service", kLong, {}).done());
}

TEST_F(Restart, CanBeRepeated) {
    for (int round = 0; round < 3; ++round) {
        EXPECT_TRUE(units_.restart("k3s.service", kLong, {}).done());
        EXPECT_TRUE(units_.state("k3s.service"));
    }
}

TEST_F(Restart, WaitsForAJobThatTakesLong) {
    std::promise<FakeJob> begun;
    systemd_->on_job([&begun](FakeJob job) {
        job.reply();
        begun.set_value(job);
    });
    auto outcome =
        std::async(std::launch::async, [this] { return units_.restart("k3s.service", kLong, {}); });
    FakeJob job = begun.get_future().get();
    systemd_->set(k3s_in_state("deactivating", "stop"));
    systemd_->set(k3s_in_state("activating", "start"));
    EXPECT_EQ(outcome.wait_for(0s), std::future_status::timeout);
    job.end("done");
    EXPECT_TRUE(outcome.get().done());
}

TEST_F(Restart, FailsWhenSystemdRefuses) {
    EXPECT_THAT(
        message_of(ErrorKind::failed, [&] { units_.restart("missing.service", kLong, {}); }),
        HasSubstr("restarting missing.service: RestartUnit: systemd refused: Unit "
                  "missing.service not found."));
    systemd_->on_job(
        [](FakeJob job) { job.refuse("org.freedesktop.DBus.Error.AccessDenied", "two\nlines"); });
    EXPECT_THAT(message_of(ErrorKind::failed, [&] { units_.restart("k3s.service", kLong, {}); }),
                HasSubstr("two lines"));
}

TEST_F(Restart, IsTransientWhenItsDeadlinePasses) {
    systemd_->on_job([](FakeJob job) { job.reply(); });
    EXPECT_THAT(
        message_of(ErrorKind::transient, [&] { units_.restart("k3s.service", kShort, {}); }),
        HasSubstr("in time"));
}

TEST_F(Restart, IsTransientWhenSystemdDoesNotAnswerInTime) {
    std::promise<FakeJob> asked;
    systemd_->on_job([&asked](const FakeJob& job) { asked.set_value(job); });
    EXPECT_THAT(
        message_of(ErrorKind::transient, [&] { units_.restart("k3s.service", kShort, {}); }),
        HasSubstr("restarting k3s.service: "));
    auto job = asked.get_future();
    ASSERT_EQ(job.wait_for(kLong), std::future_status::ready);
    job.get().reply();  // To nobody.
    EXPECT_TRUE(units_.state("k3s.service"));
}

TEST_F(Restart, EndsWhenStopped) {
    std::stop_source source;
    systemd_->on_job([&source](FakeJob job) {
        job.reply();
        source.request_stop();
    });
    message_of(ErrorKind::stopped,
               [&] { units_.restart("k3s.service", kLong, source.get_token()); });
    // A second time without even asking systemd.
    systemd_->on_job([](const FakeJob&) { ADD_FAILURE() << "systemd was asked"; });
    message_of(ErrorKind::stopped,
               [&] { units_.restart("k3s.service", kLong, source.get_token()); });
}

TEST_F(Restart, IsTransientWhenTheBusDiesInTheMiddle) {
    std::promise<void> begun;
    systemd_->on_job([&begun](FakeJob job) {
        job.reply();
        begun.set_value();
    });
    auto outcome = std::async(std::launch::async, [this] {
        return message_of(ErrorKind::transient, [&] { units_.restart("k3s.service", kLong, {}); });
    });
    begun.get_future().wait();
    bus_.stop();
    EXPECT_THAT(outcome.get(), HasSubstr("restarting k3s.service: "));
}

TEST_F(Restart, IsTransientWhenTheBusDiesBeforeTheReply) {
    std::promise<void> begun;
    systemd_->on_job([&begun](const FakeJob&) { begun.set_value(); });
    auto outcome = std::async(std::launch::async, [this] {
        return message_of(ErrorKind::transient, [&] { units_.restart("k3s.service", kLong, {}); });
    });
    begun.get_future().wait();
    bus_.stop();
    EXPECT_THAT(outcome.get(), HasSubstr("restarting k3s.service: "));
}

TEST_F(WaitSettled, ReturnsAtOnceWhenThereIsNothingToWaitFor) {
    EXPECT_EQ(units_.wait_settled("k3s.service", 0ms, {}).active_state, "active");
    systemd_->set(k3s_in_state("failed", "failed"));
    EXPECT_EQ(units_.wait_settled("k3s.service", 0ms, {}).active_state, "failed");
}

TEST_F(WaitSettled, WaitsUntilTheUnitIsActive) {
    start_systemd(k3s_in_state("activating", "start"));
    auto settled = settling(kLong);
    systemd_->wait_for_reads("k3s.service", 1);
    EXPECT_EQ(settled.wait_for(0s), std::future_status::timeout);
    FakeUnit active = k3s();
    active.main_pid = 43;
    systemd_->set(active);
    EXPECT_EQ(settled.get().main_pid, 43U);
}

TEST_F(WaitSettled, DoesNotAskAgainAndAgain) {
    start_systemd(k3s_in_state("activating", "start"));
    EXPECT_EQ(units_.wait_settled("k3s.service", kShort, {}).active_state, "activating");
    EXPECT_EQ(systemd_->reads("k3s.service"), 1);
}

TEST_F(WaitSettled, ReturnsTheLastStateWhenTheDeadlinePasses) {
    FakeUnit unit = k3s_in_state("activating", "auto-restart");
    unit.n_restarts = 9;
    start_systemd(unit);
    const UnitState last = units_.wait_settled("k3s.service", kShort, {});
    EXPECT_EQ(last.active_state, "activating");
    EXPECT_EQ(last.n_restarts, 9U);
}

TEST_F(WaitSettled, ShowsProgressWhileItWaits) {
    start_systemd(k3s_in_state("activating", "start"));
    test::expect_progress([this](const std::stop_token& stop) {
        EXPECT_THROW(units_.wait_settled("k3s.service", 1h, stop), Error);
    });
}

TEST_F(WaitSettled, IsNotFooledByACrashLoop) {
    start_systemd(k3s_in_state("activating", "start"));
    auto settled = settling(kLong);
    for (std::uint32_t crash = 1; crash <= 3; ++crash) {
        // At least one read for each change before this one.
        systemd_->wait_for_reads("k3s.service", static_cast<int>(crash));
        FakeUnit unit = k3s_in_state("activating", crash % 2 == 1 ? "auto-restart" : "start");
        unit.n_restarts = crash;
        unit.result = "exit-code";
        systemd_->set(unit);
    }
    systemd_->wait_for_reads("k3s.service", 4);
    EXPECT_EQ(settled.wait_for(0s), std::future_status::timeout);
    FakeUnit unit = k3s();
    unit.n_restarts = 4;
    systemd_->set(unit);
    EXPECT_EQ(settled.get().n_restarts, 4U);
}

TEST_F(WaitSettled, LetsSomebodysRestartGoOn) {
    FakeUnit stopping = k3s_in_state("failed", "failed");
    stopping.job = 7;
    start_systemd(stopping);
    EXPECT_TRUE(units_.state("k3s.service")->has_job);
    auto settled = settling(kLong);
    systemd_->wait_for_reads("k3s.service", 2);
    EXPECT_EQ(settled.wait_for(0s), std::future_status::timeout);
    FakeUnit unit = k3s();
    unit.main_pid = 43;
    systemd_->set(unit);
    EXPECT_EQ(settled.get().main_pid, 43U);
    EXPECT_FALSE(units_.state("k3s.service")->has_job);
}

TEST_F(WaitSettled, SeesALoopThatSystemdGaveUp) {
    start_systemd(k3s_in_state("activating", "auto-restart"));
    auto settled = settling(kLong);
    systemd_->wait_for_reads("k3s.service", 1);
    FakeUnit unit = k3s_in_state("failed", "failed");
    unit.result = "start-limit-hit";
    systemd_->set(unit);
    EXPECT_EQ(settled.get().result, "start-limit-hit");
}

TEST_F(WaitSettled, FailsForAnUnknownUnit) {
    EXPECT_EQ(message_of(ErrorKind::failed,
                         [&] { (void)units_.wait_settled("missing.service", kLong, {}); }),
              "waiting for missing.service: no such unit");
}

TEST_F(WaitSettled, EndsWhenStopped) {
    start_systemd(k3s_in_state("activating", "start"));
    std::stop_source source;
    auto settled = settling(kLong, source.get_token());
    systemd_->wait_for_reads("k3s.service", 1);
    source.request_stop();
    message_of(ErrorKind::stopped, [&] { (void)settled.get(); });
}

TEST_F(WaitSettled, IsTransientWhenTheBusDiesInTheMiddle) {
    start_systemd(k3s_in_state("activating", "start"));
    auto settled = settling(kLong);
    systemd_->wait_for_reads("k3s.service", 1);
    bus_.stop();
    EXPECT_THAT(message_of(ErrorKind::transient, [&] { (void)settled.get(); }),
                HasSubstr("waiting for k3s.service: "));
}

TEST_F(WaitUnsettled, IsOverWhenTheUnitHasRunOnForTheWholeTime) {
    EXPECT_FALSE(watching(kShort).get());
    // Once for `watching` itself, once for the wait: not again and again.
    EXPECT_EQ(systemd_->reads("k3s.service"), 2);
}

TEST_F(WaitUnsettled, ReturnsAtOnceWhenTheUnitDoesNotRunOn) {
    FakeUnit restarted = k3s();
    restarted.main_pid = 43;
    FakeUnit counted = k3s();
    counted.n_restarts = 1;
    for (const auto& unit : {k3s_in_state("failed", "failed"), k3s_in_state("inactive", "dead"),
                             k3s_in_state("activating", "auto-restart"), restarted, counted}) {
        start_systemd();
        auto watched = watching(kLong);
        systemd_->wait_for_reads("k3s.service", 2);
        EXPECT_EQ(watched.wait_for(0s), std::future_status::timeout);
        systemd_->set(unit);
        const auto state = watched.get();
        ASSERT_TRUE(state);
        EXPECT_EQ(state->active_state, unit.active_state);
        EXPECT_EQ(state->main_pid, unit.main_pid);
        EXPECT_EQ(state->n_restarts, unit.n_restarts);
    }
}

TEST_F(WaitUnsettled, SeesWhatHappenedBeforeItWasAsked) {
    const auto settled = units_.state("k3s.service").value();
    FakeUnit restarted = k3s();
    restarted.n_restarts = 1;
    systemd_->set(restarted);
    EXPECT_TRUE(units_.wait_unsettled(settled, 0ms, {}));
}

TEST_F(WaitUnsettled, TakesAReloadForRunning) {
    auto watched = watching(kLong);
    systemd_->wait_for_reads("k3s.service", 2);
    systemd_->set(k3s_in_state("reloading", "reload"));
    systemd_->wait_for_reads("k3s.service", 3);
    EXPECT_EQ(watched.wait_for(0s), std::future_status::timeout);
    systemd_->set(k3s_in_state("failed", "failed"));
    EXPECT_EQ(watched.get().value().active_state, "failed");
}

TEST_F(WaitUnsettled, EndsWhenStopped) {
    std::stop_source source;
    auto watched = watching(kLong, source.get_token());
    systemd_->wait_for_reads("k3s.service", 2);
    source.request_stop();
    message_of(ErrorKind::stopped, [&] { (void)watched.get(); });
}

TEST_F(WaitUnsettled, IsTransientWhenTheBusDiesInTheMiddle) {
    auto watched = watching(kLong);
    systemd_->wait_for_reads("k3s.service", 2);
    bus_.stop();
    EXPECT_THAT(message_of(ErrorKind::transient, [&] { (void)watched.get(); }),
                HasSubstr("watching k3s.service: "));
}

TEST_F(Reconnection, HappensOnTheNextCall) {
    EXPECT_TRUE(units_.state("k3s.service"));
    bus_.stop();
    EXPECT_THAT(message_of(ErrorKind::transient, [&] { (void)units_.state("k3s.service"); }),
                HasSubstr("the D-Bus connection failed"));
    bus_.start();
    EXPECT_THAT(message_of(ErrorKind::transient, [&] { (void)units_.state("k3s.service"); }),
                HasSubstr("systemd does not answer"));
    start_systemd();
    EXPECT_TRUE(units_.state("k3s.service"));
    EXPECT_TRUE(units_.restart("k3s.service", kLong, {}).done());
}

TEST_F(Reconnection, IsNotNoticedWhenTheBusWasRestartedInBetween) {
    EXPECT_TRUE(units_.state("k3s.service"));
    systemd_.reset();
    bus_.stop();
    bus_.start();
    start_systemd();
    EXPECT_TRUE(units_.state("k3s.service"));
}

TEST_F(Reconnection, IsNotNeededWhenOnlySystemdWasAway) {
    EXPECT_TRUE(units_.state("k3s.service"));
    systemd_.reset();
    message_of(ErrorKind::transient, [&] { (void)units_.running_services(); });
    start_systemd();
    EXPECT_FALSE(units_.running_services().empty());
}

TEST(DbusUnits, TakesTheSystemBusWithoutAnAddress) {
    const fakes::PrivateBus bus;
    ::setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address().c_str(), 1);
    {
        fakes::SystemdBus systemd(bus.address(), {k3s()});
        DbusUnits units;
        EXPECT_TRUE(units.state("k3s.service"));
        EXPECT_TRUE(units.restart("k3s.service", kLong, {}).done());
    }
    ::setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/missing/bus", 1);
    DbusUnits units;
    EXPECT_THAT(message_of(ErrorKind::transient, [&] { (void)units.state("k3s.service"); }),
                HasSubstr("the D-Bus connection failed"));
    ::unsetenv("DBUS_SYSTEM_BUS_ADDRESS");
}

TEST(DbusUnits, NeedsNoBusToBeMade) {
    DbusUnits units("unix:path=/missing/bus");
    EXPECT_THAT(message_of(ErrorKind::transient, [&] { (void)units.state("k3s.service"); }),
                HasSubstr("the D-Bus connection failed"));
    message_of(ErrorKind::transient, [&] { units.restart("k3s.service", 1s, {}); });
    message_of(ErrorKind::transient, [&] { (void)units.wait_settled("k3s.service", 1s, {}); });
}

}  // namespace
}  // namespace kua::systemd
