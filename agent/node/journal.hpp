// SPDX-License-Identifier: Apache-2.0
// The host's own record of the upgrade under way: written before each step, read at every start.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/plan/intent.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"

namespace kua::node {

/// Everything a restarted agent needs to finish, repeat or undo what was begun.
struct Record {
    std::string plan;
    std::string plan_uid;
    std::string hash;
    plan::Intent intent;
    std::string version;       ///< The target, `v1.31.4+k3s1`.
    std::string from_version;  ///< What the node ran before.
    std::string
        step;  ///< The step that was about to begin; its effect may or may not have happened.
    bool cordon = false;          ///< The Plan wants the node cordoned.
    bool foreign_cordon = false;  ///< The node was cordoned by somebody else before: stays so ...
    bool lift_foreign = false;    ///< ... unless the upgrade succeeds (cordon.foreign: lift).
    std::string role;             ///< Of k3s on this host: `server` or `agent`.
    std::string unit;
    std::filesystem::path binary;    ///< The k3s binary, symbolic links resolved.
    std::filesystem::path next;      ///< The verified new binary, on the same file system.
    std::filesystem::path previous;  ///< The way back.
    std::filesystem::path staged;    ///< Where `next` is copied from.
    std::string sha256;              ///< Of the new binary.
    bool prepared = false;           ///< `next` and `previous` are what this upgrade made them.
    std::filesystem::path staged_images;  ///< Airgap images; empty: none.
    std::string images_sha256;
    std::filesystem::path images;    ///< What they become in k3s's folder.
    bool images_were_there = false;  ///< Before this upgrade: they stay, whatever happens.
    std::string heartbeat;           ///< The Node's Ready heartbeat before the restart (RFC 3339).
    std::string restarted;           ///< This host's wall clock just before the restart (RFC 3339).
    std::string started;             ///< When the slot was taken (RFC 3339).
    std::map<std::string, std::string> labels;  ///< For the node, when all is done.
    Duration delay{0};         ///< spec.postCompleteDelay: waited for before the labels.
    std::string completed;     ///< This host's wall clock when that delay began (RFC 3339).
    bool server = false;       ///< The host runs `k3s server`.
    bool etcd_member = false;  ///< Of k3s's own etcd.
    /// A server with --disable-apiserver: kubelet.kubeconfig leads to other servers.
    bool no_api_server = false;
    std::string failure;    ///< Why it is being rolled back; empty on the way forward.
    std::string undone;     ///< Why it was undone, once it is and only hooks are left to run.
    bool stays = false;     ///< The new version stays although it failed: nothing is rolled back.
    std::string datastore;  ///< To be copied: `etcd` or `sqlite`; empty: none.
    std::filesystem::path data_dir;       ///< k3s's, where it lies.
    std::filesystem::path copies;         ///< The folder for copies of SQLite's files.
    std::filesystem::path snapshots;      ///< etcd's folder for snapshots; empty: k3s's default.
    std::string api_server;               ///< This host's own k3s, as `etcd-snapshot -s` takes it.
    std::string copy;                     ///< The path of the copy, or of etcd's snapshot.
    bool stopped = false;                 ///< k3s was stopped by us, and not started again yet.
    std::vector<std::string> last_lines;  ///< What the unit said at the new version before that.
};

Json to_json(const Record& record);

/// Reads a record. Throws Error{invalid} that says what is wrong for one that is broken or was
/// written by a newer agent.
Record read_record(const Json& value, const std::string& name);

/// `journal.json` in the state folder. After `begin` returns, the record survives a power cut.
class Journal {
  public:
    explicit Journal(const std::filesystem::path& folder) : path_(folder / "journal.json") {}

    /// Writes the record (temporary file, fsync, rename, fsync of the folder). Throws
    /// Error{failed}: then the step must not begin.
    void begin(const Record& record) const;

    /// The record of an upgrade that did not end; absent when there is none. Throws Error{invalid}
    /// naming the file for what can't be understood.
    [[nodiscard]] std::optional<Record> read() const;

    /// Renames a record that can't be understood to `journal.json.broken` (over an earlier one),
    /// for somebody to look at. Throws Error{failed}.
    std::filesystem::path put_aside() const;

    /// The upgrade has ended: nothing to repair. Safe to repeat.
    void end() const;

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

}  // namespace kua::node
