// SPDX-License-Identifier: Apache-2.0
// What the agent tells systemd and journald about itself; every call does nothing when it does not
// run under systemd.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kua::systemd {

/// READY=1.
void notify_ready();

/// STOPPING=1.
void notify_stopping();

/// STATUS=…: the line `systemctl status` shows. Line breaks become spaces.
void notify_status(std::string_view text);

/// WATCHDOG=1.
void notify_watchdog();

/// How often systemd wants to hear `notify_watchdog` (half of WatchdogSec); absent when it does
/// not.
std::optional<std::chrono::milliseconds> watchdog_interval();

/// True when standard error is connected to journald (JOURNAL_STREAM names it).
bool stderr_is_journal();

/// What `journal_send` sends: `NAME=value` each. Field names are made upper case and prefixed
/// `K3S_UPGRADE_` (`plan` → `K3S_UPGRADE_PLAN`); what journald takes in no name becomes `_`.
std::vector<std::string> journal_record(
    int priority, std::string_view message,
    const std::vector<std::pair<std::string, std::string>>& fields);

/// One record to journald; dropped where no journald runs. `priority` is syslog's (3 error, 4
/// warning, 6 info, 7 debug). Blocks only while journald's queue is full, as standard error would.
void journal_send(int priority, std::string_view message,
                  const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace kua::systemd
