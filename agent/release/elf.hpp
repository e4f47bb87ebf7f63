// SPDX-License-Identifier: Apache-2.0
// Whether a file is a program for this host's machine, told from its ELF header before it is run.
#pragma once

#include <filesystem>
#include <string_view>

namespace kua::release {

/// Passes when `path` is an ELF program (not a library's or a core's file) that runs on `machine`,
/// `uname -m`'s word: `x86_64`, `aarch64`, `armv7l` and what counts as one of them. A 32-bit ARM
/// program is one for EABI 5, and not for soft float. Reads the file's first 64 bytes, nothing
/// else. Throws Error{invalid} naming both machines, Error{failed} when the file can't be read.
void check_elf(const std::filesystem::path& path, std::string_view machine);
/// For this host.
void check_elf(const std::filesystem::path& path);

}  // namespace kua::release
