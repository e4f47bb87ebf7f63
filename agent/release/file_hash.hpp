// SPDX-License-Identifier: Apache-2.0
// The digest of a file's content.
#pragma once

#include <filesystem>
#include <string>

#include "lib/crypto/digest.hpp"

namespace kua::release {

/// The SHA-256 of a file, in hex. Throws Error{failed}.
std::string hash_file(const std::filesystem::path& path);

/// Adds a file's content to a running digest. Throws Error{failed}.
void hash_into(crypto::Hasher& hasher, const std::filesystem::path& path);

}  // namespace kua::release
