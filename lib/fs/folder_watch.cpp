// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/folder_watch.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"

namespace kua::fs {

namespace {

constexpr std::size_t kMostFolders = 1000;
constexpr std::uint32_t kContent =
    IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr std::uint32_t kAncestor =
    IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

UniqueFd opened(int fd, const std::filesystem::path& folder) {
    if (fd < 0) {
        throw Error(ErrorKind::failed,
                    format("watching {}: {}", folder.string(), errno_text(errno)));
    }
    return UniqueFd(fd);
}

}  // namespace

FolderWatch::FolderWatch(const std::filesystem::path& folder, std::function<void()> changed,
                         Duration quiet)
    : folder_(std::filesystem::absolute(folder).lexically_normal()),
      changed_(std::move(changed)),
      quiet_(quiet),
      inotify_(opened(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK), folder_)),
      stop_(opened(::eventfd(0, EFD_CLOEXEC), folder_)) {
    place();
    if (content_.empty() && ancestors_.empty()) {
        throw Error(ErrorKind::failed,
                    format("watching {}: {}", folder_.string(), errno_text(errno)));
    }
    thread_ = std::thread(watched(format("the watch on {}", folder_.string()), [this] { run(); }));
}

FolderWatch::~FolderWatch() {
    const std::uint64_t one = 1;
    // An eventfd that was never written before takes it.
    while (::write(stop_.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
    thread_.join();
}

int FolderWatch::watch(const std::filesystem::path& path, bool content) {
    return ::inotify_add_watch(inotify_.get(), path.c_str(), content ? kContent : kAncestor);
}

bool FolderWatch::place() {
    std::set<int> content;
    std::set<int> ancestors;
    if (const int folder = watch(folder_, true); folder >= 0) {
        content.insert(folder);
        std::error_code code;
        for (auto entry = std::filesystem::directory_iterator(folder_, code);
             !code && entry != std::filesystem::directory_iterator() &&
             content.size() < kMostFolders;
             entry.increment(code)) {
            std::error_code ignored;
            if (entry->is_directory(ignored)) {
                if (const int inner = watch(entry->path(), true); inner >= 0) {
                    content.insert(inner);
                }
            }
        }
    } else {
        // The nearest that exists. It may have gone again by the time it is watched: then the one
        // above.
        for (auto above = folder_; above.has_relative_path() && ancestors.empty();) {
            above = above.parent_path();
            if (const int ancestor = watch(above, false); ancestor >= 0) {
                ancestors.insert(ancestor);
            }
        }
    }
    const bool found =
        !std::includes(content_.begin(), content_.end(), content.begin(), content.end());
    for (const auto* old : {&content_, &ancestors_}) {
        for (const int number : *old) {
            if (!content.contains(number) && !ancestors.contains(number)) {
                ::inotify_rm_watch(inotify_.get(), number);
            }
        }
    }
    content_ = std::move(content);
    ancestors_ = std::move(ancestors);
    return found;
}

bool FolderWatch::take_events() {
    alignas(inotify_event) std::array<char, 16384> buffer{};
    bool meant = false;
    while (true) {
        const ssize_t size = ::read(inotify_.get(), buffer.data(), buffer.size());
        if (size <= 0) {
            return meant;
        }
        for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
            inotify_event event{};
            std::memcpy(&event, buffer.data() + at, sizeof event);
            at += sizeof event + event.len;
            // A file that was created only is not written yet.
            const bool is_ready = (event.mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0 ||
                                  (event.mask & (IN_CREATE | IN_ISDIR)) == (IN_CREATE | IN_ISDIR);
            meant = meant || (event.mask & IN_Q_OVERFLOW) != 0 ||
                    (is_ready && content_.contains(event.wd));
        }
    }
}

bool FolderWatch::wait(Duration longest, bool& more) const {
    std::array<pollfd, 2> waited{{{inotify_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    const bool for_ever = longest < Duration::zero();
    const auto piece = for_ever ? longest_piece() : longest;
    int result = 0;
    do {
        const Waiting waiting(piece);
        result = ::poll(waited.data(), waited.size(), static_cast<int>(piece.count()));
    } while (result == 0 && for_ever);
    more = result > 0 && (waited[0].revents & POLLIN) != 0;
    return result <= 0 || waited[1].revents == 0;
}

void FolderWatch::run() {
    bool more = false;
    while (wait(Duration(-1), more)) {
        // Placed before the caller looks, so that nothing comes between.
        bool meant = take_events();
        meant = place() || meant;
        if (!meant) {
            continue;
        }
        const auto latest = std::chrono::steady_clock::now() + 10 * quiet_;
        do {
            if (!wait(quiet_, more)) {
                return;
            }
            if (more) {
                take_events();
                place();
            }
        } while (more && std::chrono::steady_clock::now() < latest);
        changed_();
    }
}

}  // namespace kua::fs
