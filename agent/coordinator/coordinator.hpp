// SPDX-License-Identifier: Apache-2.0
// The coordinator role: elected through the lock among agents on control-plane nodes, writes the
// Plans' status and Events.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/channel/poller.hpp"
#include "agent/coordinator/cluster_id.hpp"
#include "agent/coordinator/election.hpp"
#include "agent/coordinator/plan_status.hpp"
#include "agent/coordinator/plan_writer.hpp"
#include "agent/lock/rival.hpp"
#include "agent/lock/slots.hpp"
#include "agent/lock/view.hpp"
#include "lib/base/wakeup.hpp"
#include "lib/http/client.hpp"
#include "lib/kube/client.hpp"

namespace kua::coordinator {

/// What a coordinator works with; everything outlives it.
struct Tools {
    kube::Client& api;
    http::Client& web;
    Clock& clock;
    lock::Slots& slots;
    lock::Rival& rival;
    ClusterId& cluster_id;
};

class Coordinator {
  public:
    /// `on_role` is told when this agent becomes coordinator and when it no longer is. `changed` is
    /// rung by `view`.
    Coordinator(const Tools& tools, channel::Pace pace, const lock::View& view, Wakeup& changed,
                std::function<void(bool)> on_role);

    /// Runs until `stop`; gives the role back then, so that the next one need not wait for the
    /// lease to run out. Lists Nodes and asks channels only while it is coordinator.
    void run(const std::stop_token& stop);

  private:
    using Plans = std::map<std::string, plan::Plan>;

    Duration turn(const std::stop_token& stop);
    Duration serve(const lock::Lock& lock, const std::vector<NodeView>& nodes,
                   const std::stop_token& stop);
    /// `again`: when it will be another one by the time alone.
    [[nodiscard]] Situation situation_of(const plan::Plan& plan, const Resolution& resolution,
                                         const Plans& plans, const lock::Lock& lock,
                                         Duration& again) const;
    /// Stops everything that only a coordinator does.
    void rest();
    void tell_unreadable(const lock::Lock& lock);
    void follow_channels(const Plans& plans);
    /// For how long a Plan's slot has been left untaken.
    void watch_untaken(const std::string& plan, const Verdict& verdict, Duration& again);
    /// Absent while the Plan's channel has not been asked yet.
    [[nodiscard]] std::optional<Resolution> resolve(const plan::Plan& plan) const;
    [[nodiscard]] std::vector<Holder> holders_of(const lock::Lock& lock, const std::string& plan,
                                                 const std::string& hash,
                                                 const plan::Intent& intent, Duration& again) const;
    /// Is there nobody else who writes? Asked before anything is written, and once a turn at most.
    bool alone(const Plans& plans, Duration& again, const std::stop_token& stop);
    /// Drops those of `keys` whose node the API server does not know.
    void drop_gone(const lock::Lock& lock, const Plans& plans, const std::vector<std::string>& keys,
                   const std::stop_token& stop);

    Tools tools_;
    channel::Pace pace_;
    const lock::View& view_;
    Wakeup& changed_;
    Election election_;
    std::string said_;  ///< Of the last failure, while it lasts.
    PlanWriter writer_;
    std::int64_t wanted_ = 0;             ///< Nodes that the Plan which wants most still wants.
    std::unique_ptr<kube::Watch> nodes_;  ///< While coordinator.
    std::unique_ptr<channel::Poller> poller_;  ///< While coordinator, and a Plan has a channel.
    std::set<std::string> unreadable_;         ///< Keys of the lock, as told.
    std::set<std::string> told_of_rival_;      ///< Plans.
    struct Untaken {
        std::string state;  ///< Verdict::untaken
        Monotonic since;
    };
    std::map<std::string, Untaken> untaken_;  ///< By Plan.
};

}  // namespace kua::coordinator
