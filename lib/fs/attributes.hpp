// SPDX-License-Identifier: Apache-2.0
// What a file has besides its content: owner, mode, marks, extended attributes, SELinux's label.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "lib/base/unique_fd.hpp"

namespace kua::fs {

/// Gives `to` the owner, mode and extended attributes of `from`, fsynced. An attribute that this
/// file system or process can't set is left out; but where SELinux is active, its label must be
/// set. Throws Error{failed}.
void copy_attributes(const std::filesystem::path& from, const std::filesystem::path& to);

/// The same for open files, without fsync; the paths are for the messages.
void copy_attributes(const UniqueFd& from, const std::filesystem::path& from_path,
                     const UniqueFd& to, const std::filesystem::path& to_path);

/// Whether the file or folder is marked immutable or append-only (chattr(1)): nothing renames over
/// it then, root included. False where the file system has no such marks, or it is not there.
bool is_immutable(const std::filesystem::path& path);

bool selinux_is_active();

/// Where SELinux is active: the file's label, absent when the file has none of its own. Absent
/// elsewhere.
std::optional<std::string> selinux_label(const std::filesystem::path& path);

/// Throws Error{failed}.
void set_selinux_label(const std::filesystem::path& path, const std::string& label);

}  // namespace kua::fs
