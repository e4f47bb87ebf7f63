// SPDX-License-Identifier: Apache-2.0
// Which version may follow which: the refusals that come before anything on the node is touched.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/plan/plan.hpp"
#include "agent/plan/version.hpp"

namespace kua::plan {

/// A control-plane node and what its kubelet reports (on k3s that is its API server's version too).
struct ServerVersion {
    std::string node;
    std::string kubelet_version;
};

/// What the rules look at.
struct Move {
    Version from;
    Version to;
    bool is_server = false;
    std::vector<ServerVersion> servers{};  ///< All control-plane nodes; only asked for on agents.
    bool embedded_etcd = false;            ///< The node is a member of k3s's own etcd.
    /// The host has no cgroup v2, and its kubelet was not told that this is no failure.
    bool cgroup_v1 = false;
};

/// The reason why the move is refused; absent when it is allowed. Refused: a lower version
/// (k3s-upgrade), a skipped minor version (Kubernetes version skew policy; the Plan's annotation
/// `k3s-upgrade-agent/allow-skipped-minor: "true"` allows it), a kubelet newer than any server's
/// API server (the same policy), versions of the same number that nothing orders (own builds), a
/// kubelet from 1.35 on where it would end (KEP-5573: it refuses cgroup v1), etcd 3.6 after one
/// that is older than 3.5.26 (k3s#13493; `k3s-upgrade-agent/allow-etcd-jump: "true"` allows it).
std::optional<std::string> refusal(const Plan& plan, const Move& move);

/// Whether k3s's own etcd is another minor version in `to`: k3s goes from etcd 3.5 to 3.6 with
/// v1.33.11. Once all members run the newer one, the older can't read the data.
bool changes_etcd(const Version& from, const Version& to);

/// k3s-upgrade's rule for every upgrade: the new build may not be from an earlier month than the
/// old (the Plan's annotation `k3s-upgrade-agent/allow-older-build: "true"` allows it). `from` and
/// `to` are RFC 3339 build dates as `kubectl version` prints them; a date that can't be read is no
/// reason to refuse.
std::optional<std::string> older_build(const Plan& plan, const std::string& from,
                                       const std::string& to);

/// Whether the version of any of them can be told.
bool any_known(const std::vector<ServerVersion>& servers);

/// Which servers don't run `version` yet: `server-2 at v1.30.4+k3s1`, in the order given.
std::vector<std::string> servers_not_at(const std::vector<ServerVersion>& servers,
                                        const Version& version);

}  // namespace kua::plan
