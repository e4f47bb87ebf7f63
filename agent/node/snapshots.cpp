// SPDX-License-Identifier: Apache-2.0
#include "agent/node/snapshots.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "agent/node/datastore.hpp"
#include "agent/node/outside.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/fs/files.hpp"
#include "lib/log/log.hpp"

namespace kua::node {

namespace {

using Path = std::filesystem::path;

constexpr auto kName = "k3s-upgrade-agent";
constexpr auto kOwnPrefix = "k3s-upgrade-agent-";
/// What 1.20 makes, whatever name it is told.
constexpr auto kUnnamedPrefix = "on-demand-";
constexpr auto kUnfinished = ".part";
constexpr Duration kBusyPause{5'000};
/// Of failures whose reason is in the server's log only.
constexpr int kUnexplained = 3;
constexpr std::int64_t kFormat = 1;
constexpr std::size_t kMostEntries = 64;
constexpr std::size_t kMostOfList = 256U << 10U;
constexpr std::size_t kLongestName = 255;

bool is_file(const Path& path) {
    std::error_code code;
    return std::filesystem::is_regular_file(std::filesystem::symlink_status(path, code));
}

bool is_name(const std::string& name) {
    return !name.empty() && name.size() <= kLongestName && name.front() != '.' &&
           name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

using Written = std::map<std::string, std::filesystem::file_time_type>;

/// The whole snapshots in the folder, and when they were written. k3s makes the folder with the
/// first one.
Written snapshots_in(const Path& folder) {
    try {
        Written found;
        if (!std::filesystem::exists(folder)) {
            return found;
        }
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            const auto name = entry.path().filename().string();
            // A scheduled one may be renamed, compressed or removed at any moment.
            std::error_code gone;
            const auto size = std::filesystem::file_size(entry.path(), gone);
            if (gone || !is_name(name) || name.ends_with(kUnfinished) || !is_file(entry.path()) ||
                size == 0) {
                continue;
            }
            const auto written = std::filesystem::last_write_time(entry.path(), gone);
            if (!gone) {
                found.emplace(name, written);
            }
        }
        return found;
    } catch (const std::filesystem::filesystem_error& error) {
        throw Error(ErrorKind::failed, format("the folder of etcd's snapshots: {}", error.what()));
    }
}

/// A scheduled one may have come at the same moment: ours is known by its name; without one the
/// newest is as good a copy, but is left to whoever made it.
std::optional<Snapshot> new_one(const Path& folder, const Written& before, Written after) {
    std::erase_if(after, [&](const auto& file) { return before.contains(file.first); });
    const auto newest = [](const Written& files) {
        return std::ranges::max_element(
            files, {}, [](const Written::value_type& file) { return file.second; });
    };
    auto own = after;
    std::erase_if(own, [](const auto& file) { return !file.first.starts_with(kOwnPrefix); });
    if (!own.empty()) {
        return Snapshot{folder / newest(own)->first, true};
    }
    if (after.empty()) {
        return std::nullopt;
    }
    const auto& name = newest(after)->first;
    return Snapshot{folder / name, after.size() == 1 && name.starts_with(kUnnamedPrefix)};
}

fs::Finished run_save(const SnapshotCommand& command, Duration timeout,
                      const std::stop_token& stop) {
    Outside outside;
    outside.description = "A snapshot of etcd for k3s-upgrade-agent";
    outside.program = command.k3s;
    outside.arguments = {"etcd-snapshot"};
    if (command.has_commands) {
        outside.arguments.emplace_back("save");
    }
    outside.arguments.insert(outside.arguments.end(),
                             {"--data-dir", command.data_dir.string(), "--name", kName});
    if (command.folder != default_snapshot_folder(command.data_dir)) {
        // It may have been told to the server only, on its command line, and 1.20 and 1.21 do not
        // make it.
        fs::make_folders(command.folder);
        outside.arguments.insert(outside.arguments.end(), {"--dir", command.folder.string()});
    }
    if (command.takes_server && !command.server.empty()) {
        outside.arguments.insert(outside.arguments.end(), {"-s", command.server});
    }
    outside.environment = command.unit.environment;
    outside.environment_files = command.unit.environment_files;
    outside.timeout = timeout;
    return run_outside(outside, stop);
}

bool says(const fs::Finished& finished, std::string_view words) {
    return finished.output.find(words) != std::string::npos ||
           finished.errors.find(words) != std::string::npos;
}

std::string why_not_saved(const SnapshotCommand& command, const fs::Finished& finished,
                          Duration timeout) {
    if (!finished.succeeded()) {
        return format("`k3s etcd-snapshot save` {} (datastore.backup: never goes without)",
                      why_it_failed(finished, timeout));
    }
    return format(
        "`k3s etcd-snapshot save` ended well, but there is no new snapshot in {}; the log of {} "
        "may say why (datastore.backup: never goes without)",
        command.folder.string(), command.unit.name.empty() ? "k3s" : command.unit.name);
}

void remove_files(const Path& folder, const std::string& name) {
    if (is_file(folder / name)) {
        fs::remove_durably(folder / name);
    }
    const auto metadata = (folder / "..").lexically_normal() / ".metadata" / name;
    if (is_file(metadata)) {
        fs::remove_durably(metadata);
    }
}

}  // namespace

Path default_snapshot_folder(const Path& data_dir) {
    return data_dir / "server" / "db" / "snapshots";
}

bool snapshot_takes_server(const plan::Version& version) {
    constexpr unsigned kAlways = 30;
    static const std::map<unsigned, unsigned> first_patch = {{27, 13}, {28, 9}, {29, 4}};
    if (version.major != 1 || version.minor >= kAlways) {
        return version.major > 1 || version.minor >= kAlways;
    }
    const auto first = first_patch.find(version.minor);
    return first != first_patch.end() && version.patch >= first->second;
}

bool snapshot_has_commands(const plan::Version& version) {
    constexpr unsigned kFirst = 21;
    return version.major > 1 || version.minor >= kFirst;
}

Snapshot save_snapshot(const SnapshotCommand& command, Clock& clock, Duration timeout,
                       const std::stop_token& stop) {
    const auto end = clock.monotonic() + timeout;
    for (int unexplained = 1;; ++unexplained) {
        const auto left =
            std::max(Duration(1), std::chrono::ceil<Duration>(end - clock.monotonic()));
        const auto before = snapshots_in(command.folder);
        const auto finished = run_save(command, left, stop);
        const auto saved = finished.succeeded()
                               ? new_one(command.folder, before, snapshots_in(command.folder))
                               : std::nullopt;
        if (saved) {
            return *saved;
        }
        const auto why = why_not_saved(command, finished, timeout);
        // A scheduled snapshot is under way. Some versions tell it to their server's log only.
        const bool busy = says(finished, "already in progress") ||
                          (says(finished, "etcd-snapshot error ID") && unexplained < kUnexplained);
        if (!busy || clock.monotonic() + kBusyPause >= end) {
            throw Error(ErrorKind::failed, why);
        }
        log::warning(format("{}; trying again", why));
        if (!clock.wait_for(kBusyPause, stop)) {
            throw Error(ErrorKind::stopped, "stopped while etcd was to be saved");
        }
    }
}

void Snapshots::add(const Path& file, const std::string& version) const {
    auto entries = read();
    entries.push_back({file.filename().string(), version});
    write(std::move(entries));
}

void Snapshots::discard(const Path& file) const {
    auto entries = read();
    const auto name = file.filename().string();
    if (std::erase_if(entries, [&](const Entry& entry) { return entry.name == name; }) > 0) {
        remove_files(file.parent_path(), name);
        write(std::move(entries));
    }
}

void Snapshots::discard_older(const Path& folder, const Kept& kept) const {
    auto entries = read();
    std::vector<Copy> there;
    for (const auto& entry : entries) {
        // What somebody has taken away is no copy; another folder's may come back.
        if (is_file(folder / entry.name)) {
            there.push_back({entry.name, entry.version});
        }
    }
    const auto goes = superfluous(there, kept);
    for (const auto& name : goes) {
        remove_files(folder, name);
    }
    if (std::erase_if(entries, [&](const Entry& entry) {
            return std::ranges::find(goes, entry.name) != goes.end();
        }) > 0) {
        write(std::move(entries));
    }
}

std::vector<Snapshots::Entry> Snapshots::read() const {
    try {
        const auto text = fs::read_file(path_, kMostOfList);
        if (!text) {
            return {};
        }
        const auto value = parse_json(*text, path_.string());
        const auto* list = find(value, {"snapshots"});
        if (int_at(value, {"format"}) != kFormat || list == nullptr || !list->is_array()) {
            throw Error(ErrorKind::invalid,
                        format("{}: is no list of snapshots of this version", path_.string()));
        }
        std::vector<Entry> entries;
        for (const auto& item : *list) {
            Entry entry{string_at(item, {"name"}), string_at(item, {"version"})};
            if (!is_name(entry.name) || entry.version.empty()) {
                throw Error(ErrorKind::invalid,
                            format("{}: snapshots: \"{}\" is no file's name with a version",
                                   path_.string(), excerpt(entry.name, kLongestName)));
            }
            entries.push_back(std::move(entry));
        }
        return entries;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::invalid) {
            throw;
        }
        log::warning(format("{}; the snapshots of etcd that were made before stay", error.what()));
        return {};
    }
}

void Snapshots::write(std::vector<Entry> entries) const {
    if (entries.size() > kMostEntries) {
        entries.erase(entries.begin(), entries.end() - static_cast<std::ptrdiff_t>(kMostEntries));
    }
    auto list = Json::array();
    for (const auto& entry : entries) {
        list.push_back({{"name", entry.name}, {"version", entry.version}});
    }
    const Json value = {{"format", kFormat}, {"snapshots", std::move(list)}};
    fs::write_file(path_, value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace kua::node
