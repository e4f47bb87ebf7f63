// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/follow.hpp"

#include <utility>

namespace kua::channel {

Follow::Follow(Pace pace, std::optional<plan::Version> accepted, Monotonic now)
    : pace_(pace), accepted_(std::move(accepted)), next_(now) {}

void Follow::answered(const Answer& answer, Monotonic now) {
    if (!answer.unchanged) {
        said_ = answer.version;
    }
    etag_ = answer.etag;
    problem_.clear();
    pause_.reset();
    next_ = now + pace_.poll;
    if (!accepted_ || said_ == accepted_ || said_ == pending_) {
        accepted_ = said_;
        pending_.reset();
        return;
    }
    pending_ = said_;
    next_ = now + pace_.confirm;
}

void Follow::failed(const std::string& why, Monotonic now) {
    problem_ = why;
    next_ = now + pause_.next();
}

}  // namespace kua::channel
