// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/candidates.hpp"

#include "agent/plan/hash.hpp"
#include "lib/base/format.hpp"

namespace kua::upgrade {

namespace {

/// The text that SUC hashes, however it is spelt (`1.31.4-k3s1`), as the coordinator does.
std::string latest_version(const plan::Plan& plan) {
    return plan.version.empty() ? plan.status_latest_version : plan::munge(plan.version);
}

std::optional<std::string> unusable(const plan::Plan& plan) {
    if (plan.problem) {
        return plan.problem->reason == "Error" ? std::optional(plan.problem->message)
                                               : std::nullopt;
    }
    if (!plan.version.empty()) {
        return std::nullopt;
    }
    if (plan.channel.empty()) {
        return "cannot resolve plan: missing channel and version";
    }
    return plan::parse_version(plan.status_latest_version)
               ? std::nullopt
               : std::optional<std::string>("its channel is not resolved yet");
}

}  // namespace

std::string key_of(const std::string& plan, const std::string& hash, const plan::Intent& intent) {
    return format("{} {} {} {}", plan, hash, intent.spec, intent.labels);
}

Plans read_plans(const kube::Snapshot& snapshot) {
    Plans plans;
    for (const auto& [name, object] : snapshot.objects) {
        plans.emplace(name, plan::read_plan(object));
    }
    return plans;
}

std::vector<Candidate> candidates(const Plans& plans, const plan::Labels& labels) {
    std::vector<Candidate> wanted;
    for (const auto& [name, plan] : plans) {
        if (plan.problem || !plan::selects(plan, labels)) {
            continue;
        }
        const auto latest = latest_version(plan);
        const auto version = plan::parse_version(latest);
        if (!version) {
            continue;
        }
        const auto hash = plan::latest_hash(plan, latest);
        if (!plan::applied(plan, labels, hash)) {
            wanted.push_back({plan, *version, latest, hash, plan::intent_of(plan, latest, labels)});
        }
    }
    return wanted;
}

bool is_unclear(const Plans& plans, const std::string& name) {
    const auto plan = plans.find(name);
    return plan != plans.end() &&
           (plan->second.problem || !plan::parse_version(latest_version(plan->second)));
}

std::optional<Conflict> conflict_of(const std::vector<Candidate>& wanted,
                                    const plan::Version& running) {
    Conflict conflict;
    std::set<plan::Version> versions;
    std::vector<std::string> named;
    for (const auto& candidate : wanted) {
        if (candidate.plan.concurrency > 0 && candidate.version > running) {
            versions.insert(candidate.version);
            conflict.plans.insert(candidate.plan.name);
            named.push_back(format("{} ({})", candidate.plan.name, candidate.version.text()));
        }
    }
    if (versions.size() < 2) {
        return std::nullopt;
    }
    conflict.text =
        format("the Plans {} want this node at different versions; let only one of them select it",
               join(named, ", "));
    return conflict;
}

std::optional<std::string> unusable_plan(const Plans& plans, const plan::Labels& labels) {
    for (const auto& [name, plan] : plans) {
        const auto reason = plan::selects(plan, labels) ? unusable(plan) : std::nullopt;
        if (reason) {
            return format("Plan {}: {}", name, *reason);
        }
    }
    return std::nullopt;
}

}  // namespace kua::upgrade
