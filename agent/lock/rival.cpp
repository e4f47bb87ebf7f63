// SPDX-License-Identifier: Apache-2.0
#include "agent/lock/rival.hpp"

#include <optional>
#include <utility>

#include "lib/base/format.hpp"

namespace kua::lock {

namespace {

constexpr auto kRanchers = "cattle-system";
/// What SucLease keeps to as well.
constexpr Duration kOften{5'000};
/// A SUC that is installed there needs longer than this until its first Job runs.
constexpr Duration kSeldom{60'000};

}  // namespace

Rival::Rival(kube::Client& client, Clock& clock, std::string ns) {
    leases_.emplace_back(client, clock, ns, kOften);
    if (ns != kRanchers) {
        leases_.emplace_back(client, clock, kRanchers, kSeldom,
                             format("; it is Rancher's, and serves Plans in {}, which may be for "
                                    "the same nodes as those in {}",
                                    kRanchers, ns));
    }
}

Sighting Rival::look(std::stop_token stop) {
    const std::lock_guard guard(mutex_);
    std::vector<Sighting> absent;
    std::optional<Error> unknown;
    for (std::size_t i = 0; i < leases_.size(); ++i) {
        try {
            auto sighting = leases_[i].look(stop);
            if (sighting.state != Sighting::State::absent) {
                last_ = i;
                return sighting;
            }
            absent.push_back(std::move(sighting));
        } catch (const Error& error) {
            if (!kube::is_passing(error.what())) {
                throw;
            }
            // The others are asked all the same, so that what lasts is known of all at once.
            unknown = error;
        }
    }
    if (unknown) {
        throw Error(*unknown);
    }
    return absent[last_];
}

std::optional<std::string> Rival::alive(std::stop_token stop) {
    const auto sighting = look(std::move(stop));
    if (sighting.state == Sighting::State::absent) {
        return std::nullopt;
    }
    return format(
        "{}; scale its Deployment to zero: kubectl -n {} scale deployment "
        "system-upgrade-controller --replicas=0; k3s-upgrade-agent touches nothing meanwhile",
        sighting.said, sighting.ns);
}

}  // namespace kua::lock
