// SPDX-License-Identifier: Apache-2.0
// When a channel's answer is believed, and when it is asked again. No I/O.
#pragma once

#include <optional>
#include <string>

#include "agent/channel/channel.hpp"
#include "lib/base/clock.hpp"

namespace kua::channel {

struct Pace {
    Duration poll{900'000};    ///< SUC's default for SYSTEM_UPGRADE_PLAN_POLLING_INTERVAL.
    Duration confirm{60'000};  ///< From an answer that is new until it is asked for again.
};

/// One channel followed for one Plan. The first answer is accepted at once, as SUC does; one that
/// differs from what was accepted only when the question asked `confirm` later is answered with the
/// same, so that a channel's hiccup upgrades nothing. Another answer meanwhile begins anew; that
/// accepted before ends the doubt. A failure keeps everything as it was and is tried again after a
/// jittered back-off from 5 s to 5 min. Times are the caller's monotonic ones.
class Follow {
  public:
    /// `accepted`: what this channel is known to have said, as the Plan's status has it; absent
    /// when nothing is known.
    Follow(Pace pace, std::optional<plan::Version> accepted, Monotonic now);

    /// When to ask next.
    [[nodiscard]] Monotonic next() const { return next_; }
    /// The last answer's ETag, for the next question.
    [[nodiscard]] const std::string& etag() const { return etag_; }

    /// What the Plan goes by; absent until there is a first answer.
    [[nodiscard]] const std::optional<plan::Version>& accepted() const { return accepted_; }
    /// An answer that has to be confirmed.
    [[nodiscard]] const std::optional<plan::Version>& pending() const { return pending_; }
    /// Why the last question has no answer; empty when it has one.
    [[nodiscard]] const std::string& problem() const { return problem_; }

    void answered(const Answer& answer, Monotonic now);
    void failed(const std::string& why, Monotonic now);

  private:
    Pace pace_;
    std::optional<plan::Version> accepted_;
    std::optional<plan::Version> pending_;
    std::optional<plan::Version> said_;  ///< The last answer, which the ETag belongs to.
    std::string etag_;
    std::string problem_;
    Monotonic next_;
    Backoff pause_{Duration(5'000), Duration(300'000)};
};

}  // namespace kua::channel
