// SPDX-License-Identifier: Apache-2.0
// Runs a program that nobody knows yet where it can harm nothing.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/fs/process.hpp"

namespace kua::release {

struct Trial {
    std::filesystem::path program;  ///< Absolute, and where every user may reach it.
    std::vector<std::string> arguments;
    Duration timeout{20'000};
    std::vector<std::string> environment{};  ///< `NAME=value`, besides PATH, HOME and TMPDIR.
    /// Becomes HOME and TMPDIR: a folder that every user may write to. Empty: one that goes with
    /// the trial.
    std::filesystem::path home{};
};

/// Runs it to its end, `timeout` or `stop`, as a user of its own with HOME and TMPDIR in a folder
/// that goes with it, or in `home`. Standard output and error are cut at 64 KiB each.
///
/// Where systemd is the init and this process is root, it runs in a transient unit: no network, no
/// socket but netlink, no device, nothing writable but its /tmp and `home`, no file that is not
/// readable to everybody, no capability; memory, tasks and file sizes bounded; whatever it leaves
/// behind is killed with the unit, before this returns, and by systemd itself should this process
/// die. Elsewhere, for a program below /tmp, /home or /root, which such a unit doesn't see, and
/// where systemd can't start one (which is logged), by `run_as_nobody`.
///
/// Throws Error{failed} when it can't be started, Error{stopped}.
fs::Finished run_in_sandbox(const Trial& trial, std::stop_token stop);

/// As user `nobody` with no_new_privs and resource limits, where this process is root; what it
/// leaves behind of its process group is killed. The network and what everybody may read are open
/// to it, and a process that leaves its group stays. Throws likewise.
fs::Finished run_as_nobody(const Trial& trial, std::stop_token stop);

}  // namespace kua::release
