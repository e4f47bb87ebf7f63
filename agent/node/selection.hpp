// SPDX-License-Identifier: Apache-2.0
// Which of a node's pods a drain takes away: `kubectl drain`'s filters. No I/O.
#pragma once

#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "agent/plan/plan.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"

namespace kua::node {

/// A pod as the drain sees it.
struct PodRef {
    std::string ns;
    std::string name;
    std::string uid;
    bool terminating = false;  ///< Somebody has deleted it already.

    [[nodiscard]] std::string text() const { return ns + "/" + name; }
};

/// What kubectl's filters say of a node's pods.
struct Selection {
    std::vector<PodRef> leave;         ///< To be evicted.
    std::vector<std::string> refused;  ///< Reasons why kubectl would not begin: `default/web: …`.
};

PodRef ref_of(const Json& pod);

/// With skipWaitForDeleteTimeout: the pod's deletion is overdue for longer than that, and nobody
/// waits for it any more (kubectl: shouldSkipPod).
bool overdue(const Json& pod, const plan::DrainSpec& spec, WallTime now);

/// A DaemonSet, by namespace and name.
struct DaemonSetRef {
    std::string ns;
    std::string name;

    bool operator<(const DaemonSetRef& other) const {
        return std::tie(ns, name) < std::tie(other.ns, other.name);
    }
    bool operator==(const DaemonSetRef& other) const = default;
};

/// The DaemonSets that have to be looked up before `select_pods` can decide.
std::set<DaemonSetRef> daemon_sets_of(const std::vector<Json>& pods, const plan::DrainSpec& spec);

/// The choice, by kubectl's rules (k8s.io/kubectl/pkg/drain, filters.go), in kubectl's order:
/// - pods outside podSelector stay, and so do SUC's own (SUC puts `!upgrade.cattle.io/controller`
///   into every selector);
/// - with skipWaitForDeleteTimeout, pods stay whose deletion is overdue for longer than that;
/// - pods of a DaemonSet stay (or refuse the drain without ignoreDaemonSets); where the DaemonSet
///   is `gone` they go with force, and refuse the drain without it;
/// - mirror pods stay;
/// - pods with an emptyDir refuse the drain unless deleteEmptydirData;
/// - pods that no controller manages refuse it unless force;
/// - finished pods go, whatever the last three and their DaemonSet say.
Selection select_pods(const std::vector<Json>& pods, const plan::DrainSpec& spec, WallTime now,
                      const std::set<DaemonSetRef>& gone = {});

}  // namespace kua::node
