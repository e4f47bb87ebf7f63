// SPDX-License-Identifier: Apache-2.0
#include "agent/node/restart.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::node {

namespace {

constexpr Duration kBusRetry{1'000};

std::string in_words(const systemd::UnitState& state) {
    return format("{} is {} ({}), result {}, restarted by systemd {} times", state.name,
                  state.active_state, state.sub_state, state.result, state.n_restarts);
}

Duration remaining(Clock& clock, Monotonic end) {
    return std::max(Duration(1), std::chrono::ceil<Duration>(end - clock.monotonic()));
}

/// The bus may be restarted at any moment; what is asked here may safely be asked again. `deed` is
/// for messages: `restarting k3s.service`.
template <typename Ask>
auto until_answered(Clock& clock, const std::string& deed, Duration timeout, Monotonic end,
                    const std::stop_token& stop, const Ask& ask) {
    while (true) {
        try {
            return ask();
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::transient) {
                throw;
            }
            if (clock.monotonic() >= end) {
                throw Error(ErrorKind::failed, format("{}: not done after {}: {}", deed,
                                                      to_text(timeout), error.what()));
            }
            log::warning(format("{}: {}; trying again", deed, error.what()));
            if (!clock.wait_for(kBusRetry, stop)) {
                throw Error(ErrorKind::stopped, "stopped while " + deed);
            }
        }
    }
}

systemd::UnitState wait_active_until(systemd::Units& units, Clock& clock, const std::string& unit,
                                     Duration timeout, Monotonic end, const std::stop_token& stop) {
    auto state = until_answered(clock, "restarting " + unit, timeout, end, stop, [&] {
        return units.wait_settled(unit, remaining(clock, end), stop);
    });
    if (state.active_state != "active") {
        throw Error(ErrorKind::failed, "after the restart " + in_words(state));
    }
    return state;
}

/// Returns the moment until which there is time.
template <typename Job>
Monotonic finish_job(Clock& clock, const std::string& deed, Duration timeout,
                     const std::stop_token& stop, const Job& job) {
    const auto end = clock.monotonic() + timeout;
    const auto done =
        until_answered(clock, deed, timeout, end, stop, [&] { return job(remaining(clock, end)); });
    if (!done.done()) {
        throw Error(ErrorKind::failed, format("{}: the job ended with \"{}\"", deed, done.result));
    }
    return end;
}

/// systemd counts only the restarts that nobody asked for.
bool ended_by_itself(const systemd::UnitState& before, const systemd::UnitState& now) {
    const bool up = now.active_state == "active" || now.active_state == "reloading";
    return now.n_restarts > before.n_restarts || (!up && !now.has_job);
}

/// Returns the unit's state when somebody's restart of it is over. Throws Error{failed} when it is
/// not up by then, or not until `end`.
systemd::UnitState wait_while_restarted(systemd::Units& units, Clock& clock,
                                        const systemd::UnitState& before, Monotonic end,
                                        const std::stop_token& stop) {
    while (true) {
        auto now = units.wait_settled(before.name, remaining(clock, end), stop);
        const bool crashed = now.n_restarts > before.n_restarts;
        if (now.active_state == "active" && !crashed) {
            return now;
        }
        if (crashed || clock.monotonic() >= end) {
            throw Error(ErrorKind::failed, format("did not come up again after somebody had "
                                                  "stopped or restarted it: {}",
                                                  in_words(now)));
        }
        // Stopped, and not started yet. A server ends as `failed` also when it is told to end.
        if (!clock.wait_for(kBusRetry, stop)) {
            throw Error(ErrorKind::stopped, "stopped while watching " + before.name);
        }
    }
}

}  // namespace

systemd::UnitState restart_unit(systemd::Units& units, Clock& clock, const std::string& unit,
                                Duration timeout, const std::stop_token& stop) {
    const auto end = finish_job(clock, "restarting " + unit, timeout, stop,
                                [&](Duration left) { return units.restart(unit, left, stop); });
    return wait_active_until(units, clock, unit, timeout, end, stop);
}

void stop_unit(systemd::Units& units, Clock& clock, const std::string& unit, Duration timeout,
               const std::stop_token& stop) {
    const auto deed = "stopping " + unit;
    const auto end = finish_job(clock, deed, timeout, stop,
                                [&](Duration left) { return units.stop(unit, left, stop); });
    const auto state =
        until_answered(clock, deed, timeout, end, stop, [&] { return units.state(unit); });
    // `failed` is how a program ends that says so to SIGTERM: it is gone all the same.
    if (state && (state->main_pid != 0 ||
                  (state->active_state != "inactive" && state->active_state != "failed"))) {
        throw Error(ErrorKind::failed, "after it was stopped " + in_words(*state));
    }
}

systemd::UnitState start_unit(systemd::Units& units, Clock& clock, const std::string& unit,
                              Duration timeout, const std::stop_token& stop) {
    const auto end = finish_job(clock, "starting " + unit, timeout, stop,
                                [&](Duration left) { return units.start(unit, left, stop); });
    return wait_active_until(units, clock, unit, timeout, end, stop);
}

systemd::UnitState wait_active(systemd::Units& units, Clock& clock, const std::string& unit,
                               Duration timeout, const std::stop_token& stop) {
    return wait_active_until(units, clock, unit, timeout, clock.monotonic() + timeout, stop);
}

void ensure_settles(systemd::Units& units, Clock& clock, const systemd::UnitState& active,
                    const Settling& settling, const std::stop_token& stop) {
    auto watched = active;
    auto end = clock.monotonic() + settling.time;
    const auto latest = end + settling.restart;
    while (true) {
        try {
            // Once more at the end, however little is left: that is the look that counts.
            auto now = units.wait_unsettled(watched, remaining(clock, end), stop);
            if (!now) {
                return;
            }
            if (ended_by_itself(watched, *now) || clock.monotonic() >= latest) {
                throw Error(ErrorKind::failed, format("did not stay up for {} (health.settle): {}",
                                                      to_text(settling.time), in_words(*now)));
            }
            log::info(format("somebody restarts {}; watching it anew", active.name),
                      {{"unit", active.name}});
            watched = wait_while_restarted(units, clock, watched, latest, stop);
            end = clock.monotonic() + settling.time;
            continue;
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::transient) {
                throw;
            }
            log::warning(format("watching {}: {}", active.name, error.what()),
                         {{"unit", active.name}});
            if (clock.monotonic() >= end) {
                return;  // The node's own report has to tell then.
            }
        }
        if (!clock.wait_for(kBusRetry, stop)) {
            throw Error(ErrorKind::stopped, "stopped while watching " + active.name);
        }
    }
}

std::string unit_in_words(systemd::Units& units, const std::string& unit) {
    try {
        const auto state = units.state(unit);
        return state ? in_words(*state) : unit + " is gone";
    } catch (const Error& error) {
        return format("the state of {} is not known: {}", unit, error.what());
    }
}

}  // namespace kua::node
