// SPDX-License-Identifier: Apache-2.0
// What `k3s-upgrade-agent release` decides: which slots may go, and with whose credentials.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/commands/commands.hpp"
#include "agent/lock/lease.hpp"
#include "agent/lock/slots.hpp"
#include "lib/base/clock.hpp"

namespace kua::commands {

/// What becomes of a node's slots.
struct Freeing {
    std::map<std::string, lock::Slot> freed;  ///< By key.
    std::vector<std::string> refused;         ///< A sentence each: what it is, and what to do.
};

/// Of the slots of `node` (of `plan` only, unless that is empty), `Failed` and `Blocked` ones may
/// go; others hold the Plan's concurrency for a node that is perhaps half upgraded, and go only by
/// `force`. `now` is this host's time of day: the ages that a refusal names are for people, and
/// nothing is decided by them but its words.
Freeing choose_to_free(const lock::Lock& lock, const std::string& node, const std::string& plan,
                       bool force, WallTime now);

/// Frees in the lock what `choose_to_free` lets go, by compare-and-swap, and says so: a line per
/// slot to `out`, what was refused or not found to `errors`. Returns the command's exit status.
/// `slots.settings().node` is the node.
int release_slots(lock::Slots& slots, Clock& clock, const ReleaseOptions& options,
                  std::ostream& out, std::ostream& errors);

/// What this host has that could be a kubeconfig.
struct Surroundings {
    std::optional<std::string> own_node;   ///< Absent: it can't be told ...
    std::string why_not_own;               ///< ... because of this.
    std::filesystem::path own_kubeconfig;  ///< The kubelet's.
    std::string environment;               ///< $KUBECONFIG.
    std::filesystem::path k3s_kubeconfig;  ///< The administrator's that k3s writes on servers ...
    bool k3s_readable = false;             ///< ... and whether this user can read it.
};

struct Access {
    std::filesystem::path kubeconfig;
    bool kubelets = false;  ///< The kubelet's own: its server is this host.
};

/// Whose credentials free the slot of `node`: `given`, else the kubelet's own for this host's node,
/// else an administrator's. RBAC would let every kubelet write every key of the lock; that a node
/// speaks for no other is a rule of this program. Throws Error{invalid} that says what to do.
Access access_to(const std::string& node, const std::filesystem::path& given,
                 const Surroundings& surroundings);

}  // namespace kua::commands
