// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <random>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"
#include "lib/fs/attributes.hpp"
#include "lib/fs/descriptors.hpp"

namespace kua::fs {

namespace {

using Path = std::filesystem::path;

constexpr std::uint64_t kHandOver = 4ULL << 20U;

Path folder_of(const Path& path) { return path.has_parent_path() ? path.parent_path() : Path("."); }

void sync_folder(const Path& folder) {
    const UniqueFd fd = open_or_fail("opening folder", folder, O_RDONLY | O_DIRECTORY);
    const Waiting waiting(kLongestSync);
    // EINVAL: a file system that knows no fsync of folders (some network ones); there is nothing
    // more to be done there.
    if (::fsync(fd.get()) != 0 && errno != EINVAL) {
        fail("syncing folder", folder, errno);
    }
}

void write_all(const UniqueFd& fd, std::string_view data, const Path& path) {
    while (!data.empty()) {
        const ssize_t written = ::write(fd.get(), data.data(), data.size());
        if (written >= 0) {
            data.remove_prefix(static_cast<std::size_t>(written));
        } else if (errno != EINTR) {
            fail("writing", path, errno);
        }
    }
}

/// Removes a file when it goes, unless it was kept.
class Provisional {
  public:
    explicit Provisional(Path path) : path_(std::move(path)) {}
    Provisional(const Provisional&) = delete;
    Provisional& operator=(const Provisional&) = delete;
    ~Provisional() {
        if (!kept_) {
            ::unlink(path_.c_str());
        }
    }
    [[nodiscard]] const Path& path() const { return path_; }
    void keep() { kept_ = true; }

  private:
    Path path_;
    bool kept_ = false;
};

constexpr std::string_view kTemporarySuffix = ".kua-tmp";

/// `.<name>.<8 random letters and digits>.kua-tmp`
std::string temporary_name(const std::string& name) {
    static constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
    static thread_local std::mt19937 random{std::random_device{}()};
    std::uniform_int_distribution<std::size_t> letter(0, kLetters.size() - 1);
    std::string marks;
    for (int count = 0; count < 8; ++count) {
        marks += kLetters[letter(random)];
    }
    return format(".{}.{}{}", name, marks, kTemporarySuffix);
}

struct Temporary {
    Path path;
    UniqueFd fd;
};

/// A new empty file with mode 0600 in `folder`, or errno's value in `number`.
std::optional<Temporary> make_temporary(const Path& folder, const std::string& name, int& number) {
    for (int attempt = 0; attempt < 100; ++attempt) {
        Temporary made{folder / temporary_name(name), UniqueFd()};
        made.fd = UniqueFd(
            ::open(made.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (made.fd) {
            return made;
        }
        number = errno;
        if (number != EEXIST) {
            return std::nullopt;
        }
    }
    return std::nullopt;
}

void copy_content(const UniqueFd& from, const Path& from_path, const UniqueFd& to,
                  const Path& to_path, const std::stop_token& stop) {
    static constexpr std::size_t kPiece = 1U << 20U;
    const auto check_stop = [&stop] {
        mark_progress();
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped, "stopped");
        }
    };
    // In the kernel where it can: sendfile takes every pair of file systems, and reflinks would
    // save nothing here, because the copy is kept when the original goes.
    while (true) {
        check_stop();
        const ssize_t sent = ::sendfile(to.get(), from.get(), nullptr, kPiece);
        if (sent == 0) {
            return;
        }
        if (sent < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno != EINVAL && errno != ENOSYS) {
                fail("writing", to_path, errno);
            }
            break;
        }
    }
    std::vector<char> piece(kPiece);
    while (true) {
        check_stop();
        const ssize_t got = ::read(from.get(), piece.data(), piece.size());
        if (got == 0) {
            return;
        }
        if (got > 0) {
            write_all(to, {piece.data(), static_cast<std::size_t>(got)}, to_path);
        } else if (errno != EINTR) {
            fail("reading", from_path, errno);
        }
    }
}

}  // namespace

