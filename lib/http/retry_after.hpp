// SPDX-License-Identifier: Apache-2.0
// A server that is busy says when to come again: Retry-After (RFC 9110, 10.2.3).
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "lib/base/clock.hpp"
#include "lib/http/client.hpp"

namespace kua::http {

/// How long from `now` an answer 429 or 503 asks to be left alone, at most a day; absent when it is
/// another answer, or does not say. A time of day is read by the server's own clock where it shows
/// it (Date).
std::optional<Duration> retry_after(const Response& answer, WallTime now);

/// Waits as servers ask, within reason; one for each request and its repetitions.
class Patience {
  public:
    /// `clock` must live as long.
    explicit Patience(Clock& clock) : clock_(clock) {}

    /// After each answer: true when it asked for a short wait, which is over now: send the request
    /// again. False when the answer is to be taken as it is. Throws Error{transient} naming URL,
    /// status and when to come again when that is far off (more than a minute) or was asked for
    /// too often (three times), Error{stopped}.
    bool waited_for(const Response& answer, const std::stop_token& stop);

  private:
    Clock& clock_;
    int waits_ = 0;
};

}  // namespace kua::http
