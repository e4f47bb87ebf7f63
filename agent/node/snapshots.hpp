// SPDX-License-Identifier: Apache-2.0
// Snapshots of k3s's own etcd: `k3s etcd-snapshot save`, and the list of those that this agent has
// made.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/node/datastore.hpp"
#include "agent/plan/version.hpp"
#include "lib/base/clock.hpp"
#include "lib/systemd/units.hpp"

namespace kua::node {

/// Where k3s keeps them unless --etcd-snapshot-dir says otherwise.
std::filesystem::path default_snapshot_folder(const std::filesystem::path& data_dir);

/// Whether that version's `etcd-snapshot` asks a server, which `-s` names: from 1.27.13, 1.28.9,
/// 1.29.4 and 1.30.0 on (k3s's pkg/cli/cmds/etcd_snapshot.go). Without it that is
/// https://127.0.0.1:6443, and until 1.30.2 the one that `server:` or K3S_URL names (k3s#10513).
bool snapshot_takes_server(const plan::Version& version);

/// Whether that version's `etcd-snapshot` has commands (`save`), as from 1.21 on. Before that it
/// takes a snapshot whatever words follow, and looks at no flag behind one.
bool snapshot_has_commands(const plan::Version& version);

/// What `k3s etcd-snapshot save` needs.
struct SnapshotCommand {
    std::filesystem::path k3s;
    std::filesystem::path data_dir;
    std::filesystem::path folder;  ///< Where the snapshot will lie.
    std::string server;            ///< This host's own, from kubelet.kubeconfig; may be empty.
    bool takes_server = false;     ///< snapshot_takes_server(k3s's version)
    systemd::UnitState unit;       ///< Its environment is what k3s gets.
    bool has_commands = true;      ///< snapshot_has_commands(k3s's version)
};

/// A snapshot's file. `ours`: k3s was told its name, or it can be no other's.
struct Snapshot {
    std::filesystem::path file;
    bool ours = false;
};

/// `k3s etcd-snapshot save` with a name of ours. What it prints and its exit status prove nothing
/// (1.20 does not take the name, 1.21 prints another, newer ones exit with 0 when it failed): the
/// snapshot is the new file in the folder that is whole. While k3s is busy with another snapshot it
/// is tried again. Throws Error{failed} with k3s's last line, or naming the folder, when there is
/// none within `timeout`; Error{stopped}.
Snapshot save_snapshot(const SnapshotCommand& command, Clock& clock, Duration timeout,
                       const std::stop_token& stop);

/// The snapshots that this agent has made on this host: `snapshots.json` in the state folder. Only
/// a regular file that lies in the snapshot folder itself, under a name of this list, is ever
/// removed (with the metadata of that name, which newer k3s writes to `../.metadata`); never by
/// `k3s etcd-snapshot prune`, which in 1.21 removes the scheduled ones (k3s#3648).
class Snapshots {
  public:
    explicit Snapshots(const std::filesystem::path& state_folder)
        : path_(state_folder / "snapshots.json") {}

    /// Notes one that was saved while `version` had etcd open. It survives a power cut then. Throws
    /// Error{failed}.
    void add(const std::filesystem::path& file, const std::string& version) const;

    /// Removes a snapshot, if it is in the list. Throws Error{failed}.
    void discard(const std::filesystem::path& file) const;

    /// Removes those of the list that are `superfluous` (agent/node/datastore) in `folder`. Throws
    /// Error{failed}.
    void discard_older(const std::filesystem::path& folder, const Kept& kept) const;

  private:
    struct Entry {
        std::string name;
        std::string version;
    };

    /// The oldest first. Empty, with a warning, for a list that can't be understood: nothing is
    /// removed then.
    [[nodiscard]] std::vector<Entry> read() const;
    void write(std::vector<Entry> entries) const;

    std::filesystem::path path_;
};

}  // namespace kua::node
