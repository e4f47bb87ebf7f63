// SPDX-License-Identifier: Apache-2.0
// A Plan (upgrade.cattle.io/v1) as the agent understands it: read, judged, and never trusted
// further than its spec.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/plan/selector.hpp"
#include "agent/plan/window.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"

namespace kua::plan {

/// `spec.drain`; the fields and their defaults are SUC's, their meaning is `kubectl drain`'s.
struct DrainSpec {
    bool ignore_daemon_sets = true;
    bool delete_emptydir_data = true;
    bool force = false;
    bool disable_eviction = false;
    std::optional<int> grace_period;       ///< Seconds; absent or negative: the pod's own.
    Duration timeout{0};                   ///< Zero: no limit but the upgrade's deadline.
    int skip_wait_for_delete_timeout = 0;  ///< Seconds; zero: off.
    std::optional<Selector> pod_selector;
};

/// Why a Plan is left alone; `reason` is the condition's (SUC's `Error`, or our `Unsupported`).
struct Problem {
    std::string reason;
    std::string message;
};

struct Plan {
    std::string name;
    std::string ns;
    std::string uid;
    std::string resource_version;
    std::map<std::string, std::string> annotations;

    std::string version;  ///< spec.version as written; empty when the channel decides.
    std::string channel;
    std::int64_t concurrency = 0;  ///< 0 pauses the Plan; what is below counts as 0, as with SUC.
    std::optional<Selector> node_selector;
    std::string service_account_name;
    bool cordon = false;
    std::optional<DrainSpec> drain;
    std::string image;
    std::optional<std::string> prepare_plan;  ///< The Plan that `prepare` waits for.
    /// spec.jobActiveDeadlineSecs. Zero: none; absent, and a negative one too (SUC: job.New): the
    /// configuration's.
    std::optional<Duration> deadline;
    std::optional<Window> window;     ///< Absent: at any time.
    bool exclusive = false;           ///< Never at work beside another exclusive Plan.
    Duration post_complete_delay{0};  ///< From the uncordon to the label, at most a year.
    /// Written by people, with $(LATEST_VERSION) and $(LATEST_HASH) in it; see `complete_labels`.
    std::map<std::string, std::string> post_complete_labels;

    std::string status_latest_version;
    std::string status_latest_hash;
    std::vector<std::string> status_applying;
    bool status_complete = false;

    std::optional<Problem> problem;  ///< The spec is invalid or not for us: nodes stay untouched.
    Json object;                     ///< As it came, for the hash and the coordinator.
};

/// The label that says which hash of a Plan a node carries: `plan.upgrade.cattle.io/<plan>`.
std::string label_of(const std::string& plan);

/// Reads a Plan object. Never throws for what is in `spec`: a mistake there becomes `problem`, so
/// that it can be reported on the Plan itself.
Plan read_plan(const Json& object);

/// True when the Plan is for a node with these labels: spec.nodeSelector matches,
/// `kubernetes.io/hostname` exists, and the Plan's label is not `disabled` (SUC: NodeSelector,
/// SelectConcurrentNodes). Whether the node is up to date is not asked here.
bool selects(const Plan& plan, const Labels& labels);

/// True when the node carries the Plan's hash already.
bool applied(const Plan& plan, const Labels& labels, const std::string& hash);

/// spec.postCompleteLabels for a node that is done: `$(LATEST_VERSION)` and `$(LATEST_HASH)` in the
/// values replaced by the two given, as status.latestVersion (with `-` for `+`) and
/// status.latestHash have them. Throws Error{invalid} that names the label when Kubernetes would
/// refuse its key or its value; ask before the cordon.
std::map<std::string, std::string> complete_labels(const Plan& plan,
                                                   const std::string& latest_version,
                                                   const std::string& latest_hash);

}  // namespace kua::plan
