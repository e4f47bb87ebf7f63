// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/election.hpp"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::coordinator {

namespace {

constexpr std::chrono::seconds kTtl{45};
constexpr Duration kRenew{15'000};
constexpr Duration kResign{2'000};

std::chrono::seconds ttl_of(const lock::Lock& lock) {
    return std::chrono::seconds(lock.coordinator->ttl_seconds);
}

}  // namespace

Election::Election(lock::Slots& slots, Clock& clock, std::function<void(bool)> on_role)
    : slots_(slots), clock_(clock), on_role_(std::move(on_role)) {}

Duration Election::turn(const lock::Lock& lock, std::optional<std::int64_t> nodes,
                        const std::stop_token& stop) {
    if (leading_ && clock_.monotonic() - renewed_ >= kTtl) {
        log::warning("no longer the coordinator: the lease could not be renewed");
        set_leading(false);
    }
    const bool stale = leading_ && is_stale(lock);
    if (!stale && held_by_another(lock)) {
        return follow(lock);
    }
    if (leading_ && !renewal_due(nodes)) {
        return std::chrono::ceil<Duration>(renewed_ + kRenew - clock_.monotonic());
    }
    const auto& self = slots_.settings().node;
    bool taken = false;
    Monotonic decided{};
    lock::CoordinatorLease lease;
    const auto seen = slots_.change(
        [&](const lock::Lock& current) -> std::map<std::string, std::optional<Json>> {
            taken = !held_by_another(current);
            if (!taken) {
                return {};
            }
            decided = clock_.monotonic();
            const auto& before = current.coordinator;
            lease.holder = self;
            lease.renewed = slots_.now_text();
            lease.acquired = before && before->holder == self ? before->acquired : lease.renewed;
            lease.ttl_seconds = static_cast<int>(kTtl.count());
            lease.nodes = nodes.value_or(before ? before->nodes : 0);
            return {{lock::kCoordinatorKey, to_json(lease)}};
        },
        stop, lock::Slots::Compare::own_keys);
    if (!taken) {
        return follow(seen);
    }
    // Only now: a renewal that failed has to be tried again soon.
    renewed_ = decided;
    written_ = lease.renewed;
    nodes_written_ = lease.nodes;
    if (!leading_) {
        log::info("this agent is the coordinator now");
        set_leading(true);
    }
    return kRenew;
}

bool Election::held_by_another(const lock::Lock& lock) const {
    return lock.coordinator && lock.coordinator->holder != slots_.settings().node &&
           !slots_.run_out(lock::kCoordinatorKey, ttl_of(lock));
}

bool Election::is_stale(const lock::Lock& copy) {
    if (copy.coordinator && copy.coordinator->holder == slots_.settings().node &&
        copy.coordinator->renewed == written_) {
        written_.clear();
    }
    return !written_.empty();
}

bool Election::renewal_due(std::optional<std::int64_t> nodes) const {
    constexpr std::int64_t kQuarter = 4;
    return clock_.monotonic() - renewed_ >= kRenew ||
           (nodes && std::abs(*nodes - nodes_written_) * kQuarter > nodes_written_);
}

Duration Election::follow(const lock::Lock& lock) {
    if (leading_) {
        log::info("no longer the coordinator: it is " + lock.coordinator->holder);
        set_leading(false);
    }
    return slots_.remaining(lock::kCoordinatorKey, ttl_of(lock)) + Duration(1);
}

void Election::set_leading(bool leading) {
    leading_ = leading;
    on_role_(leading);
}

void Election::resign() {
    if (!leading_) {
        return;
    }
    set_leading(false);
    // The agent is going: a short try is all there is time for, the lease does the rest.
    std::stop_source soon;
    try {
        const auto& self = slots_.settings().node;
        const std::jthread limit([&soon](const std::stop_token& done) {
            SystemClock().wait_for(kResign, done);
            soon.request_stop();
        });
        slots_.change(
            [&](const lock::Lock& lock) -> std::map<std::string, std::optional<Json>> {
                if (!lock.coordinator || lock.coordinator->holder != self) {
                    return {};
                }
                return {{lock::kCoordinatorKey, std::nullopt}};
            },
            soon.get_token(), lock::Slots::Compare::own_keys);
    } catch (const Error& error) {
        log::debug(format("the coordinator's lease was left to run out: {}", error.what()));
    }
}

}  // namespace kua::coordinator
