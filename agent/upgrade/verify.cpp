// SPDX-License-Identifier: Apache-2.0
// The restart, and what shows that the version works.
#include <algorithm>
#include <utility>

#include "agent/node/etcd_health.hpp"
#include "agent/node/health.hpp"
#include "agent/node/readyz.hpp"
#include "agent/node/restart.hpp"
#include "agent/upgrade/upgrade.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::upgrade {

namespace {

std::optional<WallTime> time_of(const std::string& text) {
    return text.empty() ? std::nullopt : std::optional(parse_rfc3339(text));
}

}  // namespace

void Upgrade::note_heartbeat(const std::stop_token& stop) {
    try {
        const auto heartbeat = kube::readiness(own_node_.read(stop)).heartbeat;
        record_.heartbeat = heartbeat ? to_rfc3339(*heartbeat) : std::string();
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        // On a server whose k3s is down already nobody answers; the version alone must tell then.
        log::debug(format("the heartbeat before the restart is not known: {}", error.what()));
    }
}

void Upgrade::restart(Duration timeout, const std::stop_token& stop) {
    if (!record_.stopped) {
        note_heartbeat(stop);
    }
    const auto before = std::exchange(record_.restarted, to_rfc3339_micro(tools_.clock.wall()));
    try {
        journal(!going_back_ && before.empty());
    } catch (const Error&) {
        record_.restarted = before;  // It was not, and need not be for the way back.
        throw;
    }
    active_ = node::restart_unit(tools_.units, tools_.clock, record_.unit, timeout, stop);
    record_.stopped = false;
    // k3s writes its certificates anew when it starts.
    tools_.api.forget_credentials();
}

void Upgrade::verify_new(const std::stop_token& stop) {
    if (!active_) {
        // Interrupted here: it may have been the host that went down, and k3s is starting.
        active_ = node::wait_active(tools_.units, tools_.clock, record_.unit,
                                    within_deadline(limits_.restart), stop);
    }
    node::ensure_settles(tools_.units, tools_.clock, *active_,
                         {within_deadline(limits_.settle), limits_.restart}, stop);
    const auto timeout = within_deadline(limits_.health);
    const auto end = tools_.clock.monotonic() + timeout;
    // A server's API is its own k3s's. An agent whose servers are away is none the worse for it,
    // and neither is a server that has no API server.
    const bool own_api = record_.server && !record_.no_api_server;
    const auto longest = own_api ? timeout : within_deadline(limits_.deadline);
    verify(record_.version, {timeout, longest}, stop);
    const auto left = std::max<Duration>(
        std::chrono::ceil<Duration>(end - tools_.clock.monotonic()), Duration(0));
    if (own_api) {
        node::wait_api_ready(tools_.api, tools_.clock, left, stop);
    } else if (record_.server && record_.etcd_member && tools_.this_host != nullptr) {
        // /readyz would be that of another server: k3s's load balancer knows no API server here.
        node::wait_etcd_healthy(*tools_.this_host, tools_.clock, left, stop);
    }
}

void Upgrade::verify(const std::string& version, const node::Patience& patience,
                     const std::stop_token& stop) {
    node::Expected expected;
    expected.kubelet_version = version;
    expected.last_heartbeat = time_of(record_.heartbeat);
    if (record_.version == record_.from_version) {
        // Only then can't the version tell the new kubelet's report from the old one's. Not
        // otherwise: the clock may have been set back.
        expected.restarted = time_of(record_.restarted);
    }
    try {
        node::wait_healthy(tools_.api, node_name_, expected, patience, stop);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::failed) {
            throw;
        }
        throw Error(ErrorKind::failed, format("{}; {}", error.what(),
                                              node::unit_in_words(tools_.units, record_.unit)));
    }
    tools_.report.update([&](node::Status& status) { status.version = version; });
}

}  // namespace kua::upgrade
