// SPDX-License-Identifier: Apache-2.0
// Is a server's own API server ready: its /readyz, asked through the node's kubeconfig, which on a
// server with an API server names that one (k3s: agentConfig.DisableLoadBalancer), and on others a
// load balancer before those of other servers. See etcd_health.hpp for these.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/kube/client.hpp"

namespace kua::node {

/// The checks that `/readyz?verbose` says have failed, by name (`etcd`, `poststarthook/…`). At most
/// ten of what may come from anywhere, each fit for one line.
std::vector<std::string> failing_checks(const std::string& verbose);

/// Asks until the answer is ok. An API server that does not let a node ask (403, 404: some take the
/// role system:public-info-viewer away) can't be asked, which is logged, and is no failure. Throws
/// Error{failed} that says what was missing last when `timeout` passes, Error{stopped}.
void wait_api_ready(kube::Client& client, Clock& clock, Duration timeout,
                    const std::stop_token& stop);

}  // namespace kua::node
