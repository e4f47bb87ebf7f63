// SPDX-License-Identifier: Apache-2.0
// Files that are whole or not there: bounded reads, and writes that survive a power cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "lib/base/unique_fd.hpp"

namespace kua::fs {

/// The file's content; absent when it does not exist. Throws Error{invalid} when it is larger than
/// `most` bytes, Error{failed} naming path and reason when it can't be read or is a pipe or socket
/// (whose end may never come).
std::optional<std::string> read_file(const std::filesystem::path& path,
                                     std::size_t most = 16U << 20U);

/// Replaces the file in one step: temporary file in the same folder, fsync, rename, fsync of the
/// folder. After a crash the old or the new content is there, whole, and perhaps a temporary file
/// (`remove_leftovers`). A symbolic link is replaced, not followed. Throws Error{failed} naming
/// path and reason (disk full, read-only, …); the temporary file is removed then.
void write_file(const std::filesystem::path& path, std::string_view content, unsigned mode = 0600);

/// Removes the temporary files that a crash in `write_file(path, …)` left beside `path`, and says
/// how many. Only while nobody else writes `path`. Throws Error{failed}.
std::size_t remove_leftovers(const std::filesystem::path& path);

/// Renames within one file system and makes it last (fsync of both folders). Replaces `to`. Throws
/// Error{failed}.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// Removes a file and makes it last; false when it was not there. Throws Error{failed}.
bool remove_durably(const std::filesystem::path& path);

/// Makes the file's content last (fsync of it and of its folder), whoever wrote it. Throws
/// Error{failed}.
void sync_durably(const std::filesystem::path& path);

/// Makes folders with mode 0700 as far as they are missing, durable. Throws Error{failed}.
void make_folders(const std::filesystem::path& path);

/// Copies content and then owner, mode and all extended attributes that can be set (SELinux's label
/// among them); the copy is fsynced, and so is its folder. `to` must not exist. Throws
/// Error{failed}, Error{stopped} on `stop`; `to` is removed then.
void copy_durably(const std::filesystem::path& from, const std::filesystem::path& to,
                  const std::stop_token& stop = {});

/// Makes `link` a second name (hard link) of the file `existing`, durable. Throws Error{failed},
/// also when `link` exists.
void link_durably(const std::filesystem::path& existing, const std::filesystem::path& link);

/// Bytes that can still be written below `path` without touching the file system's reserve for
/// root. Throws Error{failed}.
std::uint64_t free_bytes(const std::filesystem::path& path);

/// Makes all that was written to the file system of an existing folder last (syncfs). Throws
/// Error{failed}.
void sync_file_system(const std::filesystem::path& folder);

/// Whether two existing folders share one pool of free bytes. Throws Error{failed}.
bool same_file_system(const std::filesystem::path& one, const std::filesystem::path& other);

/// Why a file could not be created in `folder` right now ("read-only file system", "permission
/// denied"), found out by creating and removing one; absent when it could.
std::optional<std::string> why_not_writable(const std::filesystem::path& folder);

/// Whether programs on the file system of `path` can't be run (mounted noexec). Throws
/// Error{failed}.
bool is_noexec(const std::filesystem::path& path);

/// A file being written front to back; `commit` makes it whole.
class Writer {
  public:
    /// Creates `path`, which is no symbolic link, or goes on with it after its first `keep` bytes;
    /// what follows them is dropped. Throws Error{failed}, also when there are fewer.
    Writer(const std::filesystem::path& path, unsigned mode, std::uint64_t keep = 0);
    /// Appends all of `data`. Throws Error{failed} (disk full, …). The disk takes it in meanwhile,
    /// some megabytes at a time, so that `commit` has little left to wait for.
    void write(std::string_view data);
    /// fsync of file and folder; nothing may be written afterwards. Throws Error{failed}.
    void commit();

  private:
    std::filesystem::path path_;
    UniqueFd fd_;
    std::uint64_t size_;
    std::uint64_t handed_over_;  ///< Of that, what the disk was told to take.
};

}  // namespace kua::fs
