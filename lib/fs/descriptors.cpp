// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/descriptors.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"

namespace kua::fs {

using Path = std::filesystem::path;

[[noreturn]] void fail(std::string_view deed, const Path& path, int number) {
    throw Error(ErrorKind::failed, format("{} {}: {}", deed, path.string(), errno_text(number)));
}

UniqueFd open_or_fail(std::string_view deed, const Path& path, int flags, mode_t mode) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
    if (!fd) {
        fail(deed, path, errno);
    }
    return fd;
}

void sync_file(const UniqueFd& fd, const Path& path) {
    const Waiting waiting(kLongestSync);
    if (::fsync(fd.get()) != 0) {
        fail("syncing", path, errno);
    }
}

struct stat status_of(const UniqueFd& fd, const Path& path) {
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) {
        fail("looking at", path, errno);
    }
    return status;
}

}  // namespace kua::fs
