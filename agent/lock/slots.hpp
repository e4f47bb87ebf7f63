// SPDX-License-Identifier: Apache-2.0
// This node's slot in the cluster-wide lock: taken, renewed and given back by compare-and-swap on
// the ConfigMap.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "agent/lock/lease.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/error.hpp"
#include "lib/kube/client.hpp"

namespace kua::lock {

struct LockSettings {
    std::string ns = "system-upgrade";
    std::string config_map = "k3s-upgrade-agent";
    std::string node;
    Duration ttl{900'000};  ///< A slot's time to live.
};

/// What is said when the ConfigMap is not there, and what to do about it.
std::string missing(const LockSettings& settings);

/// The ConfigMap, read and written by compare-and-swap. What depends on all of it (taking a slot,
/// the coordinator's lease) is compared by resourceVersion: a 409 means read again, decide again,
/// after a jittered pause. What is about one key that exists (renewing, giving back) is compared
/// with that key's value, so that no other holder's write is in its way. May be used by several
/// threads.
class Slots {
  public:
    /// What a write must find unchanged.
    enum class Compare { everything, own_keys };

    Slots(kube::Client& client, Clock& clock, LockSettings settings);

    [[nodiscard]] const LockSettings& settings() const { return settings_; }

    /// Reads the lock. Throws Error{invalid} when the ConfigMap is missing ("apply deploy/"), and
    /// what the client throws.
    Lock read(std::stop_token stop);

    /// Tells the Observer of a ConfigMap that a watch has brought; the next change is decided on it
    /// first.
    void observe(const Lock& lock);

    /// The Observer's word on a key, by this host's monotonic clock.
    bool run_out(const std::string& key, Duration ttl);
    Duration remaining(const std::string& key, Duration ttl);

    /// Changes the lock: `decide` gets the newest state known here and returns the keys to set or
    /// (null) to remove; none means leave it, which is decided on a fresh read only. Called again
    /// with a newer state after each conflict. Returns the lock as `decide` last saw it. Throws
    /// what the client throws.
    Lock change(
        const std::function<std::map<std::string, std::optional<Json>>(const Lock&)>& decide,
        std::stop_token stop, Compare compare = Compare::everything);

    /// What `take` would decide on the lock as a watch has brought it; costs no request.
    Choice look(const Lock& lock, const Request& request);

    /// Takes a slot when `choose` allows it, or says why not; also when another node has taken one
    /// while this one was at it: then it is no longer this node's turn.
    Choice take(const Request& request, const std::string& version, std::stop_token stop);

    /// Removes this node's key of `plan`, whatever is in it; false when there was none. Safe to
    /// repeat.
    bool give_back(const std::string& plan, std::stop_token stop);

    /// The same for a slot that came to nothing: where a failure was tried again in it, it says so
    /// again, and stays. A failure is left as it is.
    bool step_back(const std::string& plan, const std::string& why, std::stop_token stop);

    /// Removes this node's key only while it is still what a watch has brought as `seen` (phase,
    /// hash and `acquired`): a watch may be behind what this node wrote. False when it is not;
    /// of what this process has just removed itself, that costs no request.
    bool give_back_seen(const Slot& seen, std::stop_token stop);

    /// Leaves a report under this node's key that occupies nothing (`Blocked`) or that keeps the
    /// slot (`Failed`), which stays what it was otherwise. What blocks a new try of a failure goes
    /// into its detail: the failure stays. Does nothing when the same is there already.
    void report(const Subject& about, std::string_view phase, const std::string& detail,
                std::stop_token stop);

    /// Now in the lock's own form (RFC 3339 with microseconds).
    [[nodiscard]] std::string now_text() const;

  private:
    std::optional<Lock> take_newest();
    void note_removed(const Slot& slot);
    bool was_removed(const Slot& slot);

    kube::Client& client_;
    Clock& clock_;
    LockSettings settings_;
    std::mutex mutex_;
    Observer observer_;
    std::optional<Lock> newest_;  ///< By a watch, a read, or the answer to a write.
    std::uint64_t newest_version_ = 0;
    struct Removed {
        std::string acquired;
        Monotonic at;
    };
    std::map<std::string, Removed> removed_;  ///< By Plan: this node's key that was removed last.
};

/// A slot that is held: renews itself from a thread of its own until it goes (which gives nothing
/// back: that is a step of the upgrade), and tells its holder when it may no longer rely on it.
class HeldSlot {
  public:
    /// `since` is when the write that took the slot was decided (Choice::decided): the lease runs
    /// from then.
    HeldSlot(Slots& slots, Clock& clock, std::string plan, std::string hash, std::string version,
             Monotonic since);
    ~HeldSlot();
    HeldSlot(const HeldSlot&) = delete;
    HeldSlot& operator=(const HeldSlot&) = delete;

    /// Writes phase and detail into the slot with the next renewal, which is asked for at once; but
    /// not more than once in three seconds: every agent hears of every write. `waits` as in a Slot.
    void show(std::string_view phase, const std::string& detail, bool waits = false);

    /// Fencing: throws Error{lost_lease} when the last successful renewal was sent longer than
    /// `fence_of` the time to live ago, by this host's monotonic clock, ever was, or when the slot
    /// is no longer in the lock.
    void ensure_held() const;

    /// Since when the lease runs: when the last renewal that succeeded was sent.
    [[nodiscard]] Monotonic since() const;

  private:
    void run(const std::stop_token& stop);
    void renew(const std::stop_token& stop);
    void renewal_failed(const std::exception& error, Duration wait);
    /// True when another agent may find this lease run out before a renewal that is sent now.
    [[nodiscard]] bool past_fence() const;

    Slots& slots_;
    Clock& clock_;
    std::string plan_;
    std::string hash_;
    std::string version_;
    mutable std::mutex mutex_;
    std::condition_variable_any changed_;
    std::string phase_ = "Acquired";
    std::string detail_;
    bool waits_ = false;
    bool dirty_ = false;
    bool lost_ = false;  ///< It is no longer in the lock.
    bool late_ = false;  ///< It was renewed only after the fence. Both are for good.
    Monotonic renewed_;
    Monotonic written_;  ///< When the slot was last written, by whatever it was.
    std::jthread thread_;
};

}  // namespace kua::lock
