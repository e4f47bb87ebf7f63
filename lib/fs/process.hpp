// SPDX-License-Identifier: Apache-2.0
// Runs another program with a deadline and collects what it prints.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "lib/base/clock.hpp"

namespace kua::fs {

struct Command {
    std::filesystem::path program;       ///< Absolute; never looked up in PATH.
    std::vector<std::string> arguments;  ///< Without argv[0].
    std::vector<std::string> environment{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
    std::filesystem::path folder = "/";
    Duration timeout{10'000};
    std::size_t most_output =
        1U << 20U;  ///< Of standard output and of standard error each; more is cut.
    /// Runs as user and group `nobody` without capabilities, with no_new_privs and resource limits,
    /// when this process is root; as the same user otherwise. `nobody` must be able to reach
    /// `program` and `folder` (mode 0755 all the way). What it leaves behind of its process group
    /// is killed when it ends.
    bool unprivileged = false;
};

struct Finished {
    int exit_code = -1;  ///< Meaningful when `signal` is 0 and `timed_out` is false.
    int signal = 0;
    bool timed_out = false;
    std::string output;  ///< Standard output.
    std::string errors;  ///< Standard error.

    [[nodiscard]] bool succeeded() const { return exit_code == 0 && signal == 0 && !timed_out; }
};

/// Runs to the end, its deadline or `stop`; in the last two cases the whole process group is killed
/// and the program reaped. It is killed as well when the calling thread dies. "The end" is the
/// program's own: children that it leaves behind are not waited for, even if they hold its output
/// open, and live on unless `unprivileged`. The program gets /dev/null as standard input and no
/// descriptor of ours. Throws Error{failed} when it can't be started (the message names program and
/// reason), Error{stopped} on `stop`.
Finished run(const Command& command, std::stop_token stop = {});

}  // namespace kua::fs
