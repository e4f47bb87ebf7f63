// SPDX-License-Identifier: Apache-2.0
// Opening and syncing, with failures that name the deed and the path. Private to this folder.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <string_view>

#include "lib/base/clock.hpp"
#include "lib/base/unique_fd.hpp"

namespace kua::fs {

/// How long a disk may take to write what memory has held back for it: an SD card takes minutes for
/// some hundred megabytes. A sync can't be cut into pieces.
inline constexpr Duration kLongestSync = std::chrono::minutes(10);

/// Throws Error{failed}: "<deed> <path>: <what errno's value `number` means>".
[[noreturn]] void fail(std::string_view deed, const std::filesystem::path& path, int number);

/// open(2), close-on-exec. Throws as `fail` does.
UniqueFd open_or_fail(std::string_view deed, const std::filesystem::path& path, int flags,
                      mode_t mode = 0);

/// fsync(2); `path` is for the message. Throws Error{failed}.
void sync_file(const UniqueFd& fd, const std::filesystem::path& path);

/// fstat(2); `path` is for the message. Throws Error{failed}.
struct stat status_of(const UniqueFd& fd, const std::filesystem::path& path);

}  // namespace kua::fs
