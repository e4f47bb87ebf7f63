// SPDX-License-Identifier: Apache-2.0
// Tells what an API server refuses because it has just started from what it goes on refusing.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "lib/base/clock.hpp"

namespace kua::kube {

/// kube-apiserver answers before it has read what its answers depend on: its authorizers' caches
/// (Roles, bindings, Nodes; the defaults are written by poststarthook/rbac/bootstrap-roles) begin
/// empty, and until they are loaded everybody but system:masters gets 403. In the same way a custom
/// resource gets 404 until its CRD is loaded (poststarthook/crd-informer-synced; 1.20 and later
/// answer 503 for most of that time), and an admission plugin says 403 "not yet ready to handle
/// request". On k3s this was seen to last for one to five seconds.
///
/// So such an answer may pass by itself until a server that answers has given it to the same
/// request for 30 s without granting it in between (`kLasts`).
///
/// May be used from several threads at once.
class Refusals {
  public:
    static constexpr std::chrono::seconds kLasts{30};
    /// A first refusal within this time after an outage is taken for the start's.
    static constexpr std::chrono::seconds kAfterStart{60};

    enum class Verdict {
        lasts,     ///< Its last word: somebody has to do something.
        may_pass,  ///< New; nothing else tells that the server has just started.
        starting,  ///< New, and the server was away a moment ago or says that it starts.
    };

    /// The server was away, or another one may have taken its place: what is refused from now on is
    /// counted anew.
    void server_may_have_started(Monotonic now);
    /// `request` was not refused.
    void granted(const std::string& request);
    /// `request` was refused with these words.
    Verdict refused(const std::string& request, const std::string& said, Monotonic now);

  private:
    struct Refused {
        Monotonic first;
        Monotonic last;
        bool after_outage = false;
    };

    /// Requests for ever new objects (evictions) must not pile up.
    static constexpr std::size_t kMost = 200;

    std::mutex mutex_;
    std::optional<Monotonic> outage_;
    std::map<std::string, Refused> refused_;
};

}  // namespace kua::kube
