// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/plan_status.hpp"

#include <algorithm>

#include "agent/coordinator/conditions.hpp"
#include "agent/plan/hash.hpp"
#include "lib/base/format.hpp"

namespace kua::coordinator {

namespace {

constexpr std::size_t kMostMessage = 1000;
constexpr auto kNoNode = "no node matches spec.nodeSelector";

bool has(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

void judge_validity(const plan::Plan& plan, Conditions& conditions, std::vector<Notice>& notices) {
    if (plan.problem) {
        if (conditions.set("Validated", false, plan.problem->reason, plan.problem->message)) {
            notices.push_back({"Warning", "ValidateFailed",
                               format("Failed to validate plan: {}", plan.problem->message)});
        }
    } else if (conditions.set("Validated", true, "PlanIsValid", "")) {
        notices.push_back({"Normal", "Validated", "Plan is valid"});
    }
}

std::string channel_failure(const std::string& why) {
    return format("Failed to resolve latest version from Spec.Channel: {}", why);
}

void judge_resolution(const plan::Plan& plan, const Resolution& resolution, Json& status,
                      Conditions& conditions, std::vector<Notice>& notices) {
    if (resolution.latest_version.empty()) {
        if (!resolution.reason.empty() &&
            conditions.set("LatestResolved", false, resolution.reason, resolution.message)) {
            notices.push_back(
                {"Warning", "ResolveFailed",
                 plan.channel.empty() ? resolution.message : channel_failure(resolution.message)});
        }
        return;
    }
    const bool is_new = conditions.set("LatestResolved", true, resolution.reason, "");
    if (is_new || plan.status_latest_version != resolution.latest_version) {
        notices.push_back({"Normal", "Resolved",
                           format("Resolved latest version from Spec.{}: {}", resolution.reason,
                                  resolution.latest_version)});
    }
    status["latestVersion"] = resolution.latest_version;
    if (!plan.problem) {
        status["latestHash"] = plan::latest_hash(plan, resolution.latest_version);
    }
}

/// SUC's completed Jobs: nodes that carry the hash. The lock and the Nodes come by different
/// watches, so that neither tells in which order label and slot have changed.
void add_completed(const plan::Plan& plan, const std::string& hash,
                   const std::vector<NodeView>& nodes, std::vector<Lasting>& lasting) {
    for (const auto& node : nodes) {
        if (plan::applied(plan, node.labels, hash)) {
            lasting.push_back(
                {format("done {} {}", node.name, hash),
                 {"Normal", "JobComplete", format("Job completed on Node {}", node.name)},
                 !has(plan.status_applying, node.name)});
        }
    }
}

void add_lasting(const Progress& progress, const std::string& said, std::vector<Lasting>& lasting) {
    const auto add = [&](const lock::Slot& slot, const std::string& kind, const std::string& line,
                         Notice notice) {
        lasting.push_back(
            {format("{} {} {} {} {}", kind, slot.node, slot.hash, slot.acquired, slot.renewed),
             std::move(notice), said.find(line) != std::string::npos});
    };
    for (const auto& slot : progress.failed) {
        add(slot, "failed", failure(slot),
            {"Warning", "JobFailed", format("Job failed on Node {}: {}", slot.node, slot.detail)});
    }
    for (const auto& slot : progress.silent) {
        add(slot, "silent", silence(slot), {"Warning", "HolderSilent", silence(slot)});
    }
}

void judge_progress(const std::vector<Reason>& why, const std::string& version,
                    const std::string& hash, const Progress& progress, const Situation& situation,
                    Conditions& conditions, std::vector<Notice>& notices) {
    std::vector<std::string> lines;
    for (const auto& [reason, message] : why) {
        lines.push_back(message);
    }
    if (!progress.selects_any) {
        lines.emplace_back(kNoNode);
    }
    const auto message = excerpt(join(lines, "; "), kMostMessage);
    if (progress.pending.empty() && progress.applying.empty()) {
        const bool was_complete = conditions.field("Complete", "status") == "True";
        conditions.set("Complete", true, "Complete", message);
        if (!was_complete) {
            notices.push_back({"Normal", "Complete",
                               progress.selects_any
                                   ? format("Jobs complete for version {}. Hash: {}", version, hash)
                                   : std::string(kNoNode)});
        }
        return;
    }
    const auto reason = why.empty() ? std::string("SyncJob") : why.front().reason;
    const auto before = conditions.field("Complete", "reason");
    conditions.set("Complete", false, reason, message);
    if (reason == "Waiting" && before != "Waiting") {
        notices.push_back(
            {"Normal", "Waiting",
             situation.shut
                 ? format("Waiting for start of Spec.Window to sync Jobs for version {}. Hash: {}",
                          version, hash)
                 : message});
    }
}

}  // namespace

std::optional<Resolution> resolve_from_spec(const plan::Plan& plan) {
    if (!plan.version.empty()) {
        return Resolution{plan::munge(plan.version), "Version", {}};
    }
    if (plan.channel.empty()) {
        return Resolution{{}, "Error", "cannot resolve plan: missing channel and version"};
    }
    return std::nullopt;
}

std::optional<plan::Version> resolved_before(const plan::Plan& plan) {
    const auto* status = find(plan.object, {"status"});
    const Conditions conditions(status != nullptr ? *status : Json(), {});
    if (conditions.field("LatestResolved", "status") != "True" ||
        conditions.field("LatestResolved", "reason") != "Channel") {
        return std::nullopt;
    }
    return plan::parse_version(plan.status_latest_version);
}

Verdict judge(const plan::Plan& plan, const Resolution& resolution,
              const std::vector<NodeView>& nodes, const Situation& situation, WallTime now) {
    Verdict verdict;
    const auto* present = find(plan.object, {"status"});
    const Json before = present != nullptr && present->is_object() ? *present : Json::object();
    auto& status = verdict.status;
    status = before;
    Conditions conditions(before, now);
    auto& notices = verdict.notices;
    judge_validity(plan, conditions, notices);
    judge_resolution(plan, resolution, status, conditions, notices);
    if (!resolution.latest_version.empty() && !resolution.message.empty()) {
        verdict.lasting.push_back(
            {"channel", {"Warning", "ResolveFailed", channel_failure(resolution.message)}});
    }
    if (plan.problem || resolution.latest_version.empty()) {
        status.erase("applying");
        conditions.set("Complete", false, "NotReady", "the Plan is not both valid and resolved");
    } else {
        const auto hash = status["latestHash"].get<std::string>();
        const auto progress = progress_of(plan, hash, nodes, situation.holders);
        verdict.pending = static_cast<std::int64_t>(progress.pending.size());
        add_completed(plan, hash, nodes, verdict.lasting);
        if (progress.applying.empty()) {
            status.erase("applying");
        } else {
            if (progress.applying != plan.status_applying) {
                notices.push_back(
                    {"Normal", "SyncJob",
                     format("Jobs synced for version {} on Nodes {}. Hash: {}",
                            resolution.latest_version, join(progress.applying, ","), hash)});
            }
            status["applying"] = progress.applying;
        }
        add_lasting(progress, conditions.field("Complete", "message"), verdict.lasting);
        const auto why = reasons(plan, resolution, nodes, progress, situation);
        if (is_untaken(plan, nodes, progress, why)) {
            verdict.untaken = format("{}: {}: {}", hash, join(progress.applying, ","),
                                     join(progress.waiting, ","));
        }
        judge_progress(why, resolution.latest_version, hash, progress, situation, conditions,
                       notices);
    }
    status["conditions"] = conditions.list();
    verdict.changed = status != before;
    return verdict;
}

}  // namespace kua::coordinator
