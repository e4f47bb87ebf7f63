// SPDX-License-Identifier: Apache-2.0
// Copies of a server's data store from before an upgrade: which are kept, and those of SQLite's
// files. Snapshots of etcd are made in agent/node/snapshots.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

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

/// A name for a copy in `copies` that sorts by time, `<when>-<version>`, and that no other has.
/// `version`: of the k3s that had the data store open last.
std::filesystem::path name_of_copy(const std::filesystem::path& copies, WallTime now,
                                   const std::string& version);

/// A copy, and the version of the k3s that had the data store open last.
struct Copy {
    std::string name;
    std::string version;
};

/// What is kept besides, until an upgrade succeeds.
struct Kept {
    std::set<std::string> versions{};  ///< Whose binary is kept for going back by hand.
    bool failed = false;               ///< The upgrade has failed.
};

/// The rule for copies of both kinds: the newest copy of each of the last two versions is kept, and
/// that of every version whose binary is kept. After a failure the oldest of each of these stays,
/// too: a newer k3s may have had the data store open since, and been rolled back. All others are
/// superfluous. So an upgrade that fails again and again never takes away the last copy that only
/// the version that worked has had open. `copies`: the oldest first. Gives names, in that order.
std::vector<std::string> superfluous(const std::vector<Copy>& copies, const Kept& kept);

/// Removes the copies that are superfluous once `target`, the newest, is whole, and what a crash
/// left of one. What has no name of `name_of_copy` stays. Throws Error{failed}.
void discard_older_copies(const std::filesystem::path& target, const Kept& kept);

/// Whether a process with this command line has, or may open, the data store: k3s hides its
/// arguments, and leaves `<path> server`; with --log it is `k3s init` with a child `k3s server`.
bool is_k3s_server(std::string_view command);

/// Returns when no k3s server is left among the unit's processes. One that logs to a file (--log,
/// up to 1.33.5 and 1.34.1) may outlive its main process. Throws Error{failed} that names the
/// process when one is left after `timeout`, or when systemd can't be asked for that long;
/// Error{stopped}. Nothing is killed.
void wait_until_closed(systemd::Units& units, Clock& clock, const std::string& unit,
                       Duration timeout, const std::stop_token& stop);

/// Makes SQLite's files last (fsync): k3s does not, and a power cut soon after loses its last
/// seconds. Throws Error{failed}.
void sync_sqlite(const std::filesystem::path& data_dir);

}  // namespace kua::node
