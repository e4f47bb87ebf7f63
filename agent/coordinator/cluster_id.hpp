// SPDX-License-Identifier: Apache-2.0
// Which cluster this is, for the channels that are asked.
#pragma once

#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "lib/base/clock.hpp"
#include "lib/kube/client.hpp"

namespace kua::coordinator {

/// The UID of the namespace kube-system, by which SUC, too, identifies a cluster to a channel
/// (Controller.Start; the header is X-SUC-Cluster-ID). May be used by several threads.
class ClusterId {
  public:
    ClusterId(kube::Client& api, Clock& clock) : api_(api), clock_(clock) {}

    /// Asks once, because it never changes. Empty where RBAC does not let this node read the
    /// namespace: channels do without. That is asked again with the next call until it lasts
    /// (kube::Refusals); then it is logged once, and asked again after an hour. Throws what the
    /// client throws.
    std::string get(const std::stop_token& stop);

  private:
    kube::Client& api_;
    Clock& clock_;
    std::mutex mutex_;
    std::string known_;
    std::optional<Monotonic> refused_;
};

}  // namespace kua::coordinator
