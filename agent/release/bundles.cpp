// SPDX-License-Identifier: Apache-2.0
#include "agent/release/bundles.hpp"

#include <algorithm>
#include <cctype>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::release {

namespace {

/// A folder of the wrong kind is noticed by it.
constexpr std::size_t kMostEntries = 10'000;
constexpr std::string_view kForms = ".tar, .tar.gz, .tgz or .tar.zst";

bool is_archive_name(std::string_view name) {
    // Images are archives, too, but no bundles.
    return !name.starts_with("k3s-airgap-images-") &&
           (name.ends_with(".tar") || name.ends_with(".tar.gz") || name.ends_with(".tgz") ||
            name.ends_with(".tar.zst"));
}

bool is_there(const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::exists(std::filesystem::symlink_status(path, ignored));
}

/// Whether a folder is meant to be a bundle; that it is none after all is said later.
bool holds_release(const std::filesystem::path& folder, const BundleFiles& files) {
    return is_there(folder / files.binary) || is_there(folder / files.sums);
}

std::vector<std::filesystem::path> entries_of(const std::filesystem::path& directory) {
    std::vector<std::filesystem::path> entries;
    std::error_code code;
    auto entry = std::filesystem::directory_iterator(directory, code);
    for (; !code && entry != std::filesystem::directory_iterator(); entry.increment(code)) {
        if (entries.size() == kMostEntries) {
            throw Error(ErrorKind::invalid, format("{}: more than {} files; this is no folder of "
                                                   "bundles",
                                                   directory.string(), kMostEntries));
        }
        if (!entry->path().filename().string().starts_with('.')) {
            entries.push_back(entry->path());
        }
    }
    if (code && code != std::errc::no_such_file_or_directory) {
        throw Error(ErrorKind::invalid, format("{}: {}", directory.string(), code.message()));
    }
    std::sort(entries.begin(), entries.end());
    return entries;
}

std::string names_of(const std::vector<Bundle>& bundles) {
    std::vector<std::string> names;
    names.reserve(bundles.size());
    for (const auto& bundle : bundles) {
        names.push_back(excerpt(bundle.path.string(), 200));
    }
    constexpr std::size_t kShown = 4;
    if (names.size() > kShown) {
        names.resize(kShown);
        names.emplace_back("…");
    }
    return join(names, ", ");
}

}  // namespace

BundleFiles::BundleFiles(const Architecture& architecture)
    : binary(architecture.binary),
      sums(architecture.checksums),
      signature(architecture.checksums + ".sig"),
      images{architecture.images + ".tar.zst", architecture.images + ".tar.gz",
             architecture.images + ".tar"} {}

std::vector<plan::Version> versions_in(std::string_view name) {
    std::vector<plan::Version> versions;
    for (std::size_t at = 0; at < name.size(); ++at) {
        const auto before = at == 0 ? ' ' : name[at - 1];
        if (std::isdigit(static_cast<unsigned char>(before)) != 0 || before == '.') {
            continue;
        }
        // The longest: `v1.31.4+k3s1` stands at the beginning of `v1.31.4+k3s12`, too.
        for (std::size_t length = name.size() - at; length > 0; --length) {
            if (const auto version = plan::parse_release(name.substr(at, length))) {
                versions.push_back(*version);
                at += length - 1;
                break;
            }
        }
    }
    return versions;
}

Bundle find_bundle(const std::filesystem::path& directory, const plan::Version& version,
                   const BundleFiles& files) {
    std::vector<Bundle> named;
    std::vector<Bundle> unnamed;
    const auto entries = entries_of(directory);
    for (const auto& path : entries) {
        const auto name = path.filename().string();
        std::error_code ignored;
        const bool is_folder = std::filesystem::is_directory(path, ignored);
        if (!is_folder && !is_archive_name(name)) {
            continue;
        }
        const auto versions = versions_in(name);
        if (std::find(versions.begin(), versions.end(), version) != versions.end()) {
            named.push_back({path, !is_folder, true});
        } else if (versions.empty() && (!is_folder || holds_release(path, files))) {
            unnamed.push_back({path, !is_folder, false});
        }
    }
    if (holds_release(directory, files)) {
        unnamed.push_back({directory, false, false});
    }
    if (named.size() > 1) {
        throw Error(ErrorKind::invalid, format("{} have {} in their names; leave one there",
                                               names_of(named), version.text()));
    }
    if (named.size() == 1) {
        return named[0];
    }
    if (unnamed.size() > 1) {
        throw Error(ErrorKind::invalid,
                    format("which of {} is {} can't be told; name them by version, such as "
                           "{}.tar.zst",
                           names_of(unnamed), version.text(), version.text()));
    }
    if (unnamed.empty() && entries.empty()) {
        throw Error(ErrorKind::invalid,
                    format("no bundle for {} in {}", version.text(), directory.string()));
    }
    if (unnamed.empty()) {
        throw Error(ErrorKind::invalid,
                    format("{} has no bundle for {}: {} and {}, in a folder or a {} with {} in "
                           "its name",
                           directory.string(), version.text(), files.binary, files.sums, kForms,
                           version.text()));
    }
    return unnamed[0];
}

}  // namespace kua::release
