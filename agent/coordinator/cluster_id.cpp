// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/cluster_id.hpp"

#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::coordinator {

namespace {

constexpr std::chrono::hours kAskAgain{1};

}  // namespace

std::string ClusterId::get(const std::stop_token& stop) {
    const std::lock_guard guard(mutex_);
    const auto now = clock_.monotonic();
    if (!known_.empty() || (refused_ && now - *refused_ < kAskAgain)) {
        return known_;
    }
    kube::Call call;
    call.path = "/api/v1/namespaces/kube-system";
    const auto answer = api_.call(call, stop);
    if (answer.ok()) {
        known_ = kube::uid_of(answer.body);
        return known_;
    }
    if (answer.may_pass) {
        return {};
    }
    if (!refused_) {
        log::info(
            format("channels are asked without X-SUC-Cluster-ID: {}",
                   kube::refusal_with_remedy(answer, "reading the Namespace kube-system").what()));
    }
    refused_ = now;
    return {};
}

}  // namespace kua::coordinator
