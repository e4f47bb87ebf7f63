// SPDX-License-Identifier: Apache-2.0
#include "lib/base/wakeup.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace kua {
namespace {

using namespace std::chrono_literals;

TEST(Wakeup, EndsAWaitThatBeganAfterIt) {
    Wakeup wakeup;
    wakeup.ring();
    wakeup.ring();
    wakeup.wait(1h, {});
    const auto before = std::chrono::steady_clock::now();
    wakeup.wait(5ms, {});
    EXPECT_GE(std::chrono::steady_clock::now() - before, 5ms) << "rings are counted";
}

TEST(Wakeup, EndsAWaitInAnotherThread) {
    Wakeup wakeup;
    const std::jthread waiter([&wakeup] { wakeup.wait(1h, {}); });
    wakeup.ring();
}

TEST(Wakeup, GivesWayToAStop) {
    Wakeup wakeup;
    std::stop_source source;
    const std::jthread waiter([&] { wakeup.wait(1h, source.get_token()); });
    source.request_stop();
}

}  // namespace
}  // namespace kua
