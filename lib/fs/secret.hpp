// SPDX-License-Identifier: Apache-2.0
// Files that hold a secret, and must be kept as one.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace kua::fs {

/// The content of a regular file that belongs to root (or to whom this process runs as) and is
/// closed to everybody else. Throws Error{invalid} naming the path and the command that mends it
/// otherwise, also when it is missing or larger than `most` bytes; Error{failed} when it can't be
/// read.
std::string read_secret(const std::filesystem::path& path, std::size_t most = 64U << 10U);

}  // namespace kua::fs
