// SPDX-License-Identifier: Apache-2.0
// Is this host's own etcd healthy: for servers without an API server, whose kubelet.kubeconfig
// leads to other servers.
#pragma once

#include <stop_token>

#include "lib/base/clock.hpp"
#include "lib/http/client.hpp"

namespace kua::node {

/// Asks etcd's /health until it is. k3s has its etcd answer there on this host, on port 2381 of the
/// loopback address, without TLS and without credentials (metricsURL in k3s's pkg/etcd/etcd.go); it
/// is well when the member has a leader, no alarm, and can read.
///
/// Where nobody has answered for half a minute there is nothing to ask (`--etcd-arg
/// listen-metrics-urls=…` has moved it), which is logged, and is no failure: k3s tells systemd that
/// it has started only when its etcd is ready. Throws Error{failed} that says what was wrong last
/// when `timeout` passes, Error{stopped}.
void wait_etcd_healthy(http::Client& client, Clock& clock, Duration timeout,
                       const std::stop_token& stop);

}  // namespace kua::node
