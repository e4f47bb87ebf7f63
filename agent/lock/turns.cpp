// SPDX-License-Identifier: Apache-2.0
#include "agent/lock/turns.hpp"

#include <algorithm>
#include <charconv>

#include "lib/crypto/digest.hpp"

namespace kua::lock {

namespace {

constexpr std::size_t kRankDigits = 16;
constexpr int kHex = 16;
/// Long enough for a slot that was taken to be seen by the next in turn (a write and a watch event)
/// before it reaches for one itself.
constexpr Duration kStep{80};
/// Where the front is not known, or many nodes before this one are not there.
constexpr Duration kLongest{8'000};
/// Where nobody has counted the nodes yet.
constexpr std::int64_t kSomeNodes = 20;
constexpr std::uint64_t kHalf = 1ULL << 63U;
constexpr double kWhole = 2.0 * static_cast<double>(kHalf);

std::uint64_t number_of(const std::string& rank) {
    std::uint64_t number = 0;
    std::from_chars(rank.data(), rank.data() + std::min(rank.size(), kRankDigits), number, kHex);
    return number;
}

}  // namespace

std::string rank_of(const std::string& node_uid, const std::string& plan_uid,
                    const std::string& hash) {
    return crypto::hex_digest(crypto::Algorithm::sha256, node_uid + plan_uid + hash)
        .substr(0, kRankDigits);
}

void Turns::see(const Lock& lock) {
    std::set<std::string> present;
    for (const auto& [key, slot] : lock.slots) {
        if (slot.phase == kBlocked || slot.rank.empty()) {
            continue;
        }
        const auto taken = key + " " + slot.acquired;
        present.insert(taken);
        if (seen_.contains(taken)) {
            continue;
        }
        const auto rank = number_of(slot.rank);
        // Whoever is next waits for its step from now on, however long a slot has been free.
        since_.erase(slot.plan);
        auto& front = fronts_[slot.plan];
        // One from behind the front was held up before: it doesn't turn the order back.
        if (front.hash != slot.hash || rank - front.rank < kHalf) {
            front = {slot.hash, rank};
        }
    }
    seen_ = std::move(present);
}

Duration Turns::wait(const Request& request, std::int64_t nodes, Monotonic now) {
    const auto since = since_.try_emplace(request.plan, now).first->second;
    const auto front = fronts_.find(request.plan);
    const auto begin =
        front != fronts_.end() && front->second.hash == request.hash ? front->second.rank : 0;
    // Unsigned: those behind the front come after all others.
    const auto share = static_cast<double>(number_of(request.rank) - begin) / kWhole;
    const auto before = share * static_cast<double>((nodes > 0 ? nodes : kSomeNodes) - 1);
    const auto turn = std::min(
        Duration(static_cast<std::int64_t>(before * static_cast<double>(kStep.count()))), kLongest);
    return std::max(Duration::zero(), turn - std::chrono::duration_cast<Duration>(now - since));
}

void Turns::none_free(const std::string& plan) { since_.erase(plan); }

}  // namespace kua::lock
