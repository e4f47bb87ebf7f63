// SPDX-License-Identifier: Apache-2.0
// What a unit has written to the journal last.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/clock.hpp"

namespace kua::systemd {

/// The unit's own last `most` messages since `since` by the host's wall clock, in their order, each
/// as one line and cut where it is very long. `folder` holds journal files (tests); empty means the
/// host's journal. Throws Error{failed} when the journal can't be read.
std::vector<std::string> journal_tail(const std::string& unit, WallTime since, std::size_t most,
                                      const std::filesystem::path& folder = {});

}  // namespace kua::systemd
