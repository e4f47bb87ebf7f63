// SPDX-License-Identifier: Apache-2.0
// Programs run in a transient unit of systemd's (systemd-run), where systemd is the init.
#pragma once

#include <cstddef>
#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/fs/process.hpp"

namespace kua::systemd {

struct Transient {
    /// What the unit's name begins with; the rest makes it unique.
    std::string prefix;
    std::string description;
    /// `Name=value`. systemd-run refuses one that the host's systemd doesn't know.
    std::vector<std::string> properties{};
    std::vector<std::string> environment{};  ///< `NAME=value`.
    std::filesystem::path program;
    std::vector<std::string> arguments{};
    Duration timeout{20'000};
    std::size_t most_output = 64U << 10U;  ///< Of each of the two streams; more is cut.
};

/// sd_booted(3), for root, with systemd's programs in their places.
bool can_run_transient();

/// Runs it to its end, `timeout` or `stop`. Whatever it leaves behind in its control group is ended
/// with the unit, before this returns; and by systemd itself half a minute after `timeout`, should
/// this process die. Throws Error{failed} when systemd-run can't be started, Error{stopped}; that
/// systemd could not make the unit shows as a failure of the program's.
fs::Finished run_transient(const Transient& transient, const std::stop_token& stop);

/// Ends the units of that prefix that a process which died has left. What fails is logged.
void end_transients(const std::string& prefix) noexcept;

}  // namespace kua::systemd
