// SPDX-License-Identifier: Apache-2.0
// The Event on a Plan that tells what k3s said last before it was given up.
#pragma once

#include <string>
#include <vector>

#include "agent/node/journal.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"

namespace kua::upgrade {

/// `head` and, behind it, as many of the last lines as `most` bytes have room for, in their order
/// and in one line; a long one is cut.
std::string with_last_lines(const std::string& head, const std::vector<std::string>& lines,
                            std::size_t most);

/// The message of the last line of k3s's that says why it ended (`level=fatal`), cut when it is
/// long; empty where there is none. That it was told to end (`context canceled`) is no reason. Of a
/// k3s that did end, else the last error in Kubernetes' own form (klog's `E1127 …`, `F1127 …`): the
/// kubelet ends without a line of k3s's.
std::string last_words(const std::vector<std::string>& lines, bool ended);

/// The Plan of an upgrade, for kube::make_event.
Json about_plan(const node::Record& record, const std::string& ns);

/// Reason JobFailed, as the coordinator's, which says why the upgrade failed; this one has
/// `record.last_lines`. The same for the same restart, whenever it is made.
Json failure_event(const node::Record& record, const std::string& ns, const std::string& node,
                   WallTime now);

}  // namespace kua::upgrade
