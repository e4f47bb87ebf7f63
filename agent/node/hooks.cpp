// SPDX-License-Identifier: Apache-2.0
#include "agent/node/hooks.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "agent/node/outside.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::node {

namespace {

constexpr std::array kPoints{kPreDrain, kPostDrain, kPreRestart, kPostUpgrade, kOnFailure};
constexpr std::array<std::string_view, 5> kLeftBehind{".rpmsave", ".rpmnew", ".rpmorig", ".swp",
                                                      ".bak"};
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
        Outside outside;
        outside.description = format("A hook of k3s-upgrade-agent: {}", hook.string());
        outside.program = hook;
        outside.environment = environment;
        outside.timeout = timeout;
        const auto finished = run_outside(outside, stop);
        log_lines(finished.output, fields);
        log_lines(finished.errors, fields);
        if (!finished.succeeded()) {
            throw Error(ErrorKind::failed, format("the {} hook {} {}", point, hook.string(),
                                                  why_it_failed(finished, timeout)));
        }
    }
}

}  // namespace kua::node
