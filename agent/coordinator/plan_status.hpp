// SPDX-License-Identifier: Apache-2.0
// What a Plan's status should say, computed from what is known. No I/O.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/coordinator/waiting.hpp"
#include "agent/plan/plan.hpp"
#include "agent/plan/version.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"

namespace kua::coordinator {

/// For a Plan with spec.version, and for one with neither version nor channel; a channel's answer
/// comes from elsewhere.
std::optional<Resolution> resolve_from_spec(const plan::Plan& plan);

/// What the Plan's channel has said, as status tells it (LatestResolved=True, reason Channel).
std::optional<plan::Version> resolved_before(const plan::Plan& plan);

/// An Event to be made about the Plan.
struct Notice {
    std::string type;  ///< `Normal`, `Warning`
    std::string reason;
    std::string message;

    bool operator==(const Notice&) const = default;
};

/// A state that is to be told of once while it lasts.
struct Lasting {
    std::string key;  ///< The same as long as it lasts.
    Notice notice;
    bool said = false;  ///< By what the Plan's status holds, a coordinator before has told it.
};

struct Verdict {
    Json status;  ///< The whole status object.
    bool changed = false;
    std::int64_t pending = 0;      ///< Nodes that are selected and not at the hash.
    std::string untaken{};         ///< Where is_untaken: the nodes at work, and those that wait.
    std::vector<Notice> notices;   ///< SUC's Events for what changed.
    std::vector<Lasting> lasting;  ///< Nodes done, failed, silent; a channel that is away.
};

/// Computes latestVersion, latestHash, applying (sorted) and the conditions LatestResolved,
/// Validated, Complete, beginning from the status the Plan has; times change only where something
/// else does.
///
/// SUC's conditions, reasons and Events (handlePlans, handleJobs), but for these differences:
/// - Complete has reasons of ours beside NotReady, SyncJob, Waiting, JobFailed and Complete:
///   Silent, Blocked, Paused; its message holds every reason for waiting, where SUC's is empty but
///   for JobFailed and Waiting. Reason Resolved, which SUC shows for a moment, is never seen.
/// - Validated=False has the reason Unsupported for somebody else's Plan. ValidateFailed and
///   ResolveFailed are said again when their message changes.
/// - LatestResolved of an invalid Plan is judged from spec.version, and left alone for a channel.
///   A channel that is away does not un-resolve what it said before.
/// - `applying` and SyncJob name the nodes that hold a slot, not those that may take one.
/// - JobFailed and JobComplete name the node only, there being no Job; JobCompleteWaiting and
///   SelectNodesFailed don't exist.
/// - Waiting is said for an exclusive Plan and for spec.prepare too, which SUC's Job waits for.
Verdict judge(const plan::Plan& plan, const Resolution& resolution,
              const std::vector<NodeView>& nodes, const Situation& situation, WallTime now);

}  // namespace kua::coordinator
