// SPDX-License-Identifier: Apache-2.0
// Puts a release's images where k3s loads them from when it starts, and takes them away again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "agent/plan/version.hpp"

namespace kua::release {

/// Where the images of `version` go: a name of our own in `folder` (`<data-dir>/agent/images`),
/// from the file's own `name`: `k3s-airgap-images-amd64.v1.31.4+k3s1.tar.zst`. k3s loads whatever
/// ends in `.tar`, `.tar.gz`, `.tar.zst` (and a few more) in that folder. Throws Error{invalid} for
/// a name that ends in none of these three.
std::filesystem::path images_path(const std::filesystem::path& folder, const std::string& name,
                                  const plan::Version& version);

/// Why no images of `size` bytes could be put into `folder` now (a read-only file system, no room);
/// empty when they could. The folder need not exist yet.
std::string why_not_images(const std::filesystem::path& folder, std::uint64_t size);

/// Whether the file at `path` is there and has this digest. Throws Error{failed}.
bool has_images(const std::filesystem::path& path, const std::string& sha256);

/// Copies the staged file to `path` (see `images_path`), readable by all, and verifies the copy;
/// makes the folder if it is missing. Does nothing when it is done already (`has_images`): whoever
/// wants to undo it asks that before, and notes it. After a crash `path` is what it was before, or
/// the images, whole; a half copy has a name that k3s does not load, and is replaced by the next
/// one, or removed by `discard_images`. Throws Error{failed}; `path` is as it was then.
void install_images(const std::filesystem::path& staged, const std::string& sha256,
                    const std::filesystem::path& path);

/// Removes the images at `path`, and what a crash in `install_images` may have left beside them.
/// Safe to repeat. Throws Error{failed}.
void discard_images(const std::filesystem::path& path);

/// Removes every other version's images from the folder of `keep`: files whose name is `prefix`
/// (`k3s-airgap-images-amd64`), then anything but a letter or digit, and so on, with `.tar` in it.
/// Also those that an administrator put there under k3s's own name: they are of an older version.
/// For after a success. Safe to repeat; a crash may leave some of them. Throws Error{failed}.
void remove_other_images(const std::filesystem::path& keep, std::string_view prefix);

}  // namespace kua::release
