// SPDX-License-Identifier: Apache-2.0
#include "lib/base/pulse.hpp"

#include <algorithm>

namespace kua {

namespace {

constexpr Duration kUnwatchedPiece{60'000};
/// What is longer is for ever, and must not overflow.
constexpr Duration kForEver = std::chrono::hours(24 * 365);

thread_local Pulse* own_pulse = nullptr;

}  // namespace

Pulses::Pulses(Duration grace, Now now) : grace_(grace), now_(std::move(now)) {}

std::optional<Pulses::Overdue> Pulses::look() {
    const auto now = now_();
    // A stop that is too short to be seen here costs a thread less than half of its grace.
    if (looked_ && now - *looked_ > 2 * look_every()) {
        excused_until_ = now + grace_;
    }
    looked_ = now;
    if (now < excused_until_) {
        return std::nullopt;
    }
    const std::lock_guard guard(mutex_);
    const auto first =
        std::ranges::min_element(pulses_, {}, [](const Pulse* pulse) { return pulse->due(); });
    if (first == pulses_.end() || (*first)->due() > now) {
        return std::nullopt;
    }
    const auto silent = std::chrono::floor<Duration>(now - (*first)->marked());
    return Overdue{(*first)->name(), std::max(silent, Duration::zero())};
}

void Pulses::enter(const Pulse& pulse) {
    const std::lock_guard guard(mutex_);
    pulses_.insert(&pulse);
}

void Pulses::leave(const Pulse& pulse) {
    const std::lock_guard guard(mutex_);
    pulses_.erase(&pulse);
}

Pulse::Pulse(Pulses& all, std::string name)
    : all_(all), name_(std::move(name)), before_(std::exchange(own_pulse, this)) {
    mark();
    all_.enter(*this);
}

Pulse::~Pulse() {
    all_.leave(*this);
    own_pulse = before_;
}

Pulse* Pulse::of_this_thread() { return own_pulse; }

void Pulse::show(Monotonic now) {
    const auto due = std::max(declared_, now + all_.grace());
    marked_.store(now.time_since_epoch().count(), std::memory_order_relaxed);
    due_.store(due.time_since_epoch().count(), std::memory_order_relaxed);
}

void Pulse::mark() { show(all_.now()); }

Monotonic Pulse::declare(Duration longest) {
    const auto now = all_.now();
    const auto until = longest > kForEver ? Monotonic::max() : now + longest + all_.grace();
    const auto before = std::exchange(declared_, std::max(declared_, until));
    show(now);
    return before;
}

void Pulse::go_on(Monotonic declared) {
    declared_ = declared;
    mark();
}

void mark_progress() {
    if (auto* const pulse = Pulse::of_this_thread()) {
        pulse->mark();
    }
}

Duration longest_piece() {
    const auto* const pulse = Pulse::of_this_thread();
    return pulse == nullptr ? kUnwatchedPiece : pulse->all().piece();
}

Waiting::Waiting(Duration longest) : pulse_(Pulse::of_this_thread()) {
    if (pulse_ != nullptr) {
        before_ = pulse_->declare(longest);
    }
}

Waiting::~Waiting() {
    if (pulse_ != nullptr) {
        pulse_->go_on(before_);
    }
}

}  // namespace kua
