// SPDX-License-Identifier: Apache-2.0
// The one exception of the program: a message a person can act on, and a kind that decides what
// happens next.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace kua {

/// What the catcher does with an Error; the only thing it may decide by.
///
/// | kind         | reaction of the loop that catches it                                         |
/// |--------------|------------------------------------------------------------------------------|
/// | `transient`  | try again by itself, with jittered back-off; nothing to do for a person yet  |
/// | `invalid`    | bad input from outside (config, Plan, release): report it, wait for a change |
/// | `failed`     | the step can't succeed here: undo what was begun, report, keep the slot      |
/// | `lost_lease` | the slot may belong to someone else: stop before the next disruptive step    |
/// | `stopped`    | the agent was told to stop: leave everything as the journal says             |
enum class ErrorKind { transient, invalid, failed, lost_lease, stopped };

/// The kind's name as it stands in logs, e.g. "transient".
std::string_view to_string(ErrorKind kind);

/// Thrown for inability. Absence is std::optional, an outcome that the caller branches on is a
/// value.
class Error : public std::runtime_error {
  public:
    Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

    [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }

    /// The same error with `context: ` put before its message, for rethrowing on the way up.
    [[nodiscard]] Error within(std::string_view context) const;

  private:
    ErrorKind kind_;
};

/// What the system says about an errno value, as it stands inside a sentence: `no space left on
/// device`.
std::string errno_text(int number);

/// Runs `action`; an Error that leaves it carries `context: ` before its message.
template <typename Action>
auto with_context(std::string_view context, Action&& action) -> decltype(action()) {
    try {
        return action();
    } catch (const Error& error) {
        throw error.within(context);
    }
}

}  // namespace kua
