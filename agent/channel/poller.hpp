// SPDX-License-Identifier: Apache-2.0
// Asks all followed channels from a thread of its own.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "agent/channel/follow.hpp"
#include "lib/base/wakeup.hpp"
#include "lib/http/client.hpp"

namespace kua::channel {

/// A Plan's channel, as it is to be followed.
struct Wanted {
    std::string url;
    std::string latest;  ///< status.latestVersion, for the channel to know; may be empty.
    std::optional<plan::Version> accepted;  ///< What status says this channel has said.
};

/// What is known of a followed channel.
struct Standing {
    std::optional<plan::Version> accepted;
    std::optional<plan::Version> pending;  ///< Waits to be confirmed.
    std::string problem;                   ///< Why the last question has no answer.

    bool operator==(const Standing&) const = default;
};

/// Follows channels from construction to destruction, one question at a time: whoever looks at what
/// they said never waits for one that hangs.
class Poller {
  public:
    /// Which cluster asks; may say nothing. What it throws is the channel's problem.
    using ClusterId = std::function<std::string(const std::stop_token& stop)>;

    /// `changed` is rung when a channel's standing is another one. `cluster_id` is asked before
    /// each question, in the poller's thread.
    Poller(http::Client& web, Clock& clock, Pace pace, ClusterId cluster_id, Wakeup& changed);
    ~Poller();
    Poller(const Poller&) = delete;
    Poller& operator=(const Poller&) = delete;

    /// Follows exactly these, by Plan. `accepted` counts where a Plan's channel is new to this
    /// poller; where its URL has changed, everything begins anew.
    void follow(const std::map<std::string, Wanted>& plans);

    /// Absent for a Plan that is not followed.
    [[nodiscard]] std::optional<Standing> standing(const std::string& plan) const;

  private:
    struct Followed {
        Wanted wanted;
        Follow state;
    };
    struct Question {
        std::string plan;
        Wanted wanted;
        std::string etag;
    };

    void run(const std::stop_token& stop);
    std::optional<Question> next_question() const;
    void put(const Question& question, const std::stop_token& stop);
    /// Until the next question is due.
    [[nodiscard]] Duration idle() const;

    http::Client& web_;
    Clock& clock_;
    Pace pace_;
    ClusterId cluster_id_;
    Wakeup& changed_;
    Wakeup bell_;
    mutable std::mutex mutex_;
    std::map<std::string, Followed> followed_;  ///< By Plan.
    std::jthread thread_;
};

}  // namespace kua::channel
