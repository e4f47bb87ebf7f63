// SPDX-License-Identifier: Apache-2.0
// A file that one process holds for its life, so that there is no second one of its kind.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <utility>

#include "lib/base/unique_fd.hpp"

namespace kua::fs {

/// flock(2) on a file whose content is the holder's process id. The kernel lets go of it when the
/// holder ends, however it ends, and when this object goes. Programs that the holder runs do not
/// get it. The file stays: whoever removed it would let two have it.
class FileLock {
  public:
    /// Takes the lock, without waiting; absent when somebody has it, which may be another FileLock
    /// of this process. The file is created with mode 0600; where somebody has it, it is not
    /// touched. Its folder must exist. Throws Error{failed} when the file can't be opened or
    /// locked.
    static std::optional<FileLock> take(const std::filesystem::path& path);

    /// Whether `path` names the file that is locked: another one may have been put in its place.
    [[nodiscard]] bool is_of(const std::filesystem::path& path) const;

  private:
    explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}

    UniqueFd fd_;
};

/// Who holds the lock, as far as the file tells; absent when it tells nobody's process id that
/// exists here. For people: it may be out of date by the time it is read.
std::optional<pid_t> lock_holder(const std::filesystem::path& path);

}  // namespace kua::fs
