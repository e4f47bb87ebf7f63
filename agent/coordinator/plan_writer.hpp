// SPDX-License-Identifier: Apache-2.0
// Writes a Plan's status and Events, each once.
#pragma once

#include <map>
#include <set>
#include <stop_token>
#include <string>

#include "agent/coordinator/plan_status.hpp"
#include "lib/base/clock.hpp"
#include "lib/kube/client.hpp"

namespace kua::coordinator {

class PlanWriter {
  public:
    /// `host`: this agent's node, the source of the Events.
    PlanWriter(kube::Client& api, Clock& clock, std::string host);

    /// Takes note of what was found; true when there is something to write about `plan`, as it is
    /// here, that was not written before. What its status told when it is seen for the first time,
    /// another coordinator has told.
    bool has_news(const plan::Plan& plan, const Verdict& verdict);

    /// Patches the status, which carries the Plan's resourceVersion, and makes the Events. A Plan
    /// that has changed or gone meanwhile is left alone: the watch brings it, and it is judged
    /// again. Throws what the client throws.
    void write(const plan::Plan& plan, const Verdict& verdict, const std::stop_token& stop);

    /// Makes an Event about the Plan. One that is refused is logged: the condition says the same.
    void emit(const plan::Plan& plan, const Notice& notice, const std::stop_token& stop);

    /// Forgets Plans that are not among these.
    template <typename Plans>
    void keep(const Plans& plans) {
        std::erase_if(known_, [&](const auto& entry) { return !plans.contains(entry.first); });
    }

  private:
    struct Known {
        std::string written_on;      ///< The resourceVersion that was overwritten last.
        Monotonic written_at;        ///< And when.
        std::set<std::string> told;  ///< Keys of Lasting that were told and still last.
        std::string refused;         ///< Why its status was not taken the last time.
    };

    void note_overwritten(const plan::Plan& plan);
    bool patch(const plan::Plan& plan, const Json& status, const std::stop_token& stop);

    kube::Client& api_;
    Clock& clock_;
    std::string host_;
    std::map<std::string, Known> known_;  ///< By Plan.
};

}  // namespace kua::coordinator