std::optional<std::string> read_file(const Path& path, std::size_t most) {
    // O_NONBLOCK: opening a pipe must not wait for its writer.
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    if (!fd) {
        if (errno == ENOENT) {
            return std::nullopt;
        }
        fail("reading", path, errno);
    }
    const struct stat status = status_of(fd, path);
    if (S_ISDIR(status.st_mode)) {
        fail("reading", path, EISDIR);
    }
    if (!S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode)) {
        throw Error(ErrorKind::failed, format("reading {}: not a regular file", path.string()));
    }
    const auto too_large = [&] {
        return Error(ErrorKind::invalid,
                     format("{}: larger than {}", path.string(), human_bytes(most)));
    };
    // Not for more than a hint: the size of what lies in /proc is 0, and a file may grow while it
    // is read.
    if (status.st_size > 0 && static_cast<std::uint64_t>(status.st_size) > most) {
        throw too_large();
    }
    std::string content;
    std::array<char, 65536> piece{};
    while (true) {
        const ssize_t got = ::read(fd.get(), piece.data(), piece.size());
        if (got == 0) {
            return content;
        }
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            fail("reading", path, errno);
        }
        if (content.size() + static_cast<std::size_t>(got) > most) {
            throw too_large();
        }
        content.append(piece.data(), static_cast<std::size_t>(got));
    }
}

void write_file(const Path& path, std::string_view content, unsigned mode) {
    int number = 0;
    auto made = make_temporary(folder_of(path), path.filename().string(), number);
    if (!made) {
        fail("writing", path, number);
    }
    Provisional temporary(made->path);
    with_context(format("writing {}", path.string()), [&] {
        write_all(made->fd, content, temporary.path());
        // Not by open's mode, which the umask would cut.
        if (::fchmod(made->fd.get(), mode) != 0) {
            fail("changing the mode of", temporary.path(), errno);
        }
        sync_file(made->fd, temporary.path());
    });
    if (::rename(temporary.path().c_str(), path.c_str()) != 0) {
        fail("writing", path, errno);
    }
    temporary.keep();
    sync_folder(folder_of(path));
}

std::size_t remove_leftovers(const Path& path) {
    const Path folder = folder_of(path);
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(folder.c_str()),
                                                      [](DIR* open) { return ::closedir(open); });
    if (!listing) {
        if (errno == ENOENT) {
            return 0;
        }
        fail("listing", folder, errno);
    }
    const std::string prefix = format(".{}.", path.filename().string());
    const std::size_t length = temporary_name(path.filename().string()).size();
    std::size_t removed = 0;
    while (const dirent* const entry = ::readdir(listing.get())) {
        const std::string_view name(static_cast<const char*>(entry->d_name));
        if (name.size() == length && name.starts_with(prefix) && name.ends_with(kTemporarySuffix)) {
            if (::unlink((folder / name).c_str()) != 0 && errno != ENOENT) {
                fail("removing", folder / name, errno);
            }
            ++removed;
        }
    }
    if (removed > 0) {
        sync_folder(folder);
    }
    return removed;
}

void rename_durably(const Path& from, const Path& to) {
    if (::rename(from.c_str(), to.c_str()) != 0) {
        throw Error(ErrorKind::failed,
                    format("renaming {} to {}: {}", from.string(), to.string(), errno_text(errno)));
    }
    // The new name first: after a crash in between, the file has two names rather than none.
    sync_folder(folder_of(to));
    if (folder_of(from) != folder_of(to)) {
        sync_folder(folder_of(from));
    }
}

void link_durably(const Path& existing, const Path& link) {
    if (::link(existing.c_str(), link.c_str()) != 0) {
        throw Error(ErrorKind::failed, format("linking {} to {}: {}", link.string(),
                                              existing.string(), errno_text(errno)));
    }
    sync_folder(folder_of(link));
}

bool remove_durably(const Path& path) {
    if (::unlink(path.c_str()) != 0) {
        if (errno == ENOENT) {
            return false;
        }
        fail("removing", path, errno);
    }
    sync_folder(folder_of(path));
    return true;
}

void sync_durably(const Path& path) {
    // Not held up by a pipe, which can't be synced.
    const UniqueFd fd = open_or_fail("opening", path, O_RDONLY | O_NONBLOCK);
    sync_file(fd, path);
    sync_folder(folder_of(path));
}

