// SPDX-License-Identifier: Apache-2.0
// Whose turn it is when a slot is free: an order that every agent computes alike, so that many
// waiting agents don't all reach for it at once. No I/O.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "agent/lock/lease.hpp"
#include "lib/base/clock.hpp"

namespace kua::lock {

/// A node's place in the order of a Plan: the first 16 hex digits of the SHA-256 over the Node's
/// UID, the Plan's UID and the Plan's latest hash, which is how SUC orders the nodes it picks
/// (SelectConcurrentNodes). Another hash is another order.
std::string rank_of(const std::string& node_uid, const std::string& plan_uid,
                    const std::string& hash);

/// Spaces the nodes' turns. No agent knows which others wait; it knows its own rank, the rank that
/// took the last slot, and how many nodes there are: ranks are spread evenly, so the distance
/// between the two tells how many are before it. A turn missed costs time, never safety: the lock
/// decides.
class Turns {
  public:
    /// Notes who holds slots now.
    void see(const Lock& lock);

    /// How long the node of `request` still lets others go first, where `nodes` take turns (zero:
    /// not known); zero when its turn has come. To be asked whenever `choose` says take, from the
    /// first moment it does.
    Duration wait(const Request& request, std::int64_t nodes, Monotonic now);

    /// `choose` says that there is no slot for this Plan.
    void none_free(const std::string& plan);

  private:
    struct Front {
        std::string hash;
        std::uint64_t rank = 0;
    };
    std::map<std::string, Front> fronts_;     ///< By Plan: the rank that took the last slot.
    std::set<std::string> seen_;              ///< Slots as they were taken.
    std::map<std::string, Monotonic> since_;  ///< By Plan: when a slot was first seen free.
};

}  // namespace kua::lock
