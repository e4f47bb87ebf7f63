// SPDX-License-Identifier: Apache-2.0
// How threads show that they go on, so that a watchdog can tell a hang from a wait.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>

#include "lib/base/clock.hpp"

namespace kua {

class Pulse;

/// The threads of a program that are watched. Outlives all of them.
class Pulses {
  public:
    using Now = std::function<Monotonic()>;

    /// A thread is overdue when it has shown no progress for `grace` longer than it had declared to
    /// wait. Time is std::chrono::steady_clock's, which stands still while the host is suspended:
    /// such time counts for nobody.
    explicit Pulses(
        Duration grace, Now now = [] { return std::chrono::steady_clock::now(); });

    struct Overdue {
        std::string name;
        Duration silent;  ///< Since it showed progress last.
    };

    /// The thread that is overdue the longest, if one is. Called every `look_every`, by one thread.
    /// A call that comes late tells that the whole process stood still (SIGSTOP, a frozen host):
    /// then all have `grace` to run again before they are judged.
    [[nodiscard]] std::optional<Overdue> look();

    [[nodiscard]] Duration look_every() const { return grace_ / 5; }

    /// The longest that a thread waits without showing progress in between, where it can.
    [[nodiscard]] Duration piece() const { return std::min(grace_, Duration(60'000)); }

    [[nodiscard]] Duration grace() const { return grace_; }
    [[nodiscard]] Monotonic now() const { return now_(); }

    /// For Pulse.
    void enter(const Pulse& pulse);
    /// For Pulse.
    void leave(const Pulse& pulse);

  private:
    const Duration grace_;
    const Now now_;
    std::optional<Monotonic> looked_;
    Monotonic excused_until_ = Monotonic::min();
    std::mutex mutex_;
    std::set<const Pulse*> pulses_;
};

/// Has the calling thread watched for as long as it stands, on that thread's stack.
///
/// Which one is the calling thread's is a thread-local variable. A pulse belongs to one thread by
/// its nature, and is felt where threads wait: at the bottom of many layers that have nothing else
/// to do with being watched, and that run in threads which nobody watches as well (the program's
/// other commands, tests). Nothing is shared by way of it, and what runs does not depend on it.
class Pulse {
  public:
    Pulse(Pulses& all, std::string name);
    ~Pulse();
    Pulse(const Pulse&) = delete;
    Pulse& operator=(const Pulse&) = delete;

    /// The calling thread's; null where it is not watched.
    [[nodiscard]] static Pulse* of_this_thread();

    [[nodiscard]] Pulses& all() const { return all_; }
    [[nodiscard]] const std::string& name() const { return name_; }
    /// When progress was shown last. From any thread.
    [[nodiscard]] Monotonic marked() const { return read(marked_); }
    /// From when on it is overdue. From any thread.
    [[nodiscard]] Monotonic due() const { return read(due_); }

    /// Shows progress.
    void mark();
    /// Shows progress, and declares that the next sign may take `longest`; gives what was declared
    /// before, which what goes on around it may need again.
    Monotonic declare(Duration longest);
    /// Shows progress, with what `declare` gave.
    void go_on(Monotonic declared);

  private:
    using Count = std::atomic<Monotonic::rep>;
    [[nodiscard]] static Monotonic read(const Count& count) {
        return Monotonic(Monotonic::duration(count.load(std::memory_order_relaxed)));
    }
    void show(Monotonic now);

    Pulses& all_;
    const std::string name_;
    Pulse* const before_;
    Monotonic declared_ = Monotonic::min();
    Count marked_{0};
    Count due_{0};
};

/// The calling thread shows progress: in a loop that goes over much data. Costs nothing worth
/// saving, and nothing at all where it is not watched.
void mark_progress();

/// How long a thread may wait before it has to show progress again; a minute where it is not
/// watched, so that it waits in the same way.
[[nodiscard]] Duration longest_piece();

/// For waiting until other threads end, which are watched themselves.
inline constexpr Duration kAsLongAsOthers = Duration::max();

/// While it stands, the calling thread may take `longest` to show progress: for what can't be cut
/// into pieces.
class Waiting {
  public:
    explicit Waiting(Duration longest);
    ~Waiting();
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

  private:
    Pulse* const pulse_;
    Monotonic before_ = Monotonic::min();
};

/// Waits for `longest` in pieces after each of which the calling thread shows progress: an hour's
/// sleep must not hide a hang for an hour. `wait(piece)` waits for so long at most, and says
/// whether what it waits for has come; it is called once at least. False when the time is over, or
/// `stop` is requested, which ends `wait`, too.
template <std::predicate<Duration> Wait>
bool wait_in_pieces(Duration longest, const std::stop_token& stop, Wait&& wait) {
    // "For ever" must not overflow when it is added to the time now.
    constexpr Duration kMost = std::chrono::hours(24 * 365);
    const auto end = std::chrono::steady_clock::now() + std::min(longest, kMost);
    while (true) {
        const auto left = std::chrono::ceil<Duration>(end - std::chrono::steady_clock::now());
        const auto piece = std::clamp(left, Duration::zero(), longest_piece());
        {
            const Waiting waiting(piece);
            if (wait(piece)) {
                return true;
            }
        }
        if (stop.stop_requested() || std::chrono::steady_clock::now() >= end) {
            return false;
        }
    }
}

/// What a thread runs that is watched from its beginning to its end; made by `watched`.
template <typename Body>
class Watched {
  public:
    Watched(Pulses* all, std::string name, Body body)
        : all_(all), name_(std::move(name)), body_(std::move(body)) {}

    template <typename... Arguments>
    requires std::invocable<Body&, Arguments...>
    void operator()(Arguments&&... arguments) {
        std::optional<Pulse> pulse;
        if (all_ != nullptr) {
            pulse.emplace(*all_, name_);
        }
        body_(std::forward<Arguments>(arguments)...);
    }

  private:
    Pulses* all_;
    std::string name_;
    Body body_;
};

/// `body`, for a thread that is watched by `all` under this name; just so where `all` is null. What
/// it throws is thrown.
template <typename Body>
Watched<Body> watched(Pulses* all, std::string name, Body body) {
    return {all, std::move(name), std::move(body)};
}

/// `body`, for a thread that is watched if the calling one is.
template <typename Body>
Watched<Body> watched(std::string name, Body body) {
    auto* const pulse = Pulse::of_this_thread();
    return {pulse == nullptr ? nullptr : &pulse->all(), std::move(name), std::move(body)};
}

}  // namespace kua
