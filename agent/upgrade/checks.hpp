// SPDX-License-Identifier: Apache-2.0
// What is looked at on this node and in the cluster before anything is touched.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/k3s/installation.hpp"
#include "agent/lock/lease.hpp"
#include "agent/node/datastore.hpp"
#include "agent/plan/rules.hpp"
#include "agent/release/staging.hpp"
#include "agent/upgrade/candidates.hpp"
#include "agent/upgrade/standing.hpp"
#include "agent/upgrade/upgrade.hpp"

namespace kua::upgrade {

/// Asks a Plan's channel for its version; throws what the channel's client throws.
using AskChannel = std::function<plan::Version(const plan::Plan&, std::stop_token)>;

/// The node as it is, where a Plan would be applied.
struct Site {
    Json node;
    k3s::Installation k3s;
    plan::Version from;  ///< What the kubelet reports, and the program.
    /// What is copied before k3s is restarted; `elsewhere`: nothing.
    node::Datastore datastore = node::Datastore::elsewhere;
};

/// Used by one thread. What is refused is thrown as Error{invalid}; what has to be waited for is a
/// Standing.
class Checks {
  public:
    /// `ask_channel` may be empty: then a channel's answer is taken from the Plan's status.
    Checks(Tools tools, std::string node, AskChannel ask_channel)
        : tools_(tools), node_(std::move(node)), ask_channel_(std::move(ask_channel)) {}

    /// Whatever needs no release at hand: servers that go first, the version rules, the channel
    /// itself, the labels for afterwards, pods that can't be evicted. Absent when all is well.
    std::optional<Standing> before_fetch(const Candidate& candidate, const Plans& plans,
                                         const Site& site, const std::stop_token& stop);

    /// The pods of system-upgrade-controller's Jobs that are at work on this node, and what to do
    /// about one that does not end; empty: none.
    std::string pods_of_rival(const std::stop_token& stop) const;

    /// The pods that PodDisruptionBudgets would hold in a drain now, and the budgets; empty: none.
    /// Nothing is evicted.
    std::string held_by_budgets(const Candidate& candidate, const std::stop_token& stop) const;

    /// What needs it: a build older than the installed one, room on the disk for all that the
    /// upgrade and the new k3s write.
    static void of_release(const Candidate& candidate, const Site& site,
                           const release::Staged& staged, release::Staging& staging,
                           const std::stop_token& stop);

    /// Which data store this host has to copy for an upgrade to another version. Throws
    /// Error{invalid} when there is no room for it in `copies`.
    static node::Datastore to_copy(const Candidate& candidate, const Site& site,
                                   const std::filesystem::path& copies);

    /// What the lock is asked for. On an etcd member the others are listed: where one of them runs
    /// the version already, etcd was copied before that, and `site.datastore` says so.
    lock::Request request(const Candidate& candidate, Site& site,
                          const std::stop_token& stop) const;

  private:
    std::optional<Standing> wait_for_servers(const Candidate& candidate, const Plans& plans,
                                             const std::stop_token& stop);
    /// The control-plane nodes' versions, or the API server's own where none of them can be seen
    /// (servers without a kubelet, labels that were lost); listed anew only when `occasion` is
    /// another than last time or some time has passed: waiting must not turn into polling.
    const std::vector<plan::ServerVersion>& servers(const std::string& occasion,
                                                    const std::stop_token& stop);
    void ask_channel(const Candidate& candidate, const std::stop_token& stop);
    void try_labels(const Candidate& candidate, const std::stop_token& stop);
    /// Asks, unless the same was answered well a short while ago: a node that waits for its turn
    /// need not ask again each time. Throws what `ask` throws, and remembers nothing then.
    void ask_at_times(const std::string& question, const std::function<void()>& ask);
    [[nodiscard]] Json list_nodes(const std::string& label_selector,
                                  const std::stop_token& stop) const;

    Tools tools_;
    std::string node_;
    AskChannel ask_channel_;
    std::vector<plan::ServerVersion> servers_;
    std::string servers_occasion_;
    Monotonic servers_listed_;
    std::map<std::string, Monotonic> answered_;  ///< By question.
};

}  // namespace kua::upgrade
