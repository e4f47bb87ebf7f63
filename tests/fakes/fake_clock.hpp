// SPDX-License-Identifier: Apache-2.0
// Stands in for the system's clocks: time stands still until a test or a wait moves it. Different
// from them: a wait takes no real time, monotonic and wall time only drift apart when a test makes
// them, and a wait without end is found out.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <mutex>
#include <utility>

#include "lib/base/clock.hpp"

namespace kua::test {

/// Begins at a monotonic time that is not zero and at 2026-01-01T00:00:00Z. May be used from
/// several threads.
class FakeClock final : public Clock {
  public:
    [[nodiscard]] Monotonic monotonic() const override {
        const std::lock_guard guard(mutex_);
        return monotonic_;
    }

    [[nodiscard]] WallTime wall() const override {
        const std::lock_guard guard(mutex_);
        return wall_;
    }

    bool wait_for(Duration duration, std::stop_token stop) override {
        std::function<void()> on_wait;
        {
            const std::lock_guard guard(mutex_);
            if (++waits_ > kMostWaits) {
                ADD_FAILURE() << "something waits and waits";
                return false;
            }
            monotonic_ += duration;
            wall_ += duration;
            on_wait = on_wait_;
        }
        if (on_wait) {
            on_wait();
        }
        return !stop.stop_requested();
    }

    /// Lets time pass.
    void advance(Duration duration) {
        const std::lock_guard guard(mutex_);
        monotonic_ += duration;
        wall_ += duration;
    }

    /// Somebody sets the time of day.
    void set_wall(WallTime wall) {
        const std::lock_guard guard(mutex_);
        wall_ = wall;
    }

    /// Called in every wait, in the waiting thread: where a test changes the world.
    void on_wait(std::function<void()> action) {
        const std::lock_guard guard(mutex_);
        on_wait_ = std::move(action);
    }

    [[nodiscard]] int waits() const {
        const std::lock_guard guard(mutex_);
        return waits_;
    }

  private:
    static constexpr int kMostWaits = 500;

    mutable std::mutex mutex_;
    Monotonic monotonic_{std::chrono::hours(1000)};
    WallTime wall_ = std::chrono::sys_days(std::chrono::year(2026) / 1 / 1);
    std::function<void()> on_wait_;
    int waits_ = 0;
};

}  // namespace kua::test
