// SPDX-License-Identifier: Apache-2.0
#include "agent/node/health.hpp"

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"
#include "lib/kube/watch.hpp"

namespace kua::node {

namespace {

/// Heartbeats have whole seconds: one from the second of a restart may be either kubelet's.
bool is_after(WallTime heartbeat, WallTime restart) {
    return heartbeat > std::chrono::floor<std::chrono::seconds>(restart);
}

}  // namespace

bool reported_since(const Json& node, WallTime started, WallTime now) {
    const auto heartbeat = kube::readiness(node).heartbeat;
    // One from later than now is from before the clock was set back: by a host without a clock of
    // its own, when it was started.
    return heartbeat && is_after(*heartbeat, started) && *heartbeat <= now;
}

std::optional<std::string> unhealthy(const Json& node, const Expected& expected) {
    const auto version = kube::kubelet_version(node);
    if (version != expected.kubelet_version) {
        return format("the kubelet reports {}, not {}", version.empty() ? "no version" : version,
                      expected.kubelet_version);
    }
    const auto readiness = kube::readiness(node);
    if (!readiness.ready) {
        return format("the node is not Ready{}{}", readiness.message.empty() ? "" : ": ",
                      excerpt(readiness.message, 200));
    }
    if (!readiness.heartbeat) {
        return "the node has not reported yet";
    }
    if (expected.last_heartbeat && *readiness.heartbeat == *expected.last_heartbeat) {
        return "the node has not reported since the restart";
    }
    if (expected.restarted && !is_after(*readiness.heartbeat, *expected.restarted)) {
        return "the node has not reported since the restart";
    }
    return std::nullopt;
}

void wait_healthy(kube::Client& client, const std::string& node, const Expected& expected,
                  const Patience& patience, const std::stop_token& stop) {
    constexpr int kParts = 10;
    constexpr auto kSilence = "the API did not answer";
    const auto part = std::max(patience.answered / kParts, Duration(1));
    std::string missing = kSilence;
    Duration answered{0};
    for (Duration all{0}; answered < patience.answered && all < patience.longest; all += part) {
        bool heard = false;
        const auto healthy = kube::wait_for(
            client, kube::one_node(node), node, part,
            [&](const std::optional<Json>& object) {
                heard = true;
                const auto reason = object ? unhealthy(*object, expected)
                                           : std::optional<std::string>("the Node object is gone");
                if (reason) {
                    missing = *reason;
                }
                return !reason;
            },
            stop);
        if (healthy) {
            return;
        }
        if (heard) {
            answered += part;
        }
    }
    const bool silence = answered < patience.answered;
    throw Error(ErrorKind::failed,
                format("not healthy after {}: {}{}",
                       to_text(silence ? patience.longest : patience.answered), missing,
                       silence && missing != kSilence ? format("; then {}", kSilence) : ""));
}

}  // namespace kua::node
