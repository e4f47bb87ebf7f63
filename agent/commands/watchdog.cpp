// SPDX-License-Identifier: Apache-2.0
#include "agent/commands/watchdog.hpp"

#include <algorithm>
#include <utility>

#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::commands {

namespace {

/// What a thread can't declare takes less, on a slow and busy host, too.
constexpr Duration kLeastGrace{10'000};

}  // namespace

Watchdog::Watchdog(Duration interval, std::function<void()> feed, Pulses::Now now)
    : interval_(interval),
      feed_(std::move(feed)),
      pulses_(std::max(interval, kLeastGrace), std::move(now)) {}

Duration Watchdog::look_every() const { return std::min(interval_, pulses_.look_every()); }

void Watchdog::look() {
    const auto overdue = pulses_.look();
    if (!overdue) {
        if (!overdue_.empty()) {
            log::warning(format("{} goes on; the watchdog is fed again", overdue_));
            overdue_.clear();
        }
        feed_();
        return;
    }
    if (std::exchange(overdue_, overdue->name) != overdue->name) {
        log::error(
            format("{} hangs: it has shown no progress for {}. The watchdog is not fed any "
                   "more: systemd starts this agent again, which goes on from its journal",
                   overdue->name, to_text(overdue->silent)));
    }
}

}  // namespace kua::commands
