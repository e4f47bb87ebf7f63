// SPDX-License-Identifier: Apache-2.0
// The node role: looks at the Plans and its own Node, decides, and goes the road when it is this
// node's turn.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/k3s/installation.hpp"
#include "agent/lock/turns.hpp"
#include "agent/lock/view.hpp"
#include "agent/plan/plan.hpp"
#include "agent/release/staging.hpp"
#include "agent/upgrade/candidates.hpp"
#include "agent/upgrade/checks.hpp"
#include "agent/upgrade/standing.hpp"
#include "agent/upgrade/upgrade.hpp"
#include "lib/base/wakeup.hpp"

namespace kua::upgrade {

/// When a release may be fetched that waits for a slot.
enum class Prefetch {
    always,     ///< As soon as the Plan wants it.
    in_window,  ///< As soon as the Plan's window is open.
    never,      ///< Only with a slot.
};

/// What becomes of an upgrade whose cordon somebody lifts before k3s is restarted.
enum class Lifted {
    stop,   ///< It is undone, and not tried again for a while.
    again,  ///< The node is cordoned, and drained, again.
};

/// What becomes of a cordon that was there before the upgrade.
enum class Foreign {
    keep,  ///< It stays, and is told of.
    lift,  ///< A successful upgrade lifts it, as SUC does.
};

struct NodeSettings {
    std::string node;
    Limits limits;
    AskChannel ask_channel{};  ///< Empty: a channel's answer is taken from the Plan's status.
    Prefetch prefetch = Prefetch::in_window;
    Duration jitter{0};  ///< A fetch begins at a random moment within this.
    Lifted lifted = Lifted::stop;
    Foreign foreign = Foreign::keep;
    /// What holds the node up (PodDisruptionBudgets, that it is not Ready) is reported when nothing
    /// has changed for so long.
    Duration patience{60'000};
    bool backup = true;  ///< A server's data store is copied before it is upgraded.
    /// Called with what was found of k3s, each time before it is acted on. Throws Error to stop
    /// that.
    std::function<void(const k3s::Installation&)> found{};
};

/// Runs in one thread. Plans are gone through by name; one at a time is worked on.
class NodeLoop {
  public:
    NodeLoop(Tools tools, NodeSettings settings, k3s::Finder& finder, release::Staging& staging,
             const lock::View& view, Wakeup& changed);

    /// First repairs what the journal tells of, then decides at every change, until `stop`.
    void run(const std::stop_token& stop);

    /// Something outside the cluster has changed (a bundle appeared): what failed is tried again
    /// without waiting. May be called by any thread.
    void try_again();

  private:
    struct Retry {
        Backoff pause{Duration(5'000), Duration(900'000)};
        Monotonic next;
        std::string phase;
        std::string reason;
        std::string topic;  ///< As in a Standing.
    };

