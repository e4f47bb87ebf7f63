// SPDX-License-Identifier: Apache-2.0
// Room on the disks for all that an upgrade writes, where several things may go to one of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kua::release {

struct Need {
    std::filesystem::path folder;  ///< Need not exist yet: room is the same where it will be made.
    std::uint64_t bytes = 0;
    std::string what;  ///< For messages: `the new k3s`; may be empty.
};

/// Why there is no room for all of it at the same time, with something left for everybody else on
/// the file system, and what to do; empty when there is. Throws Error{failed} for a disk that can't
/// be asked.
std::string why_no_room(const std::vector<Need>& needs);

}  // namespace kua::release
