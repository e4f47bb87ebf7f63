// SPDX-License-Identifier: Apache-2.0
// Puts a verified binary in k3s's place, and the old one back.
#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace kua::release {

/// The files of one swap, all in the folder of the k3s binary.
struct Places {
    std::filesystem::path binary;    ///< What the unit runs.
    std::filesystem::path next;      ///< The new one, waiting.
    std::filesystem::path previous;  ///< The way back.
};

/// `binary` may be a symbolic link: then what it leads to is the binary, and is replaced in its own
/// folder, so that the link, and whoever else uses the target, stay as they are.
Places places(const std::filesystem::path& binary);

/// Why nothing could be installed at `places` now, and what to do: a read-only file system, a file
/// or folder that is immutable, programs that can't be run there, no room for a file of `size`
/// bytes. Empty when it could. Touches nothing that k3s uses.
std::string why_not(const Places& places, std::uint64_t size);

/// Copies the staged file to `places.next` with the owner, mode and attributes of the present
/// binary, fsynced, and keeps the present binary as `places.previous` (a hard link: no byte of it
/// is touched). Where SELinux is active and the present binary has no label, the new one gets the
/// policy's default for the binary's path, if `matchpathcon` is there to tell. Safe to repeat.
/// Throws Error{failed}; the present binary is as it was then.
void prepare(const Places& places, const std::filesystem::path& staged, const std::string& sha256);

/// Renames `next` over the binary. True afterwards and after every crash: the binary is the old one
/// or the new one, whole. Does nothing when it is done already. Throws Error{failed} when `next` is
/// not the file with `sha256`.
void swap(const Places& places, const std::string& sha256);

/// Puts `previous` back in one rename. Does nothing when there is no `previous` (never swapped, or
/// done already).
void restore(const Places& places);

/// Where `keep` puts the binary of a version.
std::filesystem::path kept(const Places& places, const std::string& version);

/// Gives `previous` a second name (hard link) that later upgrades leave alone, and returns it; that
/// one stays when there is one already. Throws Error{failed}.
std::filesystem::path keep(const Places& places, const std::string& version);

/// The versions that `keep` has kept. Throws std::filesystem::filesystem_error.
std::set<std::string> kept_versions(const Places& places);

/// Removes what `keep` has kept, of all versions.
void discard_kept(const Places& places);

/// Removes `next`, if it is there.
void discard_next(const Places& places);

}  // namespace kua::release
