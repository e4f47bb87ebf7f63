// SPDX-License-Identifier: Apache-2.0
#include "agent/node/hooks.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/process.hpp"
#include "lib/log/log.hpp"
#include "lib/systemd/transient.hpp"

namespace kua::node {

namespace {

constexpr std::array kPoints{kPreDrain, kPostDrain, kPreRestart, kPostUpgrade, kOnFailure};
constexpr std::array<std::string_view, 5> kLeftBehind{".rpmsave", ".rpmnew", ".rpmorig", ".swp",
                                                      ".bak"};
constexpr auto kUnitPrefix = "k3s-upgrade-agent-hook";
constexpr std::size_t kMostOutput = 256U << 10U;
constexpr std::size_t kMostLines = 500;  ///< Of each of the two streams.
constexpr std::size_t kMostLine = 500;

struct stat status_of(const std::filesystem::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
        throw Error(ErrorKind::failed,
                    format("looking at {}: {}", path.string(), errno_text(errno)));
    }
    return status;
}

/// Why what lies there could be another's program; absent when it is root's alone.
std::optional<std::string> why_not_safe(const std::filesystem::path& path) {
    const auto status = status_of(path);
    if (status.st_uid != 0 && status.st_uid != ::geteuid()) {
        return format("{} belongs to user {}; give it to root (chown root:root)", path.string(),
                      status.st_uid);
    }
    const bool by_group = (status.st_mode & S_IWGRP) != 0 && status.st_gid != 0;
    if (by_group || (status.st_mode & S_IWOTH) != 0) {
        return format("{} may be written by others than root; take that away (chmod go-w)",
                      path.string());
    }
    return std::nullopt;
}

void ensure_safe(const std::filesystem::path& folder, std::string_view point,
                 const std::vector<std::filesystem::path>& hooks) {
    std::vector<std::filesystem::path> places = {folder, folder / point};
    for (const auto& hook : hooks) {
        const auto target = std::filesystem::canonical(hook);
        places.push_back(target.parent_path());
        places.push_back(target);
    }
    for (const auto& place : places) {
        if (const auto reason = why_not_safe(place)) {
            throw Error(ErrorKind::invalid, "hooks: " + *reason);
        }
    }
}

void log_lines(const std::string& text, const log::Fields& fields) {
    std::size_t lines = 0;
    for (const auto& line : split(text, '\n')) {
        if (trim(line).empty()) {
            continue;
        }
        if (++lines > kMostLines) {
            log::info("(more lines of this hook are not logged)", fields);
            return;
        }
        log::info(excerpt(line, kMostLine), fields);
    }
}

std::string last_line(const fs::Finished& finished) {
    const auto text = trim(trim(finished.errors).empty() ? finished.output : finished.errors);
    return excerpt(text.substr(text.rfind('\n') + 1), 200);
}

fs::Finished run_program(const std::filesystem::path& hook, std::vector<std::string> environment,
                         Duration timeout, const std::stop_token& stop) {
    if (systemd::can_run_transient()) {
        systemd::Transient transient;
        transient.prefix = kUnitPrefix;
        transient.description = format("A hook of k3s-upgrade-agent: {}", hook.string());
        transient.properties = {"WorkingDirectory=/", "TimeoutStopSec=5"};
        transient.environment = std::move(environment);
        transient.program = hook;
        transient.timeout = timeout;
        transient.most_output = kMostOutput;
        return systemd::run_transient(transient, stop);
    }
    fs::Command command;
    command.program = hook;
    command.environment.insert(command.environment.end(), environment.begin(), environment.end());
    command.timeout = timeout;
    command.most_output = kMostOutput;
    return fs::run(command, stop);
}

}  // namespace

bool is_hook_name(std::string_view name) {
    if (name.empty() || name.starts_with('.') || name.ends_with('~')) {
        return false;
    }
    if (name.find(".dpkg-") != std::string_view::npos) {
        return false;
    }
    return std::none_of(kLeftBehind.begin(), kLeftBehind.end(),
                        [&](std::string_view ending) { return name.ends_with(ending); });
}

std::vector<std::filesystem::path> Hooks::at(std::string_view point) const {
    std::vector<std::filesystem::path> hooks;
    std::error_code code;
    if (settings_.folder.empty() ||
        !std::filesystem::is_directory(settings_.folder / point, code)) {
        return hooks;
    }
    try {
        for (const auto& entry : std::filesystem::directory_iterator(settings_.folder / point)) {
            if (is_hook_name(entry.path().filename().string()) && entry.is_regular_file() &&
                (status_of(entry.path()).st_mode & S_IXUSR) != 0) {
                hooks.push_back(entry.path());
            }
        }
    } catch (const std::filesystem::filesystem_error& error) {
        throw Error(ErrorKind::failed, format("hooks: {}", error.what()));
    }
    std::sort(hooks.begin(), hooks.end());
    return hooks;
}

void Hooks::check() const {
    for (const auto* point : kPoints) {
        if (const auto hooks = at(point); !hooks.empty()) {
            ensure_safe(settings_.folder, point, hooks);
        }
    }
}

void Hooks::run(std::string_view point, const std::vector<std::string>& environment,
                Duration timeout, const std::stop_token& stop) const {
    const auto hooks = at(point);
    if (hooks.empty()) {
        return;
    }
    // Somebody may have changed one since the check.
    ensure_safe(settings_.folder, point, hooks);
    timeout = std::min(timeout, settings_.timeout);
    for (const auto& hook : hooks) {
        const log::Fields fields = {{"hook", hook.string()}};
        log::info(format("running the hook {}", hook.string()), fields);
        const auto finished = run_program(hook, environment, timeout, stop);
        log_lines(finished.output, fields);
        log_lines(finished.errors, fields);
        if (finished.succeeded()) {
            continue;
        }
        const auto how = finished.timed_out ? format("did not end within {}", to_text(timeout))
                         : finished.signal != 0
                             ? format("was ended by signal {}", finished.signal)
                             : format("failed with exit status {}", finished.exit_code);
        const auto said = last_line(finished);
        throw Error(ErrorKind::failed, format("the {} hook {} {}{}{}", point, hook.string(), how,
                                              said.empty() ? "" : ": ", said));
    }
}

void Hooks::end_leftovers() noexcept { systemd::end_transients(kUnitPrefix); }

}  // namespace kua::node
