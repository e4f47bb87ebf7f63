// SPDX-License-Identifier: Apache-2.0
// Which agent is the coordinator: a lease in the lock.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/lock/slots.hpp"
#include "lib/base/clock.hpp"

namespace kua::coordinator {

/// One candidate. The lease lasts 45 s and is renewed every 15 s: whenever its holder dies, the
/// others see it run out, by their own clocks, soon enough for a new coordinator within a minute;
/// two renewals may fail before that.
class Election {
  public:
    /// `on_role` is told when this agent becomes coordinator and when it no longer is.
    Election(lock::Slots& slots, Clock& clock, std::function<void(bool)> on_role);

    [[nodiscard]] bool leading() const { return leading_; }

    /// Takes, keeps or leaves the lease, as `lock` (the watch's copy, which slots have observed)
    /// demands; returns how long until it has to be called again at the latest. A write is decided
    /// on that copy, which makes a renewal one request, and on a fresh one when that was stale.
    /// `nodes`, how many Nodes the cluster has, stands in the lease: it goes along with renewals,
    /// and causes one when it has changed by more than a quarter. Throws what the client throws; an
    /// agent that could not renew for as long as the lease lasts is no longer coordinator.
    Duration turn(const lock::Lock& lock, std::optional<std::int64_t> nodes,
                  const std::stop_token& stop);

    /// Gives the role back, so that the next one need not wait for the lease to run out. Tries for
    /// two seconds; throws nothing.
    void resign();

  private:
    /// True when another holds the lease, and it has not run out.
    [[nodiscard]] bool held_by_another(const lock::Lock& lock) const;
    /// True while the watch has not brought what was written last: its copy tells of the past.
    bool is_stale(const lock::Lock& copy);
    [[nodiscard]] bool renewal_due(std::optional<std::int64_t> nodes) const;
    Duration follow(const lock::Lock& lock);
    void set_leading(bool leading);

    lock::Slots& slots_;
    Clock& clock_;
    std::function<void(bool)> on_role_;
    bool leading_ = false;
    Monotonic renewed_;
    std::string written_;  ///< The lease's `renewed` as written last; empty once the watch had it.
    std::int64_t nodes_written_ = 0;
};

}  // namespace kua::coordinator
