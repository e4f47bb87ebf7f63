// SPDX-License-Identifier: Apache-2.0
#include "agent/release/sandbox.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>

#include "agent/release/scratch.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/log/log.hpp"
#include "lib/systemd/transient.hpp"

namespace kua::release {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostOutput = 64U << 10U;
/// How long systemd may take to make a unit.
constexpr Duration kUnitTimeout{30'000};
/// What systemd says when it could not execute a program (EXIT_EXEC); the program may say it too.
constexpr int kNotExecuted = 203;

/// Known to systemd 239 (Enterprise Linux 8), all of them: systemd-run refuses a property that it
/// doesn't know, unlike a unit file.
constexpr std::array<std::string_view, 33> kProperties{
    // A user that exists as long as the unit. Implies a private /tmp and /var/tmp, which are
    // removed with the unit, and that everything else is read-only; said again for the reader.
    "DynamicUser=yes",
    "PrivateTmp=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateDevices=yes",
    // PrivateDevices keeps them, and everybody may write there.
    "InaccessiblePaths=-/dev/shm -/dev/mqueue",
    // k3s uses what it finds unpacked there rather than its own payload, which is on trial.
    "InaccessiblePaths=-/var/lib/rancher/k3s/data",
    // `strict` leaves file systems of their own below /run writable: /run/lock, users' folders.
    "ReadOnlyPaths=-/run -/run/lock -/run/user",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectControlGroups=yes",
    // No interface but its own loopback; and no socket of the host's, which lie in the file system.
    // Netlink alone is harmless there. `none` is known since 249 only.
    "PrivateNetwork=yes",
    "RestrictAddressFamilies=AF_NETLINK",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "KeyringMode=private",
    "UMask=0077",
    // k3s unpacks some 300 MB to run kubectl, where /tmp may be memory; Go starts a thread for each
    // CPU and more.
    "MemoryMax=1G",
    "TasksMax=512",
    "LimitFSIZE=512M",
    "LimitCORE=0",
    "LimitNOFILE=1024",
    "OOMScoreAdjust=500",
    "WorkingDirectory=/tmp",
    // At its end the whole control group is killed, also what ignores SIGTERM.
    "KillSignal=SIGKILL",
    "TimeoutStopSec=5",
};

bool selinux_enforces() {
    std::ifstream file("/sys/fs/selinux/enforce");
    return file.get() == '1';
}

/// The unit has folders of its own there.
bool is_hidden_from_units(const std::filesystem::path& program) {
    for (const std::string_view folder : {"/tmp/", "/var/tmp/", "/home/", "/root/", "/run/user/"}) {
        if (program.string().starts_with(folder)) {
            return true;
        }
    }
    return false;
}

std::vector<std::string> own_environment(const std::filesystem::path& home) {
    return {"HOME=" + home.string(), "TMPDIR=" + home.string()};
}

fs::Finished run_in_unit(const Trial& trial, const std::stop_token& stop) {
    systemd::Transient transient;
    transient.prefix = "k3s-upgrade-agent-trial";
    transient.description = "A release of k3s tells k3s-upgrade-agent its version";
    transient.properties = {kProperties.begin(), kProperties.end()};
    const auto home = trial.home.empty() ? std::filesystem::path("/tmp") : trial.home;
    if (!trial.home.empty()) {
        transient.properties.push_back("ReadWritePaths=" + home.string());
    }
    transient.environment = trial.environment;
    for (const auto& assignment : own_environment(home)) {
        transient.environment.push_back(assignment);
    }
    transient.environment.emplace_back("LC_ALL=C");
    transient.program = trial.program;
    transient.arguments = trial.arguments;
    transient.timeout = trial.timeout;
    transient.most_output = kMostOutput;
    return systemd::run_transient(transient, stop);
}

/// Whether systemd can run a known program so; logged when it can't. The exit status of systemd-run
/// alone could be the tried program's own.
bool unit_works(const std::stop_token& stop) {
    const auto finished = run_in_unit({"/bin/true", {}, kUnitTimeout}, stop);
    if (!finished.succeeded()) {
        log::warning(format(
            "systemd can't run a release of k3s in a sandbox ({}); it runs as nobody instead",
            finished.timed_out ? "it does not answer" : excerpt(trim(finished.errors), 200)));
    }
    return finished.succeeded();
}

void give_to_nobody(const std::filesystem::path& path) {
    constexpr unsigned kNobody = 65534;
    if (::geteuid() == 0 && ::chown(path.c_str(), kNobody, kNobody) != 0) {
        throw Error(ErrorKind::failed,
                    format("giving {} to nobody: {}", path.string(), errno_text(errno)));
    }
}

}  // namespace

fs::Finished run_in_sandbox(const Trial& trial, std::stop_token stop) {
    if (!systemd::can_run_transient() || is_hidden_from_units(trial.program) || !unit_works(stop)) {
        return run_as_nobody(trial, std::move(stop));
    }
    auto finished = run_in_unit(trial, stop);
    // SELinux's policy may let a domain of ours, and not systemd's own, run what lies in /var/lib.
    if (finished.exit_code == kNotExecuted && finished.signal == 0 && !finished.timed_out &&
        selinux_enforces()) {
        log::warning(
            format("systemd can't execute {} in a sandbox, perhaps because of its SELinux "
                   "label; it runs as nobody instead",
                   trial.program.string()));
        return run_as_nobody(trial, std::move(stop));
    }
    return finished;
}

fs::Finished run_as_nobody(const Trial& trial, std::stop_token stop) {
    std::optional<Scratch> scratch;
    if (trial.home.empty()) {
        scratch.emplace(std::filesystem::temp_directory_path(), "k3s-upgrade-agent-");
        give_to_nobody(scratch->path());
    }
    const auto& home = scratch ? scratch->path() : trial.home;
    fs::Command command;
    command.program = trial.program;
    command.arguments = trial.arguments;
    std::ranges::copy(trial.environment, std::back_inserter(command.environment));
    std::ranges::copy(own_environment(home), std::back_inserter(command.environment));
    command.folder = home;
    command.timeout = trial.timeout;
    command.most_output = kMostOutput;
    command.unprivileged = true;
    return fs::run(command, std::move(stop));
}

}  // namespace kua::release
