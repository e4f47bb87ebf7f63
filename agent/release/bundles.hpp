// SPDX-License-Identifier: Apache-2.0
// Which of the things in a folder is the bundle for a version.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "agent/plan/version.hpp"
#include "agent/release/source.hpp"

namespace kua::release {

/// A release in a folder's files, or in one archive.
struct Bundle {
    std::filesystem::path path;  ///< The folder, or the archive.
    bool is_archive = false;
    bool is_named = false;  ///< Whether its name says that it is the version asked for.
};

/// The files of a bundle, as k3s names them.
struct BundleFiles {
    explicit BundleFiles(const Architecture& architecture);

    std::string binary;
    std::string sums;
    std::string signature;
    std::array<std::string, 3> images;  ///< The one that is taken before the others first.
};

/// The k3s versions that stand in a name, `v1.31.4+k3s1` or `v1.31.4-k3s1`, with whatever around
/// them.
std::vector<plan::Version> versions_in(std::string_view name);

/// What `directory` has for `version`: a folder or an archive (`.tar`, `.tar.gz`, `.tgz`,
/// `.tar.zst`) with the version in its name; or else the one that has no version in its name, or
/// the files that lie in `directory` itself. What begins with a dot is not looked at. Throws
/// Error{invalid} that says what was looked for and where when there is none, or more than one.
Bundle find_bundle(const std::filesystem::path& directory, const plan::Version& version,
                   const BundleFiles& files);

}  // namespace kua::release
