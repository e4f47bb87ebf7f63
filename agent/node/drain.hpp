// SPDX-License-Identifier: Apache-2.0
// Empties this node of its pods the way `kubectl drain` does.
#pragma once

#include <functional>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/plan/plan.hpp"
#include "lib/base/clock.hpp"
#include "lib/kube/client.hpp"

namespace kua::node {

/// A pod as the drain sees it.
struct PodRef {
    std::string ns;
    std::string name;
    std::string uid;

    [[nodiscard]] std::string text() const { return ns + "/" + name; }
};

/// What kubectl's filters say of a node's pods.
struct Selection {
    std::vector<PodRef> leave;         ///< To be evicted.
    std::vector<std::string> refused;  ///< Reasons why kubectl would not begin: `default/web: …`.
};

/// The choice, by kubectl's rules (k8s.io/kubectl/pkg/drain, filters.go): mirror pods and pods
/// outside podSelector stay; pods of a DaemonSet stay (or refuse the drain without
/// ignoreDaemonSets); finished pods go; pods with an emptyDir refuse the drain unless
/// deleteEmptydirData; pods that no controller manages refuse it unless force.
Selection select_pods(const std::vector<Json>& pods, const plan::DrainSpec& spec);

/// Told how many pods are left, from the draining thread.
using DrainProgress = std::function<void(std::size_t left, const std::string& detail)>;

/// Drains and evicts.
class Drain {
  public:
    Drain(kube::Client& client, Clock& clock, std::string node)
        : client_(client), clock_(clock), node_(std::move(node)) {}

    /// What a drain would do now. Throws what the client throws.
    [[nodiscard]] Selection plan(const plan::DrainSpec& spec, std::stop_token stop) const;

    /// Evicts (or, with disableEviction, deletes) until none of the chosen pods is left. A 429 (a
    /// PodDisruptionBudget says not now) is tried again after five seconds, as kubectl does, or
    /// what Retry-After says. Throws Error{failed} when a pod refuses the drain or spec.timeout (or
    /// `deadline`, whichever is sooner) passes, naming what is left; what the client throws only
    /// once the deadline has passed. Safe to repeat.
    void run(const plan::DrainSpec& spec, Duration deadline, const DrainProgress& progress,
             std::stop_token stop);

  private:
    enum class Evicted { on_its_way, gone, blocked };
    Evicted evict(const PodRef& pod, const plan::DrainSpec& spec, std::string& why, Duration& retry,
                  std::stop_token stop);
    const std::string& eviction_version(std::stop_token stop);

    kube::Client& client_;
    Clock& clock_;
    std::string node_;
    std::string eviction_version_;  ///< `policy/v1`, once asked for.
};

}  // namespace kua::node
