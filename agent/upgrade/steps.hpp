// SPDX-License-Identifier: Apache-2.0
// The one table of an upgrade's steps: their order, and what becomes of each that is interrupted or
// fails. `k3s-upgrade-agent steps` prints it.
#pragma once

#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace kua::upgrade {

enum class Way {
    forward,
    undo,           ///< Back, while k3s was not restarted.
    roll_back,      ///< Back, after k3s was restarted.
    after_failure,  ///< After either.
};

/// What the next start does with a step that was under way.
enum class Interrupted {
    undo,
    undo_unless_swapped,  ///< With the new binary in k3s's place it goes on with the restart.
    look_then_repeat,     ///< Goes on only where its slot, or what runs, says that it may.
    repeat,
};

struct StepInfo {
    std::string_view name;   ///< In the journal.
    std::string_view phase;  ///< In the lock, the status and the log.
    bool disruptive;         ///< Wants the slot to be held for certain.
    Way way;
    Interrupted interrupted;
    /// The step that is gone to when this one fails; empty where nothing is taken back (it is tried
    /// for as long as that may help), and on the way back, where the next is taken.
    std::string_view undone_by;
};

/// All steps, in the order in which they are taken: forward, then undo, then rolling back,
/// then what comes after either. Not every upgrade has them all.
std::span<const StepInfo> steps();

/// Null for a name that is none.
const StepInfo* find_step(std::string_view name);

std::string_view name_of(Way way);

enum class Moment { before, after };  ///< A step's effect; before: after it was journalled.

/// Called by an upgrade at both moments of each step. For fault tests only.
using Pause = std::function<void(std::string_view step, Moment moment)>;

using PausePoints = std::set<std::pair<std::string, Moment>>;

/// Reads `swap:before,restart:after`. Throws Error{invalid} that lists what is known for anything
/// else.
PausePoints read_pause_points(std::string_view text);

std::string_view name_of(Moment moment);

}  // namespace kua::upgrade
