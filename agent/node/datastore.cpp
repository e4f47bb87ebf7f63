// SPDX-License-Identifier: Apache-2.0
#include "agent/node/datastore.hpp"

#include <algorithm>
#include <vector>

#include "agent/node/outside.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/log/log.hpp"

namespace kua::node {

namespace {

using Path = std::filesystem::path;

constexpr auto kSnapshotName = "k3s-upgrade-agent";
constexpr auto kPartial = ".partial";
constexpr std::uint64_t kGrowth = 16;

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

fs::Finished etcd_snapshot(const SnapshotCommand& command, std::vector<std::string> arguments,
                           Duration timeout, const std::stop_token& stop) {
    Outside outside;
    outside.description = "A snapshot of etcd for k3s-upgrade-agent";
    outside.program = command.k3s;
    outside.arguments = {"etcd-snapshot"};
    std::ranges::move(arguments, std::back_inserter(outside.arguments));
    outside.arguments.insert(outside.arguments.end(),
                             {"--data-dir", command.data_dir.string(), "--name", kSnapshotName});
    outside.environment = command.unit.environment;
    outside.environment_files = command.unit.environment_files;
    outside.timeout = timeout;
    return run_outside(outside, stop);
}

/// The name that k3s gives a snapshot is ours, the node's and the time.
std::string snapshot_in(const std::string& said) {
    const auto begin = said.find(format("{}-", kSnapshotName));
    if (begin == std::string::npos) {
        return format("the newest {}-… of `k3s etcd-snapshot ls`", kSnapshotName);
    }
    const auto end = said.find_first_not_of(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", begin);
    return said.substr(begin, end == std::string::npos ? end : end - begin);
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

void discard_older_copies(const Path& target, std::size_t count) {
    as_failure([&] {
        std::vector<Path> others;
        for (const auto& entry : std::filesystem::directory_iterator(target.parent_path())) {
            if (entry.path().extension() == kPartial) {
                std::filesystem::remove_all(entry.path());
            } else if (entry.path() != target) {
                others.push_back(entry.path());
            }
        }
        std::ranges::sort(others, std::greater());
        for (std::size_t i = count - 1; i < others.size(); ++i) {
            std::filesystem::remove_all(others[i]);
        }
    });
}

std::string save_snapshot(const SnapshotCommand& command, std::size_t count, Duration timeout,
                          const std::stop_token& stop) {
    const auto saved = etcd_snapshot(command, {"save"}, timeout, stop);
    if (!saved.succeeded()) {
        throw Error(ErrorKind::failed,
                    format("`k3s etcd-snapshot save` {} (datastore.backup: never goes without)",
                           why_it_failed(saved, timeout)));
    }
    auto name = snapshot_in(saved.output + saved.errors);
    const auto pruned = etcd_snapshot(
        command, {"prune", "--snapshot-retention", std::to_string(count)}, timeout, stop);
    if (!pruned.succeeded()) {
        log::warning(format("older snapshots of etcd stay: `k3s etcd-snapshot prune` {}",
                            why_it_failed(pruned, timeout)));
    }
    return name;
}

}  // namespace kua::node
