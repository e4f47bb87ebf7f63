// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <iostream>
#include <thread>

#include "agent/commands/commands.hpp"
#include "agent/commands/local_k3s.hpp"
#include "agent/commands/webs.hpp"
#include "agent/config.hpp"
#include "agent/release/staging.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/log/log.hpp"
#include "lib/systemd/dbus_units.hpp"

namespace kua::commands {

namespace {

/// Turns SIGINT and SIGTERM into a request to stop, so that nothing is left behind.
class Interrupts {
  public:
    explicit Interrupts(std::stop_source& stop) {
        sigemptyset(&signals_);
        for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
            sigaddset(&signals_, signal);
        }
        pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
        thread_ = std::thread([this, &stop] {
            int signal = 0;
            sigwait(&signals_, &signal);
            if (signal != SIGUSR1) {
                stop.request_stop();
            }
        });
    }
    ~Interrupts() {
        pthread_kill(thread_.native_handle(), SIGUSR1);
        thread_.join();
    }
    Interrupts(const Interrupts&) = delete;
    Interrupts& operator=(const Interrupts&) = delete;

  private:
    sigset_t signals_{};
    std::thread thread_;
};

struct stat status_of(const std::filesystem::path& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
        throw Error(ErrorKind::failed,
                    format("looking at {}: {}", path.string(), errno_text(errno)));
    }
    return status;
}

/// The folder of `--to`, without links and absolute, as who runs programs wants it; made when it is
/// not there.
std::filesystem::path target(const std::filesystem::path& to) {
    std::error_code code;
    std::filesystem::create_directories(to, code);
    auto folder = code ? to : std::filesystem::canonical(to, code);
    if (code) {
        throw Error(ErrorKind::failed, format("--to: {}: {}", to.string(), code.message()));
    }
    const auto mode = status_of(folder).st_mode;
    if ((mode & S_IWOTH) != 0 && (mode & S_ISVTX) == 0) {
        throw Error(ErrorKind::invalid,
                    format("--to: everybody may write to {}, and could put something else in the "
                           "place of what was verified; name a folder of root's",
                           folder.string()));
    }
    return folder;
}

/// Makes the folder that is worked in. What is verified there must stay what it is, so a folder or
/// link that somebody else has put there is refused, not followed.
void make_own(const std::filesystem::path& folder) {
    fs::make_folders(folder);
    const auto status = status_of(folder);
    constexpr mode_t kWritableToOthers = S_IWGRP | S_IWOTH;
    if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() ||
        (status.st_mode & kWritableToOthers) != 0) {
        throw Error(ErrorKind::invalid,
                    format("{} is not a folder of this user's alone; remove it, or have the files "
                           "put elsewhere with --to",
                           folder.string()));
    }
}

/// The binary is asked for its version as `nobody`.
void check_passable(const std::filesystem::path& folder) {
    if (::geteuid() != 0) {
        return;  // Then it is asked as who asks.
    }
    for (auto each = folder; each.has_relative_path(); each = each.parent_path()) {
        if ((status_of(each).st_mode & S_IXOTH) == 0) {
            throw Error(ErrorKind::invalid,
                        format("{} is closed to others, but the binary is asked for its version as "
                               "user nobody: `chmod o+x {}`, or name another folder with --to, "
                               "such as /srv",
                               each.string(), each.string()));
        }
    }
}

void put(const std::filesystem::path& staged, const std::filesystem::path& folder,
         const std::string& name) {
    fs::rename_durably(staged, folder / name);
    std::cout << (folder / name).string() << "\n";
}

}  // namespace

int fetch(const std::filesystem::path& config_path, const FetchOptions& options) {
    const auto version = plan::parse_version(options.version);
    if (!version) {
        throw Error(ErrorKind::invalid,
                    format("\"{}\" is no k3s version such as v1.31.4+k3s1", options.version));
    }
    const auto config = load_config(config_path);
    log::set_level(config.log.level);
    std::stop_source stop;
    const Interrupts interrupts(stop);
    SystemClock clock;
    systemd::DbusUnits units;
    auto finder = make_finder(config, units);
    const auto sources = sources_of(config, look_for_k3s(config, finder).found);
    Webs webs(finder);
    const release::Signatures signatures(config.verify.public_keys);
    // Not the agent's own folder, which is not for two. With --to what a broken fetch has left
    // stays for the next one.
    const auto to = options.to.empty() ? std::filesystem::path() : target(options.to);
    const auto parent = to.empty() ? std::filesystem::absolute(config.folders.state) : to;
    if (!std::filesystem::exists(parent)) {
        // As the unit's StateDirectoryMode has it.
        fs::make_folders(parent);
        std::filesystem::permissions(parent, std::filesystem::perms(0711));
    }
    check_passable(parent);
    const auto folder =
        parent / (to.empty() ? format("fetch-{}", getpid()) : ".k3s-upgrade-agent-fetch");
    make_own(folder);
    release::Staging staging(folder,
                             release::make_sources(sources, {webs.web(), webs.registry(), clock,
                                                             signatures, config.download.rate}),
                             signatures);
    const auto finish = [&](bool done) {
        if (done || options.to.empty()) {
            staging.clean();
        }
        std::error_code not_empty;
        std::filesystem::remove(folder, not_empty);
    };
    try {
        const auto staged = staging.stage({*version, options.image}, {}, {}, stop.get_token());
        std::cout << staged.sha256 << "  " << version->text() << "\n";
        if (!options.to.empty()) {
            put(staged.path, to, release::host_architecture().binary);
            if (staged.images) {
                put(staged.images->path, to, staged.images->name);
            }
        }
    } catch (const std::exception&) {
        finish(false);
        throw;
    }
    finish(true);
    return 0;
}

}  // namespace kua::commands