void make_folders(const Path& path) {
    Path made;
    for (const Path& step : path) {
        made /= step;
        if (::mkdir(made.c_str(), 0700) == 0) {
            sync_folder(folder_of(made));
            continue;
        }
        const int number = errno;
        struct stat status {};
        // Not by EEXIST alone: on a read-only file system mkdir says EROFS of a folder that is
        // there.
        if (::stat(made.c_str(), &status) != 0) {
            fail("making folder", made, number);
        }
        if (!S_ISDIR(status.st_mode)) {
            fail("making folder", made, ENOTDIR);
        }
    }
}

void copy_durably(const Path& from, const Path& to, const std::stop_token& stop) {
    with_context(format("copying {} to {}", from.string(), to.string()), [&] {
        const UniqueFd source = open_or_fail("opening", from, O_RDONLY);
        const UniqueFd target =
            open_or_fail("creating", to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
        Provisional copy(to);
        copy_content(source, from, target, to, stop);
        copy_attributes(source, from, target, to);
        sync_file(target, to);
        sync_folder(folder_of(to));
        copy.keep();
    });
}

std::uint64_t free_bytes(const Path& path) {
    struct statvfs status {};
    if (::statvfs(path.c_str(), &status) != 0) {
        fail("finding the free space of", path, errno);
    }
    return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

void sync_file_system(const Path& folder) {
    const UniqueFd fd = open_or_fail("opening", folder, O_RDONLY | O_DIRECTORY);
    const Waiting waiting(kLongestSync);
    if (::syncfs(fd.get()) != 0) {
        fail("syncing the file system of", folder, errno);
    }
}

bool same_file_system(const Path& one, const Path& other) {
    struct stat first {};
    struct stat second {};
    if (::stat(one.c_str(), &first) != 0) {
        fail("looking at", one, errno);
    }
    if (::stat(other.c_str(), &second) != 0) {
        fail("looking at", other, errno);
    }
    return first.st_dev == second.st_dev;
}

std::optional<std::string> why_not_writable(const Path& folder) {
    int number = 0;
    const auto made = make_temporary(folder, "probe", number);
    if (!made) {
        return errno_text(number);
    }
    if (::unlink(made->path.c_str()) != 0) {
        return errno_text(errno);
    }
    return std::nullopt;
}

bool is_noexec(const Path& path) {
    struct statvfs status {};
    if (::statvfs(path.c_str(), &status) != 0) {
        fail("looking at", path, errno);
    }
    return (status.f_flag & ST_NOEXEC) != 0;
}

Writer::Writer(const Path& path, unsigned mode, std::uint64_t keep)
    : path_(path),
      fd_(open_or_fail("creating", path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600)),
      size_(keep),
      handed_over_(keep) {
    const auto end = ::lseek(fd_.get(), 0, SEEK_END);
    if (end < 0 || static_cast<std::uint64_t>(end) < keep) {
        throw Error(ErrorKind::failed, format("{}: is shorter than {} bytes", path.string(), keep));
    }
    if (::ftruncate(fd_.get(), static_cast<off_t>(keep)) != 0 ||
        ::lseek(fd_.get(), static_cast<off_t>(keep), SEEK_SET) < 0) {
        fail("emptying", path_, errno);
    }
    if (::fchmod(fd_.get(), mode) != 0) {
        fail("changing the mode of", path_, errno);
    }
}

void Writer::write(std::string_view data) {
    if (!fd_) {
        throw Error(ErrorKind::failed, format("writing {}: already committed", path_.string()));
    }
    mark_progress();
    write_all(fd_, data, path_);
    size_ += data.size();
    // All at once in fsync it would also hold up whoever else syncs on this disk: etcd.
    if (const auto whole = size_ - size_ % kHandOver; whole > handed_over_) {
        // Only a beginning: what goes wrong with it, fsync tells.
        (void)::sync_file_range(fd_.get(), static_cast<off_t>(handed_over_),
                                static_cast<off_t>(whole - handed_over_), SYNC_FILE_RANGE_WRITE);
        handed_over_ = whole;
    }
}

void Writer::commit() {
    if (!fd_) {
        throw Error(ErrorKind::failed, format("committing {}: already committed", path_.string()));
    }
    sync_file(fd_, path_);
    fd_.reset();
    sync_folder(folder_of(path_));
}

}  // namespace kua::fs
