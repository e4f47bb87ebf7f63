// SPDX-License-Identifier: Apache-2.0
// What of a Plan and of a node decides how an upgrade goes: while it is the same, what has failed
// would fail again.
#pragma once

#include <string>

#include "agent/plan/plan.hpp"

namespace kua::plan {

/// Digests, to be compared for being equal only.
struct Intent {
    /// Of the version and the spec, without what tells only when and on how many nodes at once:
    /// concurrency, window, nodeSelector. Empty: from an agent that knew no intents.
    std::string spec;
    /// Of the node's labels that spec.nodeSelector names, and of the Plan's own.
    std::string labels;

    bool operator==(const Intent&) const = default;
};

/// The intent of a Plan at `latest_version` (as status.latestVersion has it) for a node with these
/// labels.
Intent intent_of(const Plan& plan, const std::string& latest_version, const Labels& labels);

}  // namespace kua::plan