    void recover(const std::stop_token& stop);
    /// Brings the host to rest whose journal can't be understood, as far as that can be told
    /// without it; the cordon and the slot are found in the cluster.
    void recover_blindly(const Error& error, const std::stop_token& stop);
    Duration turn(const std::stop_token& stop);
    /// Why nothing can be decided now; absent when everything is known.
    struct Blindness {
        std::string text;
        std::string topic;
    };
    std::optional<Blindness> blind(const std::optional<Json>& node) const;
    /// For behind a reason why nothing can be decided: that k3s is stopped here; empty where it
    /// is not, or that can't be told.
    [[nodiscard]] std::string k3s_if_down() const;
    /// Whether k3s is where it was: the credentials in use may be those of a folder that it has
    /// left.
    void look_for_k3s();
    /// Of earlier upgrades, at times where that is refused. What it returns is tidy's.
    bool clear_up(const Json& node, const std::vector<Candidate>& wanted, const Plans& plans,
                  const lock::Lock& lock, const std::stop_token& stop);
    /// False: nothing may be decided on this state of the lock, which is about to change.
    bool tidy(const std::vector<Candidate>& wanted, const Plans& plans, const lock::Lock& lock,
              const std::stop_token& stop);
    /// That the upgrade which took this slot has failed here already, and with what: the lock is
    /// from before, as the data store is that somebody has brought back.
    std::optional<std::string> failed_before(const lock::Slot& slot) const;
    Standing consider(const Candidate& candidate, const std::optional<Conflict>& conflict,
                      const lock::Lock& lock, const Plans& plans, const std::stop_token& stop);
    /// Where all was checked a moment ago and only the slot was missing.
    std::optional<Standing> go_at_once(const Candidate& candidate, const std::stop_token& stop);
    Standing attempt(const Candidate& candidate, const lock::Lock& lock, const Plans& plans,
                     const std::stop_token& stop);
    /// `pause` until the next try; absent: longer each time.
    Standing blocked(const Candidate& candidate, const Error& error, const std::stop_token& stop,
                     std::optional<Duration> pause = std::nullopt);
    /// Undoes the cordon of an upgrade that nothing else is known of, and takes back what was said
    /// of a cordon that is no more.
    void uncordon_leftover(const Json& node, const std::stop_token& stop);
    /// Tells by the Node that this agent serves it; what is the matter with that is only logged.
    void announce(const Json& node, const std::stop_token& stop);
    Standing reported(const Candidate& candidate, const Conflict& conflict, const lock::Lock& lock,
                      const std::stop_token& stop);
    std::optional<Standing> outside_window(const Candidate& candidate) const;
    std::optional<Standing> wait_for_slot(const Candidate& candidate, const lock::Lock& lock,
                                          const std::stop_token& stop);
    bool same_release(const Candidate& candidate, const k3s::Installation& k3s,
                      const std::stop_token& stop);
    /// The folder of SQLite's copies.
    [[nodiscard]] std::filesystem::path copies() const;
    static release::Destinations destinations(const k3s::Installation& k3s);
    /// Verified in this process already.
    [[nodiscard]] bool is_staged(const Candidate& candidate) const;
    /// What download.jitter says, once for each Candidate::key.
    std::optional<Standing> wait_to_fetch(const Candidate& candidate);
    /// A slot that is held while it is fetched, and until when.
    struct Holding {
        lock::HeldSlot& slot;
        Monotonic give_up;
    };
    /// `holding` is null without a slot.
    const release::Staged& stage(const Candidate& candidate, const k3s::Installation& k3s,
                                 const Holding* holding, const std::stop_token& stop);
    [[nodiscard]] Limits limits_of(const Candidate& candidate) const;
    Standing go(const Candidate& candidate, const std::stop_token& stop);
    /// The node and its k3s as they are now; `from` is not read yet.
    Site look(const std::stop_token& stop);
    /// Why the node is not what was checked before the slot was taken; absent when it is.
    [[nodiscard]] std::optional<std::string> changed_since(const Candidate& candidate,
                                                           const Site& checked,
                                                           const Site& now) const;
    /// What `act` returns; the slot is given back when it throws.
    template <typename Act>
    auto or_give_back(const Candidate& candidate, const std::stop_token& stop, const Act& act);
    /// Returns since when the slot's lease runs.
    Monotonic fetch_with_slot(const Candidate& candidate, const Site& site, Monotonic since,
                              const std::stop_token& stop);
    [[nodiscard]] node::Record record_of(const Candidate& candidate, const Site& site,
                                         const release::Staged& staged) const;
    /// Why the upgrade that has begun for `candidate` is wanted no more; absent while it is, and
    /// while that is not known.
    [[nodiscard]] std::optional<std::string> unwanted(const Candidate& candidate) const;
    /// While PodDisruptionBudgets would hold the drain: nothing is touched, no slot taken.
    std::optional<Standing> wait_for_budgets(const Candidate& candidate,
                                             const std::stop_token& stop);
    /// A node that is not Ready takes no slot.
    std::optional<Standing> wait_until_ready(const Candidate& candidate, const Site& site,
                                             const std::stop_token& stop);
    /// Waits for what may pass by itself; what has not within NodeSettings::patience is reported.
    Standing wait_patiently(const Candidate& candidate, std::string text, const std::string& topic,
                            const std::stop_token& stop);
    void say(const Standing& standing, const Candidate* candidate);

    Tools tools_;
    NodeSettings settings_;
    k3s::Finder& finder_;
    release::Staging& staging_;
    const lock::View& view_;
    Wakeup& changed_;
    std::map<std::string, Retry> retries_;  ///< By Candidate::key.
    std::atomic<bool> try_again_ = false;
    std::optional<std::pair<release::Wanted, release::Staged>>
        staged_;  ///< Verified in this process already.
    /// What has passed all checks and lacks only its slot.
    struct Ready {
        Site site;
        lock::Request request;
        Monotonic checked;
    };
    std::map<std::string, Ready> ready_;             ///< By Candidate::key.
    std::map<std::string, Monotonic> fetch_begins_;  ///< By Candidate::key.
    /// What holds the node up, and since when it is just that.
    struct Held {
        std::string text;
        Monotonic since;
    };
    std::map<std::string, Held> held_;  ///< By Candidate::key.
    std::optional<Held> left_;          ///< What could not be cleared up the last time.
    /// The last upgrade here failed, and no other has succeeded since.
    bool failed_here_ = false;
    std::string
        brought_back_;  ///< `acquired` of the slot from before a failure that was said last.
    std::optional<Monotonic> announced_;  ///< When that was tried last.
    std::string announcing_;              ///< Why it failed.
    Checks checks_;
    lock::Turns turns_;
    std::string said_;
};

}  // namespace kua::upgrade
