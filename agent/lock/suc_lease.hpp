// SPDX-License-Identifier: Apache-2.0
// One Lease of system-upgrade-controller's leader election, and what was seen of it.
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "lib/base/clock.hpp"
#include "lib/kube/client.hpp"

namespace kua::lock {

/// What one look at SUC's Lease told.
struct Sighting {
    enum class State {
        absent,   ///< Nobody renews it, or there is none.
        unknown,  ///< It has a holder, and this process has not watched it for long enough yet.
        alive,    ///< Its holder renewed it not longer than its duration ago.
    };
    State state = State::absent;
    std::string said;  ///< The same as long as nothing changes: no ages, no countdowns.
    /// When looking again can tell something else without anybody doing anything: the rest of the
    /// Lease's duration; an hour when absent (look before acting, not by this).
    Duration again{};
    std::string ns;  ///< The Lease's namespace, which is SUC's.
};

/// Looks at the Lease that SUC's leader election keeps. SUC, from v0.15.0 on and where
/// SYSTEM_UPGRADE_CONTROLLER_LEADER_ELECT is true (as in its manifests), runs wrangler's leader
/// election under its own name in its own namespace: Lease `system-upgrade-controller`, 45 s,
/// renewed every 2 s, holder emptied when it ends in an orderly way. (wrangler's older lock wrote
/// the same Lease beside a ConfigMap.) Older SUCs have no leader election and can't be seen here.
///
/// Judged by this host's monotonic clock since it first saw what stands in the Lease, never by
/// comparing its renewTime with a clock. leaseDurationSeconds is bounded to 5 … 60 s (15 when
/// absent), so that a Lease somebody left behind holds nothing up for longer.
///
/// For one thread at a time.
class SucLease {
  public:
    /// `when_missing`: for how long an answer counts that there is no such Lease, or that it can't
    /// be read. `remark` is added to what is said while somebody holds it; may be empty.
    SucLease(kube::Client& client, Clock& clock, std::string ns, Duration when_missing,
             std::string remark = {});

    /// One GET at most, and none within 5 s of the last answer. Never sleeps. A Lease that RBAC
    /// does not let this node read counts as absent, with a warning in the log, once that lasts.
    /// Throws what the client throws, and for a 403 that may pass by itself (kube::Refusals): then
    /// nothing is known.
    Sighting look(const std::stop_token& stop);

  private:
    /// What stands in a Lease that has a holder.
    struct Held {
        std::string holder;
        std::string renewed;  ///< Compared for being different only.
        std::string resource_version;
        Duration duration{};

        [[nodiscard]] bool same(const Held& other) const;
    };

    void ask(const std::stop_token& stop);
    void see(const kube::Answer& answer);
    [[nodiscard]] Sighting judge() const;
    [[nodiscard]] std::string name() const;

    kube::Client& client_;
    Clock& clock_;
    std::string ns_;
    Duration when_missing_;
    std::string remark_;
    std::optional<Monotonic> asked_;  ///< When the last answer came.
    bool missing_ = false;            ///< That answer had no Lease in it.
    /// An answer was understood before: what is in the Lease now and was not then is new.
    bool seen_before_ = false;
    bool renewed_ = false;      ///< `held_` was written while this process was looking.
    std::optional<Held> held_;  ///< Absent: no Lease, or no holder.
    Monotonic since_;           ///< When `held_` was first seen.
    std::string empty_;         ///< Why `held_` is absent.
    bool refusal_said_ = false;
};

}  // namespace kua::lock
