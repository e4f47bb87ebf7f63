// SPDX-License-Identifier: Apache-2.0
// Is system-upgrade-controller alive in this cluster? Two masters would fight, so nothing is
// touched while it is.
#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/lock/suc_lease.hpp"
#include "lib/base/clock.hpp"
#include "lib/kube/client.hpp"

namespace kua::lock {

/// Looks for SUC in the Plans' namespace, and in `cattle-system`, where Rancher installs it.
///
/// A SUC serves the Plans of its own namespace only (SYSTEM_UPGRADE_CONTROLLER_NAMESPACE), so
/// Rancher's never touches a Plan of ours. But the Plans that Rancher makes for it upgrade k3s on
/// the nodes of this cluster all the same, and neither of the two knows of the other's cordons,
/// drains and restarts: both count as a rival.
///
/// May be used by several threads; they wait for one another's request.
class Rival {
  public:
    /// `ns`: the Plans' namespace.
    Rival(kube::Client& client, Clock& clock, std::string ns);

    /// The first SUC that is alive or may be; what was told of last when there is none. One GET for
    /// a Lease at most, and none within 5 s of its last answer, whoever asks: a coordinator and a
    /// node's loop that both ask before every step cost 12 requests a minute for a Lease together,
    /// and an idle agent, which does not ask, none. The Lease in cattle-system is asked for only
    /// when the other one lets us act (or may not be read for now), and once a minute where it does
    /// not exist. Never sleeps. A Lease that RBAC does not let this node read counts as absent,
    /// with a warning in the log, once that lasts. Throws what the client throws, and for a 403
    /// that may pass by itself (kube::Refusals): then nothing is known.
    Sighting look(std::stop_token stop);

    /// Why nothing may be touched now and what a person can do about it, when SUC is alive or may
    /// be; absent when it is not. Costs and throws what `look` does.
    std::optional<std::string> alive(std::stop_token stop);

  private:
    std::mutex mutex_;
    std::vector<SucLease> leases_;
    std::size_t last_ = 0;  ///< The Lease that was last told of.
};

}  // namespace kua::lock
