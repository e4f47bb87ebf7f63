// SPDX-License-Identifier: Apache-2.0
#include "agent/lock/suc_lease.hpp"

#include <algorithm>
#include <utility>

#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::lock {

namespace {

constexpr auto kName = "system-upgrade-controller";
constexpr Duration kFresh{5'000};
constexpr Duration kLongSleep{3'600'000};
constexpr std::int64_t kShortestLease = 5;
constexpr std::int64_t kLongestLease = 60;
constexpr std::int64_t kUsualLease = 15;  // client-go's default.
constexpr std::size_t kMostOfName = 100;
constexpr int kForbidden = 403;
constexpr int kNotFound = 404;

}  // namespace

SucLease::SucLease(kube::Client& client, Clock& clock, std::string ns, Duration when_missing,
                   std::string remark)
    : client_(client),
      clock_(clock),
      ns_(std::move(ns)),
      when_missing_(when_missing),
      remark_(std::move(remark)) {}

Sighting SucLease::look(const std::stop_token& stop) {
    const auto fresh = missing_ ? when_missing_ : kFresh;
    if (!asked_ || clock_.monotonic() - *asked_ >= fresh) {
        ask(stop);
    }
    return judge();
}

void SucLease::ask(const std::stop_token& stop) {
    kube::Call call;
    call.path = format("/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}", ns_, kName);
    const auto answer = client_.call(call, stop);
    if (answer.may_pass) {
        throw kube::refusal_with_remedy(answer, "reading the Lease " + name());
    }
    if (!answer.ok() && answer.status != kNotFound && answer.status != kForbidden) {
        throw kube::refusal(answer, "reading the Lease " + name());
    }
    see(answer);
    asked_ = clock_.monotonic();
    missing_ = !answer.ok();
}

void SucLease::see(const kube::Answer& answer) {
    if (answer.status == kForbidden) {
        if (!refusal_said_) {
            log::warning(
                format("can't tell whether {} is alive, and take it that it is not: {}", kName,
                       kube::refusal_with_remedy(answer, "reading the Lease " + name()).what()));
        }
        refusal_said_ = true;
        // Not seen, so that what stands there once it can be read is no news.
        seen_before_ = false;
        held_.reset();
        empty_ = format("the Lease {} can't be read", name());
        return;
    }
    refusal_said_ = false;
    const bool seen_before = std::exchange(seen_before_, true);
    Held now;
    now.holder = string_at(answer.body, {"spec", "holderIdentity"});
    if (answer.status == kNotFound || now.holder.empty()) {
        held_.reset();
        empty_ = answer.status == kNotFound ? format("there is no Lease {}", name())
                                            : format("the Lease {} has no holder", name());
        return;
    }
    now.renewed = string_at(answer.body, {"spec", "renewTime"});
    now.resource_version = string_at(answer.body, {"metadata", "resourceVersion"});
    now.duration = std::chrono::seconds(
        std::clamp(int_at(answer.body, {"spec", "leaseDurationSeconds"}).value_or(kUsualLease),
                   kShortestLease, kLongestLease));
    if (held_ && held_->same(now)) {
        return;
    }
    held_ = std::move(now);
    renewed_ = seen_before;
    since_ = clock_.monotonic();
}

Sighting SucLease::judge() const {
    if (!held_) {
        return {Sighting::State::absent, empty_, kLongSleep, ns_};
    }
    const auto holder = excerpt(held_->holder, kMostOfName);
    const auto age = clock_.monotonic() - since_;
    if (age >= held_->duration) {
        return {Sighting::State::absent,
                format("{} no longer renews its Lease {} (holder {})", kName, name(), holder),
                kLongSleep, ns_};
    }
    const auto again = std::chrono::ceil<Duration>(held_->duration - age);
    if (renewed_) {
        return {Sighting::State::alive,
                format("{} holds its Lease {} (holder {}) and renews it{}", kName, name(), holder,
                       remark_),
                again, ns_};
    }
    return {Sighting::State::unknown,
            format("{} holds its Lease {} (holder {}); whether it still renews it is known within "
                   "a minute{}",
                   kName, name(), holder, remark_),
            again, ns_};
}

std::string SucLease::name() const { return format("{}/{}", ns_, kName); }

bool SucLease::Held::same(const Held& other) const {
    return holder == other.holder && renewed == other.renewed &&
           resource_version == other.resource_version;
}

}  // namespace kua::lock
