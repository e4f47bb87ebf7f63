// SPDX-License-Identifier: Apache-2.0
// Lets one thread wait for "something changed" that other threads announce.
#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>

#include "lib/base/clock.hpp"
#include "lib/base/pulse.hpp"

namespace kua {

/// A bell: rings are not counted, and one that came before the wait ends it at once.
class Wakeup {
  public:
    void ring() {
        {
            const std::lock_guard guard(mutex_);
            ringing_ = true;
        }
        rung_.notify_all();
    }

    /// Waits to be rung, for `longest`, or for `stop`.
    void wait(Duration longest, std::stop_token stop) {
        std::unique_lock guard(mutex_);
        wait_in_pieces(longest, stop, [&](Duration piece) {
            return rung_.wait_for(guard, stop, piece, [this] { return ringing_; });
        });
        ringing_ = false;
    }

  private:
    std::mutex mutex_;
    std::condition_variable_any rung_;
    bool ringing_ = false;
};

}  // namespace kua
