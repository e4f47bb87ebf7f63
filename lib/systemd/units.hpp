// SPDX-License-Identifier: Apache-2.0
// systemd's units as the agent needs them: find one, look at it, restart, stop or start it and wait
// for the outcome.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "lib/base/clock.hpp"

namespace kua::systemd {

/// One of a unit's EnvironmentFile= lines.
struct EnvironmentFile {
    std::string path;
    bool may_be_missing = false;
};

/// A unit's properties at one moment, from org.freedesktop.systemd1.Unit and .Service.
struct UnitState {
    std::string name;          ///< `k3s.service`
    std::string load_state;    ///< `loaded`, `not-found`, `masked`, `bad-setting`, …
    std::string load_error{};  ///< What systemd says of a unit that it could not load.
    std::string active_state;  ///< `active`, `activating`, `inactive`, `failed`, …
    std::string sub_state;     ///< `running`, `auto-restart`, `start`, …
    std::vector<std::string>
        exec_start;  ///< argv of the first ExecStart, with argv[0]; empty when it has none.
    /// The program of the first ExecStart: another than argv[0] where that was given with `@`.
    std::string exec_path{};
    std::vector<std::string> environment{};            ///< `NAME=value`, of Environment=.
    std::vector<EnvironmentFile> environment_files{};  ///< In order: a later one wins.
    std::string kill_mode{};  ///< `control-group`, `process`, `mixed`, `none`
    std::uint32_t main_pid = 0;
    /// How long ago the main process was started, whatever the time of day was then; of one that
    /// has ended, too. Absent when there was none.
    std::optional<Duration> main_age{};
    std::uint32_t n_restarts = 0;  ///< After it ended by itself; systemd counts no others.
    /// A job is waiting or under way: somebody starts, stops or restarts it.
    bool has_job = false;
    std::string result;  ///< Of the last run: `success`, `exit-code`, `timeout`, …
};

/// A process in a unit's control group, or in one below it.
struct UnitProcess {
    std::uint32_t pid = 0;
    /// Its arguments (or the title it gave itself), without quotes, one blank between them. systemd
    /// says `[name]` for a process that has none.
    std::string command;
};

/// True when a unit that was `before` still runs: active, with the same main process, and not
/// started again by systemd meanwhile. (A unit that reloads is active.)
[[nodiscard]] inline bool runs_on(const UnitState& before, const UnitState& now) {
    return (now.active_state == "active" || now.active_state == "reloading") &&
           now.main_pid == before.main_pid && now.n_restarts == before.n_restarts;
}

/// How a job ended: systemd's word in JobRemoved (`done`, `failed`, `canceled`, `timeout`,
/// `dependency`, `skipped`).
struct JobResult {
    std::string result;
    [[nodiscard]] bool done() const { return result == "done"; }
};

/// The seam. Every method throws Error{transient} when the bus or systemd is away (the message says
/// which), and reconnects by itself on the next call.
class Units {
  public:
    virtual ~Units() = default;

    /// Loads the unit if needed; absent when there is no such unit. Throws Error{transient},
    /// Error{failed} when systemd refuses the name.
    virtual std::optional<UnitState> state(const std::string& name) = 0;

    /// Names of the loaded services that run, or are being started or reloaded, sorted. Throws
    /// Error{transient}.
    virtual std::vector<std::string> running_services() = 0;

    /// What runs in the unit now, the children that outlived a stop among them (KillMode=process).
    /// Empty for a unit without processes. Throws Error{transient}, Error{failed} when there is no
    /// such unit.
    virtual std::vector<UnitProcess> processes(const std::string& name) = 0;

    /// RestartUnit(name, "replace"), then waits for that job's JobRemoved. Throws Error{transient}
    /// when the deadline passes or the bus goes away before the job ended (the job may still be
    /// running), Error{failed} when systemd refuses the call, Error{stopped} on `stop`. Safe to
    /// repeat.
    virtual JobResult restart(const std::string& name, Duration timeout, std::stop_token stop) = 0;

    /// The same with StopUnit. A unit that is not running stays so, and its job is `done`.
    virtual JobResult stop(const std::string& name, Duration timeout, std::stop_token stop) = 0;

    /// The same with StartUnit. A unit that is active, or is being started, is left to it, and
    /// waited for.
    virtual JobResult start(const std::string& name, Duration timeout, std::stop_token stop) = 0;

    /// Waits until the unit's ActiveState is `active`, or `failed` without a job (by
    /// PropertiesChanged, not by asking again and again), and returns the state then; returns the
    /// last state seen when the deadline passes. A unit that systemd is about to start again
    /// (`activating`, `auto-restart`; `failed` in the middle of a restart) is not settled; one
    /// without Type=notify is `active` as soon as it was started, so look at `n_restarts` for a
    /// crash loop. Throws Error{stopped} on `stop`, Error{failed} when there is no such unit,
    /// Error{transient}.
    virtual UnitState wait_settled(const std::string& name, Duration timeout,
                                   std::stop_token stop) = 0;

    /// Waits while the unit runs on since it was `settled` (runs_on; by PropertiesChanged, too).
    /// Returns the state as soon as it does not; absent when it did until the deadline passed.
    /// Throws Error{stopped} on `stop`, Error{failed} when there is no such unit, Error{transient}.
    virtual std::optional<UnitState> wait_unsettled(const UnitState& settled, Duration timeout,
                                                    std::stop_token stop) = 0;
};

}  // namespace kua::systemd
