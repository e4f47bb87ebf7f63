// SPDX-License-Identifier: Apache-2.0
// What a unit's program finds in its environment, as far as the unit says it.
#pragma once

#include <string>

#include "lib/systemd/environment.hpp"
#include "lib/systemd/units.hpp"

namespace kua::k3s {

/// The unit's Environment= and, over them, the files of its EnvironmentFile=, in order. A file that
/// is missing or can't be read counts as empty and is logged where the unit needs it: k3s itself
/// says so louder. No value is ever logged. Empty when there is no such unit. Throws
/// Error{transient} when systemd can't be asked.
systemd::Environment unit_environment(systemd::Units& units, const std::string& unit);

}  // namespace kua::k3s
