// SPDX-License-Identifier: Apache-2.0
// k3s's restart, stop and start with an outcome.
#pragma once

#include <stop_token>
#include <string>

#include "lib/base/clock.hpp"
#include "lib/systemd/units.hpp"

namespace kua::node {

/// Restarts the unit and waits until it is active; returns its state then. Throws Error{failed}
/// that names the job's result or the unit's state when it is not within `timeout`, or when systemd
/// can't be asked for that long; Error{stopped}. Safe to repeat.
systemd::UnitState restart_unit(systemd::Units& units, Clock& clock, const std::string& unit,
                                Duration timeout, const std::stop_token& stop);

/// Stops the unit and returns when its main process is gone. Throws Error{failed} that names the
/// job's result or the unit's state when that is not so within `timeout`, or when systemd can't be
/// asked for that long; Error{stopped}. Safe to repeat.
void stop_unit(systemd::Units& units, Clock& clock, const std::string& unit, Duration timeout,
               const std::stop_token& stop);

/// `restart_unit`, but a unit that is active, or is being started, is left to it.
systemd::UnitState start_unit(systemd::Units& units, Clock& clock, const std::string& unit,
                              Duration timeout, const std::stop_token& stop);

/// `restart_unit` without the restart.
systemd::UnitState wait_active(systemd::Units& units, Clock& clock, const std::string& unit,
                               Duration timeout, const std::stop_token& stop);

/// How long a unit is watched before it counts as one that stays up.
struct Settling {
    Duration time;
    /// What a restart by somebody else may take, all of them together; then `time` begins anew.
    Duration restart;
};

/// Watches a unit since it was seen `active`. Throws Error{failed} at once when it ends by itself,
/// or systemd has started it again because it did; Error{stopped}. A unit that somebody restarts
/// meanwhile (`systemctl restart k3s`) is no worse for it. While systemd can't be asked nothing is
/// known; what happened meanwhile is seen as soon as it can.
void ensure_settles(systemd::Units& units, Clock& clock, const systemd::UnitState& active,
                    const Settling& settling, const std::stop_token& stop);

/// A unit's state in words, for a message about what did not come up: `k3s.service is activating
/// (auto-restart), result exit-code, restarted by systemd 3 times`. Never throws: what can't be
/// asked is said.
std::string unit_in_words(systemd::Units& units, const std::string& unit);

}  // namespace kua::node
