// SPDX-License-Identifier: Apache-2.0
// Copies of a server's data store from before an upgrade: k3s's own snapshot of its etcd, and the
// files of its SQLite.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>

#include "lib/base/clock.hpp"
#include "lib/systemd/units.hpp"

namespace kua::node {

enum class Datastore {
    elsewhere,  ///< On an agent, or an external one: whoever runs that makes its copies.
    sqlite,
    etcd,  ///< In the k3s server itself.
};

/// By what k3s makes in its `data_dir` (server/db/etcd, server/db/state.db). `etcd_member`: the
/// Node has k3s's label node-role.kubernetes.io/etcd=true; a folder that an earlier etcd has left
/// is none.
Datastore find_datastore(const std::filesystem::path& data_dir, bool etcd_member);

/// For the journal: `sqlite`, `etcd` or empty.
std::string name_of(Datastore datastore);

/// Why the SQLite files can't be copied into `copies` now, and what to do: no room, with a
/// sixteenth of it for what the data store may grow until then. Absent when they can. Throws
/// Error{failed}.
std::optional<std::string> why_not_copied(const std::filesystem::path& data_dir,
                                          const std::filesystem::path& copies);

/// Copies SQLite's files into the folder `target`, which is there whole or not at all, also after a
/// power cut. k3s must not run. Safe to repeat. Throws Error{failed}; Error{stopped} on `stop`.
void copy_sqlite(const std::filesystem::path& data_dir, const std::filesystem::path& target,
                 const std::stop_token& stop);

/// Removes a copy, and what a crash left of one. Throws Error{failed}.
void discard_copy(const std::filesystem::path& target);

/// Removes all copies beside `target` but the newest ones by name, so that `count` are left with
/// `target`. Throws Error{failed}.
void discard_older_copies(const std::filesystem::path& target, std::size_t count);

/// What `k3s etcd-snapshot` needs.
struct SnapshotCommand {
    std::filesystem::path k3s;
    std::filesystem::path data_dir;
    systemd::UnitState unit;  ///< Its environment is what k3s gets.
};

/// `k3s etcd-snapshot save` with a name of ours; then all but `count` of that name go (`k3s
/// etcd-snapshot prune`; what fails of that is only logged). Returns the snapshot's name as k3s
/// says it. Throws Error{failed} with k3s's last line, Error{stopped}.
std::string save_snapshot(const SnapshotCommand& command, std::size_t count, Duration timeout,
                          const std::stop_token& stop);

}  // namespace kua::node
