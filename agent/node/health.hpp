// SPDX-License-Identifier: Apache-2.0
// Is the node itself again: Ready, at the version, and reporting since the restart.
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "agent/plan/version.hpp"
#include "lib/base/clock.hpp"
#include "lib/kube/client.hpp"

namespace kua::node {

struct Expected {
    std::string kubelet_version;  ///< `v1.31.4+k3s1`
    std::optional<WallTime>
        last_heartbeat;  ///< Seen before the restart: an equal one is the old kubelet's.
    std::optional<WallTime> restarted;  ///< By this host's clock, which is the kubelet's too.
};

/// What still keeps a Node from being healthy, in words; absent when it is.
std::optional<std::string> unhealthy(const Json& node, const Expected& expected);

/// True when what the Node shows was reported by a kubelet that was started at `started`, or since
/// then; `started` and `now` are by this host's clock, which is the kubelet's too. A kubelet always
/// reports at its start, and then only when something changes, or every few minutes.
bool reported_since(const Json& node, WallTime started, WallTime now);

struct Patience {
    /// In which the API answers: while it is away nothing is known of the node, and nothing is held
    /// against it. Counted in tenths.
    Duration answered;
    Duration longest;  ///< Whatever answers; at least `answered`.
};

/// Waits, by watch and through every outage of the API, until the node is healthy. Throws
/// Error{failed} that says what was missing last when the patience is at its end, Error{stopped}.
void wait_healthy(kube::Client& client, const std::string& node, const Expected& expected,
                  const Patience& patience, const std::stop_token& stop);

}  // namespace kua::node
