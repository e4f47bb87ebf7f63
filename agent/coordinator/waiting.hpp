// SPDX-License-Identifier: Apache-2.0
// Why a Plan does not go on, in lines that a person can act on. No I/O.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/coordinator/progress.hpp"
#include "lib/base/clock.hpp"

namespace kua::coordinator {

/// The outcome of looking for a Plan's version.
struct Resolution {
    std::string latest_version;  ///< With `-` for `+`, as SUC writes it; empty: not resolved.
    std::string reason;   ///< `Version`, `Channel`, or `Error`; empty: nobody has looked for one.
    std::string message;  ///< Why it is not resolved, or why its channel can't be asked again.
};

/// The Plan that spec.prepare names.
struct Prepare {
    bool exists = true;
    std::vector<std::string> applying;  ///< Its nodes at work.
    /// The Plans that wait for each other, where following spec.prepare leads back to this one.
    std::vector<std::string> circle{};
};

/// A window that is shut now.
struct ShutWindow {
    std::string text;
    std::optional<WallTime> opens;  ///< Absent: not within two weeks.
};

/// What stands around a Plan.
struct Situation {
    std::vector<Holder> holders{};         ///< Its own keys in the lock, see progress_of.
    Prepare prepare{};                     ///< Looked at when the Plan has a spec.prepare.
    std::vector<std::string> exclusive{};  ///< Other exclusive Plans at work, if it is exclusive.
    std::optional<ShutWindow> shut{};      ///< Its window, when that is shut.
    /// For minutes is_untaken has been true, and nothing has changed.
    bool untaken = false;
};

/// A reason as it stands in the condition Complete.
struct Reason {
    std::string reason;  ///< SUC's `JobFailed`, `Waiting`, `SyncJob`; ours `Silent`, `Blocked`,
                         ///< `Paused`.
    std::string message;
};

/// `agent-1 fell silent while Draining; its slot is free again`
std::string silence(const lock::Slot& slot);

/// `a: verify: not Ready`
std::string failure(const lock::Slot& slot);

/// True when nodes could go on now: one waits that is Ready and has an agent, a slot is free, and
/// nothing is in the way. It may be fetching.
bool is_untaken(const plan::Plan& plan, const std::vector<NodeView>& nodes,
                const Progress& progress, const std::vector<Reason>& reasons);

/// Everything that keeps the Plan from going on now, most urgent first; empty when nodes are at
/// work and nothing else is to be said. Each line names a few nodes at most.
std::vector<Reason> reasons(const plan::Plan& plan, const Resolution& resolution,
                            const std::vector<NodeView>& nodes, const Progress& progress,
                            const Situation& situation);

}  // namespace kua::coordinator
