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
    std::vector<ServerVersion> servers;  ///< All control-plane nodes; only asked for on agents.
};

/// The reason why the move is refused; absent when it is allowed. Refused: a lower version
/// (k3s-upgrade), a skipped minor version (Kubernetes version skew policy; the Plan's annotation
/// `k3s-upgrade-agent/allow-skipped-minor: "true"` allows it), a kubelet newer than any server's
/// API server (the same policy).
std::optional<std::string> refusal(const Plan& plan, const Move& move);

/// k3s-upgrade's rule for the same version: the new build may not be from an earlier month than the
/// old. `from` and `to` are RFC 3339 build dates as `kubectl version` prints them; a date that
/// can't be read is no reason to refuse.
std::optional<std::string> older_build(const std::string& from, const std::string& to);

/// Which servers don't run `version` yet: `server-2 at v1.30.4+k3s1`, in the order given.
std::vector<std::string> servers_not_at(const std::vector<ServerVersion>& servers,
                                        const Version& version);

}  // namespace kua::plan
