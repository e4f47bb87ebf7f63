// SPDX-License-Identifier: Apache-2.0
// How far a Plan is: which nodes it waits for, which are at work, which failed. No I/O.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "agent/lock/lease.hpp"
#include "agent/plan/plan.hpp"
#include "lib/base/json.hpp"

namespace kua::coordinator {

/// A node as the coordinator sees it.
struct NodeView {
    std::string name;
    plan::Labels labels;
    std::string kubelet_version;
    bool ready = false;
    bool control_plane = false;
    std::string since{};          ///< When `ready` changed last (RFC 3339); may be empty.
    bool announced = false;       ///< An agent has said that it serves the node.
    std::string left_cordoned{};  ///< The Plan whose upgrade found it cordoned; it still is.
};

NodeView view_of(const Json& node);

/// A key of the lock.
struct Holder {
    lock::Slot slot;
    bool silent = false;  ///< Its lease ran out: it counts no longer, and is reported.
};

struct Progress {
    std::vector<std::string> pending;   ///< Selected, and not at the hash; sorted, as all of these.
    std::vector<std::string> applying;  ///< Hold a slot that counts.
    std::vector<std::string> waiting;   ///< Pending, and at work neither now nor before it failed.
    std::vector<lock::Slot> failed;
    std::vector<lock::Slot> blocked;  ///< Reports of pending nodes about this very hash.
    std::vector<lock::Slot> silent;
    std::vector<lock::Slot> held_up;  ///< At work, and waiting for something for a while.
    bool selects_any = false;
};

/// `holders` are the Plan's that count now, that fell silent, and the nodes' Blocked reports.
Progress progress_of(const plan::Plan& plan, const std::string& hash,
                     const std::vector<NodeView>& nodes, const std::vector<Holder>& holders);

/// Is the lease of this key over?
using RunOut = std::function<bool(const std::string& key, const lock::Slot& slot)>;

/// Other Plans with spec.exclusive that have a node at work. Sorted.
std::vector<std::string> exclusive_beside(const lock::Lock& lock, const std::string& plan,
                                          const RunOut& run_out);

}  // namespace kua::coordinator
