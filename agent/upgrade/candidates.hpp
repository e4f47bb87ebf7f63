// SPDX-License-Identifier: Apache-2.0
// Which Plans want this node now, and at what: chosen from what the watches know. No I/O.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/lock/lease.hpp"
#include "agent/plan/intent.hpp"
#include "agent/plan/plan.hpp"
#include "agent/plan/version.hpp"
#include "lib/kube/watch.hpp"

namespace kua::upgrade {

using Plans = std::map<std::string, plan::Plan>;  ///< By name.

/// By which what has happened to one intent of a Plan is remembered.
std::string key_of(const std::string& plan, const std::string& hash, const plan::Intent& intent);

/// A Plan that wants this node, at the version and hash computed from its spec.
struct Candidate {
    plan::Plan plan;
    plan::Version version;
    std::string latest;  ///< The version as SUC writes and hashes it (status.latestVersion).
    std::string hash;
    plan::Intent intent{};

    /// Tells one intent of a Plan from the next.
    [[nodiscard]] std::string key() const { return key_of(plan.name, hash, intent); }

    /// What is said of it in the lock.
    [[nodiscard]] lock::Subject subject() const {
        return {plan.name, hash, version.text(), intent};
    }
};

/// The Plans of a watch, read.
Plans read_plans(const kube::Snapshot& snapshot);

/// The Plans that select a node with these labels and are not applied to it yet, by name, which is
/// the order they are worked on in. A channel is resolved by the coordinator: its answer is taken
/// from the Plan's status.
std::vector<Candidate> candidates(const Plans& plans, const plan::Labels& labels);

/// True when nothing can be told of a Plan for now: it is there, and is invalid or not resolved.
/// What has failed for it is not over.
bool is_unclear(const Plans& plans, const std::string& name);

/// Plans that would take one node to different versions.
struct Conflict {
    std::set<std::string> plans;
    std::string text;  ///< Names them, their versions, and what to do.
};

/// The conflict among `wanted` for a node that runs `running`; absent when there is none. A Plan
/// that is paused, or whose version the node has reached or passed, pulls nowhere.
std::optional<Conflict> conflict_of(const std::vector<Candidate>& wanted,
                                    const plan::Version& running);

/// Why a Plan that selects the node can't be acted on, `Plan x: …`, the first by name; absent when
/// there is none. One that is somebody else's (`Unsupported`) is not mentioned.
std::optional<std::string> unusable_plan(const Plans& plans, const plan::Labels& labels);

}  // namespace kua::upgrade
