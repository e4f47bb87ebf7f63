// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/refusals.hpp"

#include <algorithm>

namespace kua::kube {

namespace {

/// Kubernetes, plugin/pkg/auth/authorizer/rbac: a binding is loaded, and its role is not ("RBAC:
/// clusterrole.rbac.authorization.k8s.io "x" not found"); apiserver/pkg/admission: a plugin's
/// caches are not. A binding to a role that never comes says so for good, which is why this only
/// counts as long as a refusal is new.
bool names_the_start(const std::string& said) {
    return said.find(": RBAC: ") != std::string::npos ||
           said.find("not yet ready to handle request") != std::string::npos;
}

}  // namespace

void Refusals::server_may_have_started(Monotonic now) {
    const std::lock_guard lock(mutex_);
    outage_ = now;
    refused_.clear();
}

void Refusals::granted(const std::string& request) {
    const std::lock_guard lock(mutex_);
    refused_.erase(request);
}

Refusals::Verdict Refusals::refused(const std::string& request, const std::string& said,
                                    Monotonic now) {
    const std::lock_guard lock(mutex_);
    const bool after_outage = outage_ && now - *outage_ < kAfterStart;
    if (refused_.size() >= kMost && !refused_.contains(request)) {
        refused_.erase(std::ranges::min_element(
            refused_, {}, [](const auto& entry) { return entry.second.last; }));
    }
    auto& entry = refused_.try_emplace(request, Refused{now, now, after_outage}).first->second;
    entry.last = now;
    if (now - entry.first >= kLasts) return Verdict::lasts;
    return entry.after_outage || names_the_start(said) ? Verdict::starting : Verdict::may_pass;
}

}  // namespace kua::kube
