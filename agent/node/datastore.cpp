// SPDX-License-Identifier: Apache-2.0
#include "agent/node/datastore.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"

namespace kua::node {

namespace {

using Path = std::filesystem::path;

constexpr auto kPartial = ".partial";
constexpr std::uint64_t kGrowth = 16;
constexpr Duration kLookAgain{1'000};
constexpr std::size_t kMostOfCommand = 100;

Path db_of(const Path& data_dir) { return data_dir / "server" / "db"; }

/// std::filesystem's errors name the path already.
template <typename Act>
auto as_failure(const Act& act) {
    try {
        return act();
    } catch (const std::filesystem::filesystem_error& error) {
        throw Error(ErrorKind::failed, format("the data store's copy: {}", error.what()));
    }
}

/// The database and what SQLite has not written into it yet (its write-ahead log, or a rollback
/// journal). Its -shm is an index of the log, which SQLite makes anew.
std::vector<Path> sqlite_files(const Path& data_dir) {
    return as_failure([&] {
        std::vector<Path> files;
        for (const auto* name : {"state.db", "state.db-wal", "state.db-journal"}) {
            if (const auto file = db_of(data_dir) / name; std::filesystem::exists(file)) {
                files.push_back(file);
            }
        }
        return files;
    });
}

Path partial_of(const Path& target) {
    auto partial = target;
    partial += kPartial;
    return partial;
}

/// Of a copy's name; empty for what is no copy.
std::string version_in(const std::string& name) {
    // `2026-01-01T000000Z-v1.30.4+k3s1`
    constexpr std::size_t kWhen = 18;
    const bool is_copy = name.size() > kWhen + 1 && name[kWhen - 1] == 'Z' && name[kWhen] == '-';
    return is_copy ? name.substr(kWhen + 1) : std::string();
}

}  // namespace

Datastore find_datastore(const Path& data_dir, bool etcd_member) {
    std::error_code code;
    const auto db = db_of(data_dir);
    if (etcd_member) {
        return std::filesystem::is_directory(db / "etcd", code) ? Datastore::etcd
                                                                : Datastore::elsewhere;
    }
    return std::filesystem::exists(db / "state.db", code) ? Datastore::sqlite
                                                          : Datastore::elsewhere;
}

std::string name_of(Datastore datastore) {
    switch (datastore) {
        case Datastore::elsewhere:
            return {};
        case Datastore::sqlite:
            return "sqlite";
        case Datastore::etcd:
            return "etcd";
    }
    return {};
}

std::optional<std::string> why_not_copied(const Path& data_dir, const Path& copies) {
    std::uint64_t needed = 0;
    for (const auto& file : sqlite_files(data_dir)) {
        needed += as_failure([&] { return std::filesystem::file_size(file); });
    }
    needed += needed / kGrowth;
    // The folder of the copies is made when there is one.
    const auto free = fs::free_bytes(copies.parent_path());
    if (free >= needed) {
        return std::nullopt;
    }
    return format(
        "{}: {} are free, {} are needed for a copy of the data store; make room, or set "
        "datastore.backup: never",
        copies.parent_path().string(), human_bytes(free), human_bytes(needed));
}

void copy_sqlite(const Path& data_dir, const Path& target, const std::stop_token& stop) {
    discard_copy(target);
    const auto partial = partial_of(target);
    fs::make_folders(partial);
    for (const auto& file : sqlite_files(data_dir)) {
        fs::copy_durably(file, partial / file.filename(), stop);
    }
    fs::rename_durably(partial, target);
}

void discard_copy(const Path& target) {
    as_failure([&] {
        std::filesystem::remove_all(target);
        std::filesystem::remove_all(partial_of(target));
    });
}

Path name_of_copy(const Path& copies, WallTime now, const std::string& version) {
    std::error_code code;
    while (true) {
        auto when = to_rfc3339(now);
        std::erase(when, ':');
        auto name = copies / format("{}-{}", when, version);
        if (!std::filesystem::exists(name, code)) {
            return name;
        }
        now += std::chrono::seconds(1);  // The clock was set back.
    }
}

std::vector<std::string> superfluous(const std::vector<Copy>& copies, const Kept& kept) {
    constexpr std::size_t kVersions = 2;
    std::map<std::string, std::string> oldest;  // Names, by version.
    for (const auto& copy : copies) {
        oldest.try_emplace(copy.version, copy.name);
    }
    std::set<std::string> seen;
    std::set<std::string> staying;  // Versions.
    std::vector<std::string> goes;
    const std::vector<Copy> newest_first(copies.rbegin(), copies.rend());
    for (const auto& copy : newest_first) {
        const bool newest = !seen.contains(copy.version);
        if (newest && (seen.size() < kVersions || kept.versions.contains(copy.version))) {
            staying.insert(copy.version);
        }
        seen.insert(copy.version);
        const bool stays = staying.contains(copy.version) &&
                           (newest || (kept.failed && oldest.at(copy.version) == copy.name));
        if (!stays) {
            goes.push_back(copy.name);
        }
    }
    std::ranges::reverse(goes);
    return goes;
}

void discard_older_copies(const Path& target, const Kept& kept) {
    as_failure([&] {
        const auto folder = target.parent_path();
        std::vector<Copy> copies;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            auto name = entry.path().filename().string();
            const bool partial = entry.path().extension() == kPartial;
            const auto version = version_in(partial ? entry.path().stem().string() : name);
            if (partial && !version.empty()) {
                std::filesystem::remove_all(entry.path());
            } else if (!version.empty() && entry.path() != target) {
                copies.push_back({std::move(name), version});
            }
        }
        std::ranges::sort(copies, {}, &Copy::name);
        // Whatever the clock says: it was made last.
        const auto name = target.filename().string();
        copies.push_back({name, version_in(name)});
        for (const auto& each : superfluous(copies, kept)) {
            std::filesystem::remove_all(folder / each);
        }
    });
}

bool is_k3s_server(std::string_view command) {
    const auto blank = command.find(' ');
    const auto program = command.substr(0, blank);
    const auto rest = blank == std::string_view::npos ? "" : command.substr(blank + 1);
    const auto word = rest.substr(0, rest.find(' '));
    const auto name = program.substr(program.rfind('/') + 1);
    // `init` is said by k3s only of itself; `k3s-server` is the name of the unpacked program.
    return word == "server" || command.ends_with(" server") || name == "k3s-server" ||
           (word == "init" && name.starts_with("k3s"));
}

void wait_until_closed(systemd::Units& units, Clock& clock, const std::string& unit,
                       Duration timeout, const std::stop_token& stop) {
    const auto end = clock.monotonic() + timeout;
    while (true) {
        std::string why;
        try {
            const auto processes = units.processes(unit);
            const auto left = std::ranges::find_if(
                processes, [](const auto& process) { return is_k3s_server(process.command); });
            if (left == processes.end()) {
                return;
            }
            why = format("process {}, \"{}\", still runs", left->pid,
                         excerpt(left->command, kMostOfCommand));
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::transient) {
                throw;
            }
            why = error.what();
        }
        if (clock.monotonic() >= end) {
            throw Error(ErrorKind::failed,
                        format("{} was stopped, and {}; its data store can't be copied while k3s "
                               "may write to it",
                               unit, why));
        }
        if (!clock.wait_for(kLookAgain, stop)) {
            throw Error(ErrorKind::stopped, "stopped while waiting for k3s to end");
        }
    }
}

void sync_sqlite(const Path& data_dir) {
    for (const auto& file : sqlite_files(data_dir)) {
        fs::sync_durably(file);
    }
}

}  // namespace kua::node
