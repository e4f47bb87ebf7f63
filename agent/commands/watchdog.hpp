// SPDX-License-Identifier: Apache-2.0
// systemd's watchdog is fed while every thread of the agent goes on.
#pragma once

#include <functional>
#include <string>

#include "lib/base/pulse.hpp"

namespace kua::commands {

/// For one thread, which does nothing else that may take long.
class Watchdog {
  public:
    /// `interval` is how often systemd wants to be told, half of WatchdogSec; it is also how long a
    /// thread may be silent beyond what it has declared, though ten seconds at least.
    Watchdog(
        Duration interval, std::function<void()> feed,
        Pulses::Now now = [] { return std::chrono::steady_clock::now(); });

    /// Where the threads are registered.
    [[nodiscard]] Pulses& pulses() { return pulses_; }

    /// How often `look` is called.
    [[nodiscard]] Duration look_every() const;

    /// Feeds, unless a thread is overdue. That is logged once, and so is that it goes on after all.
    void look();

  private:
    const Duration interval_;
    const std::function<void()> feed_;
    Pulses pulses_;
    std::string overdue_;
};

}  // namespace kua::commands
