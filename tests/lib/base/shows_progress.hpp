// SPDX-License-Identifier: Apache-2.0
// A wait that may be long must not look like a hang.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stop_token>
#include <thread>

#include "lib/base/pulse.hpp"

namespace kua::test {

/// Runs `wait`, which goes on until it is stopped, in a thread that is watched with so little grace
/// that progress is shown every few milliseconds; returns when it was. Hangs where it is not.
template <typename Wait>
void expect_progress(Wait wait) {
    constexpr int kSigns = 20;
    std::atomic<int> asked = 0;
    Pulses pulses(Duration(1), [&asked] {
        ++asked;
        asked.notify_all();
        return std::chrono::steady_clock::now();
    });
    std::jthread waiter(watched(&pulses, "waiter", [&wait](const std::stop_token& stop) {
        EXPECT_NE(Pulse::of_this_thread(), nullptr);
        wait(stop);
    }));
    for (int seen = asked; seen < kSigns; seen = asked) {
        asked.wait(seen);
    }
    waiter.request_stop();
}

/// Waits without showing progress: for a thread whose children are to show it.
inline void wait_for_stop(const std::stop_token& stop) {
    std::promise<void> stopped;
    const std::stop_callback tell(stop, [&stopped] { stopped.set_value(); });
    stopped.get_future().wait();
}

}  // namespace kua::test
