// SPDX-License-Identifier: Apache-2.0
// Slots and leases as values: who holds what, for how long, and may I have one. No I/O.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/plan/intent.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"

namespace kua::lock {

/// What has failed on a node, and was for that intent.
struct Failure {
    std::string detail;
    plan::Intent intent;
};

/// One key of the lock's ConfigMap: what a node says of itself about a Plan.
struct Slot {
    std::string plan;
    std::string node;
    std::string phase;  ///< `Acquired`, `Cordoning`, `Draining`, …, `Failed`; `Blocked` is a report
                        ///< and occupies nothing.
    std::string hash;
    std::string version;
    std::string acquired;  ///< The holder's wall clock, for people.
    std::string renewed;   ///< Changes with every renewal; compared for being different only, never
                           ///< as a time.
    int ttl_seconds = 0;
    std::string detail;
    bool exclusive = false;  ///< Taken for a Plan with spec.exclusive.
    bool server = false;     ///< The holder runs the control plane ...
    bool etcd = false;       ///< ... and a member of its etcd.
    bool late = false;       ///< Was renewed when it may have run out: nothing may be begun on it.
    std::string rank{};      ///< The holder's, by `rank_of`; empty where it was not told.
    plan::Intent intent{};   ///< What it was taken for, or has failed.
    bool waits = false;      ///< `detail` says what keeps it, and that it has for a while.
    /// The failure that is tried again in this slot: it is one again when the new try comes to
    /// nothing.
    std::optional<Failure> retried{};
};

inline constexpr std::string_view kFailed = "Failed";
inline constexpr std::string_view kBlocked = "Blocked";

/// `<plan>.<node>`, with `_` for a dot in the Plan's name; where that is longer than a ConfigMap's
/// key may be (253), the end is replaced by a digest.
std::string slot_key(const std::string& plan, const std::string& node);

Json to_json(const Slot& slot);

/// Reads a key's value; absent for what is no slot (another key, or text somebody broke: it can't
/// be counted, and is reported by whoever reads it).
std::optional<Slot> read_slot(const std::string& text);

/// The coordinator's lease, the ConfigMap's key `coordinator`.
struct CoordinatorLease {
    std::string holder;
    std::string acquired;
    std::string renewed;
    int ttl_seconds = 0;
    /// How many nodes take turns: those that a Plan still wants (of the Plan that wants most), or
    /// all while none is wanted; zero when the coordinator has not counted them yet.
    std::int64_t nodes = 0;
};
inline constexpr auto kCoordinatorKey = "coordinator";

Json to_json(const CoordinatorLease& lease);
std::optional<CoordinatorLease> read_coordinator(const std::string& text);

/// Judges leases by the observer's own monotonic clock: a lease has run out when its `renewed` has
/// not changed for its time to live since this observer first saw that value. Clocks of two hosts
/// are never compared.
class Observer {
  public:
    /// Notes what is in the lock now. Keys that are gone are forgotten.
    void see(const std::map<std::string, std::string>& renewed_by_key, Monotonic now);

    /// True when the key's lease has run out; false for a key never seen.
    [[nodiscard]] bool run_out(const std::string& key, Duration ttl, Monotonic now) const;

    /// How long until it will have; zero when it has, or was never seen.
    [[nodiscard]] Duration remaining(const std::string& key, Duration ttl, Monotonic now) const;

  private:
    struct Seen {
        std::string renewed;
        Monotonic since;
    };
    std::map<std::string, Seen> seen_;
};

/// The lock's ConfigMap, read.
struct Lock {
    std::string resource_version;
    std::map<std::string, Slot> slots;  ///< By key.
    std::optional<CoordinatorLease> coordinator;
    std::vector<std::string> unreadable;       ///< Keys whose value is no slot.
    std::map<std::string, std::string> texts;  ///< The values of all keys, as they stand there.
};

Lock read_lock(const Json& config_map);

/// `renewed` of everything in the lock that has a lease, for Observer::see.
std::map<std::string, std::string> renewals(const Lock& lock);

/// How long after its last renewal a holder may still begin a disruptive step: two thirds of the
/// time to live. The third that remains is for the step to have begun, and for clocks that drift.
Duration fence_of(Duration ttl);

/// What a slot or a report in it is about.
struct Subject {
    std::string plan;
    std::string hash;
    std::string version;
    plan::Intent intent{};
};

/// True when a slot is for what its Plan says now: the hash is the same, or (where the Plan's
/// digest annotation names them) only fields that tell when and on how many nodes have changed.
bool is_present(const Slot& slot, const std::string& hash, const plan::Intent& intent);

/// True when a slot says that this very intent has failed on its node. Another intent is a new
/// chance for the node, in its own slot.
bool has_failed(const Slot& slot, const std::string& hash, const plan::Intent& intent);

/// True when the holder has fallen silent while it tried a failure again: a failure, then, which
/// nothing but a person ends.
bool is_lost_retry(const Slot& slot, bool run_out);

/// True when a slot counts against its Plan's concurrency: its lease has not run out, or what the
/// Plan says now has failed in it (a failure does not run out, nor does a new try of one; a changed
/// Plan is a new chance). Of `intent` only the spec's part counts. `run_out` is the Observer's word
/// on its key.
bool occupies(const Slot& slot, const std::string& hash, const plan::Intent& intent, bool run_out);

/// What a node asks of the lock.
struct Request {
    std::string plan;
    std::string node;
    std::string hash;
    std::int64_t concurrency = 0;
    bool exclusive = false;                  ///< spec.exclusive.
    bool server = false;                     ///< The node runs the control plane ...
    bool etcd = false;                       ///< ... and a member of its etcd.
    std::set<std::string> etcd_members{};    ///< Nodes; asked for where `etcd`.
    std::set<std::string> etcd_not_ready{};  ///< Those of them that are not Ready.
    std::string rank{};                      ///< By `rank_of`; goes into the slot.
    plan::Intent intent{};                   ///< Goes into the slot.
};

struct Choice {
    bool take = false;
    std::string why_not;  ///< "1 of 1 slots held: server-1 (Draining, 2 pods left)"
    Monotonic decided;    ///< When this was decided, by the clock given to `choose`.
    std::optional<Duration>
        again;  ///< When the first of the leases in the way runs out; absent when none will.
    bool stuck = false;  ///< No holder is waited for but a mend: etcd members that are not Ready.
};

/// May the node take a slot now? A slot of its own does not count: it may have run out for others
/// before this agent was started. Yes when this intent has not failed here, and
/// - fewer than `concurrency` are occupied by others,
/// - the Plan is not exclusive, or no other exclusive Plan is at work anywhere in the cluster
/// (SUC's
///   documentation says so; its code looks at each node by itself). A failure is not at work,
/// - no other server holds one of any Plan, or the Plan's concurrency asks for several at once,
/// - of the etcd members a majority stays up, counting those that are not Ready and those whose
///   nodes hold a slot. One member may always be taken down while all others are up: with one or
///   two members there is no other way.
Choice choose(const Lock& lock, const Request& request, const Observer& observer, Monotonic now);

}  // namespace kua::lock
