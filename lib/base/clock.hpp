// SPDX-License-Identifier: Apache-2.0
// Time as a seam: tests bring their own clock, everything else uses the system's.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>

namespace kua {

using Duration = std::chrono::milliseconds;
using Monotonic = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

/// Where time comes from. Leases and deadlines use `monotonic`, what people read uses `wall`.
class Clock {
  public:
    virtual ~Clock() = default;
    /// Never goes back and goes on while the host is suspended; not comparable between hosts or
    /// boots, nor with std::chrono::steady_clock::now(), which stands still meanwhile.
    [[nodiscard]] virtual Monotonic monotonic() const = 0;
    /// The host's idea of the time of day; may jump.
    [[nodiscard]] virtual WallTime wall() const = 0;
    /// Waits for `duration`; returns false at once when `stop` is requested.
    virtual bool wait_for(Duration duration, std::stop_token stop) = 0;
};

/// The system's clocks. Stateless. `monotonic` is CLOCK_BOOTTIME: a host that wakes from suspend (a
/// laptop, a virtual machine that was paused and told of it) must not take its own lease for fresh
/// when everybody else has seen it run out. A wait is measured by CLOCK_MONOTONIC, so time spent in
/// suspend makes it longer, never shorter: whoever waits for a deadline looks at `monotonic` again
/// afterwards, and finds it reached.
class SystemClock final : public Clock {
  public:
    [[nodiscard]] Monotonic monotonic() const override;
    [[nodiscard]] WallTime wall() const override;
    bool wait_for(Duration duration, std::stop_token stop) override;
};

/// `2026-11-23T12:00:00Z`, the form Kubernetes uses (metav1.Time): UTC, whole seconds.
std::string to_rfc3339(WallTime time);

/// The same with six decimals (metav1.MicroTime).
std::string to_rfc3339_micro(WallTime time);

/// Reads RFC 3339 with any offset and any number of decimals. Throws Error{invalid} otherwise.
WallTime parse_rfc3339(std::string_view text);

/// Reads a Go duration, as Kubernetes writes them (`1h30m`, `90s`, `1.5h`, `300ms`, `0`). Negative
/// values are allowed. Throws Error{invalid} naming the text otherwise.
Duration parse_duration(std::string_view text);

/// `4m5s`, `1.2s`, `350ms`: for people.
std::string to_text(Duration duration);

/// A random duration from zero to just under `most`.
Duration random_below(Duration most);

/// Exponential back-off with full jitter: each `next` is drawn from [base/2 … base], base doubling
/// up to `most`.
class Backoff {
  public:
    Backoff(Duration first, Duration most) : first_(first), most_(most), base_(first) {}
    /// The time to wait before the next try.
    Duration next();
    /// After a success.
    void reset() { base_ = first_; }

  private:
    Duration first_;
    Duration most_;
    Duration base_;
};

}  // namespace kua
