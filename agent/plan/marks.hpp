// SPDX-License-Identifier: Apache-2.0
// The annotations that an agent keeps on its own Node, for itself and for whoever coordinates.
#pragma once

#include <map>
#include <string>

namespace kua::plan {

/// On a Node that we cordoned: the Plan's name. It tells our cordon from an administrator's.
inline constexpr auto kCordonedBy = "k3s-upgrade-agent/cordoned-by";

/// On a Node that an upgrade has found cordoned by somebody else, and left so: the Plan's name. It
/// tells why the node stays out of use after its upgrade.
inline constexpr auto kLeftCordoned = "k3s-upgrade-agent/left-cordoned";

/// By which an agent tells that it serves this Node: its version, and since when. Agents of the
/// first releases have none.
inline constexpr auto kAgent = "k3s-upgrade-agent/agent";

/// The Plan whose upgrade has left a Node cordoned that is cordoned still; empty when there is
/// none.
std::string left_cordoned_by(const std::map<std::string, std::string>& annotations,
                             bool is_cordoned);

/// What is said of a node with kLeftCordoned, and what to do about it: `left cordoned: it was
/// cordoned before this upgrade; kubectl uncordon agent-1`
std::string left_cordoned_in_words(const std::string& node);

}  // namespace kua::plan
