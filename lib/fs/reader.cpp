// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"
#include "lib/fs/descriptors.hpp"

namespace kua::fs {

namespace {

constexpr std::size_t kPiece = std::size_t{256} << 10U;

[[noreturn]] void not_regular(const std::filesystem::path& path, std::string_view what) {
    throw Error(ErrorKind::invalid, format("{} is {}, not a file", path.string(), what));
}

}  // namespace

Reader::Reader(std::filesystem::path path)
    : path_(std::move(path)),
      // Without O_NONBLOCK, opening a pipe would wait for its writer.
      fd_(::open(path_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) {
    if (!fd_) {
        switch (errno) {
            case ELOOP:
                not_regular(path_, "a symbolic link");
            case ENXIO:
                not_regular(path_, "a socket or device");
            case ENOENT:
                throw Error(ErrorKind::invalid, format("{} does not exist", path_.string()));
            default:
                fail("opening", path_, errno);
        }
    }
    const struct stat status = status_of(fd_, path_);
    if (!S_ISREG(status.st_mode)) {
        not_regular(path_, S_ISDIR(status.st_mode) ? "a folder" : "a pipe or device");
    }
    seen_ = look();
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    piece_.resize(kPiece);
}

Reader::Seen Reader::look() const {
    const struct stat status = status_of(fd_, path_);
    return {static_cast<std::uint64_t>(status.st_size), status.st_mtim.tv_sec,
            status.st_mtim.tv_nsec};
}

std::string_view Reader::read() {
    mark_progress();
    while (true) {
        const ssize_t size = ::read(fd_.get(), piece_.data(), piece_.size());
        if (size >= 0) {
            return std::string_view(piece_).substr(0, static_cast<std::size_t>(size));
        }
        if (errno != EINTR) {
            fail("reading", path_, errno);
        }
    }
}

bool Reader::changed() const { return look() != seen_; }

}  // namespace kua::fs
