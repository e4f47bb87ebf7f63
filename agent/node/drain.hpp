// SPDX-License-Identifier: Apache-2.0
// Empties this node of its pods the way `kubectl drain` does.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/node/selection.hpp"
#include "agent/plan/plan.hpp"
#include "lib/base/clock.hpp"
#include "lib/kube/client.hpp"

namespace kua::node {

/// The pods that a drain waits for.
struct PodsLeft {
    std::size_t count = 0;
    std::string names;    ///< `default/web-0, default/db-0`, a few of them.
    std::string problem;  ///< What holds one of them, where that is known.
};

/// Called from the draining thread.
using DrainProgress = std::function<void(const PodsLeft& left)>;

/// How a drain that could be tried ended.
struct Drained {
    enum class By {
        no_pods,   ///< None is left.
        timeout,   ///< spec.timeout has passed.
        deadline,  ///< The upgrade's deadline has.
        refused,   ///< A pod's eviction was refused (403) several times.
    };
    By ended = By::no_pods;
    std::string left;  ///< Which pods are left, and what held them.
};

/// Drains and evicts. Used by one thread; evictions go out from a few of its own at once.
class Drain {
  public:
    Drain(kube::Client& client, Clock& clock, std::string node)
        : client_(client), clock_(clock), node_(std::move(node)) {}

    /// What a drain would do now. Throws what the client throws.
    [[nodiscard]] Selection plan(const plan::DrainSpec& spec, const std::stop_token& stop) const;

    /// Asks the server whether it would evict these pods now (dryRun=All), and changes nothing.
    /// Returns, in the pods' order, those that a PodDisruptionBudget holds, as `default/web: …`
    /// with the budget's name. Throws Error{invalid} for a pod that can never be evicted (several
    /// budgets select it), and what the client throws.
    [[nodiscard]] std::vector<std::string> held_by_budgets(const std::vector<PodRef>& pods,
                                                           const std::stop_token& stop);

    /// Evicts (or, with disableEviction, deletes) until none is left of the pods that were chosen
    /// when it began, as kubectl does: one that comes later is none of them, not even under the
    /// same name. A 429 (a PodDisruptionBudget says not now) is tried again after five seconds, as
    /// kubectl does, or what Retry-After says. A 403 is looked into: the API server refuses a node
    /// the eviction of a pod that is gone or no longer bound to it. Throws Error{failed} when a pod
    /// refuses the drain. Safe to repeat.
    Drained run(const plan::DrainSpec& spec, Duration deadline, const DrainProgress& progress,
                const std::stop_token& stop);

  private:
    enum class Evicted { on_its_way, gone, blocked, refused };
    struct Attempt {
        Evicted outcome = Evicted::blocked;
        std::string why;  ///< Of `blocked` and `refused`.
        Duration retry{0};
    };
    struct Chosen {
        Monotonic next_try;  ///< Asked for again only after its pause.
        std::string why;
        int refusals = 0;  ///< In a row.
    };
    using ByUid = std::map<std::string, Chosen>;

    [[nodiscard]] std::set<DaemonSetRef> gone_daemon_sets(const std::vector<Json>& pods,
                                                          const plan::DrainSpec& spec,
                                                          const std::stop_token& stop) const;
    /// Asks for those of `left` whose time has come, a few at once; returns when to look again.
    Duration evict_due(const std::vector<PodRef>& left, const plan::DrainSpec& spec, ByUid& chosen,
                       const std::stop_token& stop);
    Attempt evict(const PodRef& pod, const plan::DrainSpec& spec, const std::stop_token& stop);
    /// Whether a pod is still there and bound to this node; asked when its eviction was refused.
    [[nodiscard]] bool is_here(const PodRef& pod, const std::stop_token& stop) const;
    [[nodiscard]] kube::Call eviction(const PodRef& pod, Json options) const;
    void ask_eviction_version(const std::stop_token& stop);

    kube::Client& client_;
    Clock& clock_;
    std::string node_;
    std::string eviction_version_;  ///< `policy/v1`, once asked for.
    std::string refused_;           ///< By whom, once that has happened too often.
};

}  // namespace kua::node
