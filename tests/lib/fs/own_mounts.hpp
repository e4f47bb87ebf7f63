// SPDX-License-Identifier: Apache-2.0
// Runs part of a test where it may mount: full disks and read-only file systems are made with real
// ones.
#pragma once

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <exception>
#include <functional>
#include <optional>
#include <string>

namespace kua::fs {

/// Runs `body` in a child process with a mount namespace of its own, and returns what it returns
/// (empty: all was well). Absent when the host allows no such namespace. `body` mounts what it
/// wants; it is all gone afterwards.
inline std::optional<std::string> in_own_mounts(const std::function<std::string()>& body) {
    static constexpr int kNotAllowed = 77;
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) {
        return "no pipe";
    }
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(ends[0]);
        const int namespaces = CLONE_NEWNS | (::geteuid() == 0 ? 0 : CLONE_NEWUSER);
        if (::unshare(namespaces) != 0 ||
            ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
            ::_exit(kNotAllowed);
        }
        std::string message;
        try {
            message = body();
        } catch (const std::exception& error) {
            message = std::string("threw: ") + error.what();
        }
        const bool told = ::write(ends[1], message.data(), message.size()) ==
                          static_cast<ssize_t>(message.size());
        ::_exit(told ? 0 : 1);
    }
    ::close(ends[1]);
    std::string message;
    std::array<char, 4096> piece{};
    for (ssize_t got = 0; (got = ::read(ends[0], piece.data(), piece.size())) > 0;) {
        message.append(piece.data(), static_cast<std::size_t>(got));
    }
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == kNotAllowed) {
        return std::nullopt;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return "the child died: " + message;
    }
    return message;
}

}  // namespace kua::fs
