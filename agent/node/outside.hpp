// SPDX-License-Identifier: Apache-2.0
// Runs a program of the host's outside the agent's sandbox.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/fs/process.hpp"
#include "lib/systemd/units.hpp"

namespace kua::node {

struct Outside {
    std::string description;  ///< Of the transient unit.
    std::filesystem::path program;
    std::vector<std::string> arguments{};
    std::vector<std::string> environment{};  ///< `NAME=value`, besides PATH.
    /// A transient unit only: what they hold is a secret, which no property of a unit is.
    std::vector<systemd::EnvironmentFile> environment_files{};
    Duration timeout{300'000};
};

/// Runs it to its end, its deadline or `stop`. Where systemd is the init it is a transient unit,
/// with whose end everything of it ends; elsewhere it is a plain child. Of each of its two streams
/// the first 256 KiB are kept. Throws Error{failed} when it can't be started, Error{stopped}.
fs::Finished run_outside(const Outside& outside, const std::stop_token& stop);

/// Why it did not succeed, for a message: `failed with exit status 3: no room left`, with the last
/// line that it printed.
std::string why_it_failed(const fs::Finished& finished, Duration timeout);

/// Ends what a process that was killed has left running.
void end_outside_leftovers() noexcept;

}  // namespace kua::node
