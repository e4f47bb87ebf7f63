// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/attributes.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/descriptors.hpp"

namespace kua::fs {

namespace {

using Path = std::filesystem::path;

constexpr auto kLabel = "security.selinux";

/// Calls one of the xattr functions that want to be asked for the size first; absent when it fails
/// (errno says why).
template <typename Call>
std::optional<std::string> sized_result(const Call& call) {
    // The value may grow between the two calls: ERANGE, and once more.
    for (int attempt = 0; attempt < 10; ++attempt) {
        const ssize_t size = call(nullptr, 0);
        if (size <= 0) {
            return size == 0 ? std::optional<std::string>(std::string()) : std::nullopt;
        }
        std::string value(static_cast<std::size_t>(size), '\0');
        const ssize_t got = call(value.data(), value.size());
        if (got >= 0) {
            value.resize(static_cast<std::size_t>(got));
            return value;
        }
        if (errno != ERANGE) {
            return std::nullopt;
        }
    }
    return std::nullopt;
}

void copy_extended_attributes(const UniqueFd& from, const Path& from_path, const UniqueFd& to,
                              const Path& to_path) {
    const auto list = sized_result(
        [&](char* buffer, std::size_t size) { return ::flistxattr(from.get(), buffer, size); });
    if (!list) {
        if (errno == ENOTSUP) {
            return;
        }
        fail("listing the extended attributes of", from_path, errno);
    }
    for (const std::string& name : split(*list, '\0')) {
        if (name.empty()) {
            continue;
        }
        const auto value = sized_result([&](char* buffer, std::size_t size) {
            return ::fgetxattr(from.get(), name.c_str(), buffer, size);
        });
        if (value && ::fsetxattr(to.get(), name.c_str(), value->data(), value->size(), 0) == 0) {
            continue;
        }
        const int number = errno;
        const bool needed = name == kLabel && selinux_is_active();
        const bool impossible = number == EPERM || number == EACCES || number == ENOTSUP ||
                                (!value && number == ENODATA);
        if (needed || !impossible) {
            throw Error(ErrorKind::failed,
                        format("copying {} to {}: {}", name, to_path.string(), errno_text(number)));
        }
    }
}

}  // namespace

void copy_attributes(const UniqueFd& from, const Path& from_path, const UniqueFd& to,
                     const Path& to_path) {
    const struct stat wanted = status_of(from, from_path);
    const struct stat present = status_of(to, to_path);
    // The owner first: changing it clears set-user-id bits and file capabilities.
    const bool same_owner = wanted.st_uid == present.st_uid && wanted.st_gid == present.st_gid;
    if (!same_owner && ::fchown(to.get(), wanted.st_uid, wanted.st_gid) != 0) {
        fail("changing the owner of", to_path, errno);
    }
    if (::fchmod(to.get(), wanted.st_mode & 07777U) != 0) {
        fail("changing the mode of", to_path, errno);
    }
    copy_extended_attributes(from, from_path, to, to_path);
}

void copy_attributes(const Path& from, const Path& to) {
    const UniqueFd source = open_or_fail("opening", from, O_RDONLY);
    const UniqueFd target = open_or_fail("opening", to, O_RDONLY);
    copy_attributes(source, from, target, to);
    sync_file(target, to);
}

bool is_immutable(const Path& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    int flags = 0;
    return fd && ::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) == 0 &&
           (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)) != 0;
}

bool selinux_is_active() { return ::access("/sys/fs/selinux/enforce", F_OK) == 0; }

std::optional<std::string> selinux_label(const Path& path) {
    if (!selinux_is_active()) {
        return std::nullopt;
    }
    auto label = sized_result([&](char* buffer, std::size_t size) {
        return ::getxattr(path.c_str(), kLabel, buffer, size);
    });
    // The kernel makes one up for a file that has none.
    if (!label || label->find(":unlabeled_t:") != std::string::npos) {
        return std::nullopt;
    }
    while (!label->empty() && label->back() == '\0') {
        label->pop_back();
    }
    return label;
}

void set_selinux_label(const Path& path, const std::string& label) {
    // With its end, as the kernel stores it.
    if (::setxattr(path.c_str(), kLabel, label.c_str(), label.size() + 1, 0) != 0) {
        fail("labelling", path, errno);
    }
}

}  // namespace kua::fs
