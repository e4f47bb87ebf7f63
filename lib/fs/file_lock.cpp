// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <limits>
#include <string>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/number.hpp"
#include "lib/fs/descriptors.hpp"
#include "lib/fs/files.hpp"

namespace kua::fs {

namespace {

constexpr std::size_t kMostContent = 64;
constexpr unsigned kMostPid = std::numeric_limits<pid_t>::max();

UniqueFd open_lock(const std::filesystem::path& path) {
    // O_NONBLOCK: a pipe in its place must not be waited for.
    constexpr int kFlags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | kFlags, 0600));
    if (!fd && errno == EROFS) {
        // What became read-only under a process that holds the lock is locked all the same.
        fd = UniqueFd(::open(path.c_str(), O_RDONLY | kFlags));
    }
    if (!fd) {
        fail("opening", path, errno);
    }
    return fd;
}

}  // namespace

std::optional<FileLock> FileLock::take(const std::filesystem::path& path) {
    UniqueFd fd = open_lock(path);
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return std::nullopt;
        }
        if (errno != EINTR) {
            fail("locking", path, errno);
        }
    }
    // Only for the message of whoever comes second: a full disk is no reason to go without.
    const std::string text = format("{}\n", ::getpid());
    if (::ftruncate(fd.get(), 0) == 0) {
        [[maybe_unused]] const ssize_t written = ::pwrite(fd.get(), text.data(), text.size(), 0);
    }
    return FileLock(std::move(fd));
}

bool FileLock::is_of(const std::filesystem::path& path) const {
    const struct stat held = status_of(fd_, path);
    struct stat named {};
    return ::stat(path.c_str(), &named) == 0 && named.st_dev == held.st_dev &&
           named.st_ino == held.st_ino;
}

std::optional<pid_t> lock_holder(const std::filesystem::path& path) {
    try {
        const auto text = read_file(path, kMostContent);
        const auto number = text ? whole_number<unsigned>(trim(*text)) : std::nullopt;
        if (!number || *number == 0 || *number > kMostPid) {
            return std::nullopt;
        }
        const auto pid = static_cast<pid_t>(*number);
        // EPERM: it exists, and is another user's.
        if (::kill(pid, 0) != 0 && errno != EPERM) {
            return std::nullopt;
        }
        return pid;
    } catch (const Error&) {
        return std::nullopt;  // Not this user's to read, or no such file.
    }
}

}  // namespace kua::fs
