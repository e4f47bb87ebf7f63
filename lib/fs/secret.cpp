// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/secret.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/unique_fd.hpp"

namespace kua::fs {

std::string read_secret(const std::filesystem::path& path, std::size_t most) {
    constexpr mode_t kOthers = 0077;
    // Not to wait for the other end of a pipe.
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) {
        const int number = errno;
        throw Error(number == ENOENT ? ErrorKind::invalid : ErrorKind::failed,
                    format("reading {}: {}", path.string(), errno_text(number)));
    }
    // Of the file that was opened, whatever stands at the path by now.
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) {
        throw Error(ErrorKind::failed, format("reading {}: {}", path.string(), errno_text(errno)));
    }
    if (!S_ISREG(status.st_mode)) {
        throw Error(ErrorKind::invalid, format("{} is not a regular file", path.string()));
    }
    if (status.st_uid != 0 && status.st_uid != ::geteuid()) {
        throw Error(ErrorKind::invalid,
                    format("{0} holds a secret and belongs to somebody else (user {1}); run: chown "
                           "root: {0}",
                           path.string(), status.st_uid));
    }
    if ((status.st_mode & kOthers) != 0) {
        throw Error(ErrorKind::invalid,
                    format("{0} holds a secret and is open to others (mode {1:04o}); run: chmod "
                           "0600 {0}",
                           path.string(), status.st_mode & 07777U));
    }
    std::string content;
    std::string block(4096, '\0');
    for (;;) {
        const ssize_t count = ::read(fd.get(), block.data(), block.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            throw Error(ErrorKind::failed,
                        format("reading {}: {}", path.string(), errno_text(errno)));
        }
        if (count == 0) return content;
        content.append(block, 0, static_cast<std::size_t>(count));
        if (content.size() > most) {
            throw Error(ErrorKind::invalid,
                        format("{} is larger than {}", path.string(), human_bytes(most)));
        }
    }
}

}  // namespace kua::fs
