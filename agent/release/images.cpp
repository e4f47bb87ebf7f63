// SPDX-License-Identifier: Apache-2.0
#include "agent/release/images.hpp"

#include <array>
#include <cctype>
#include <vector>

#include "agent/release/file_hash.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/fs/reader.hpp"

namespace kua::release {

namespace {

constexpr unsigned kReadable = 0644;
constexpr std::array<std::string_view, 3> kExtensions{".tar.zst", ".tar.gz", ".tar"};

/// A half copy's: k3s goes by the end of the name.
std::filesystem::path next_of(const std::filesystem::path& path) {
    return path.parent_path() / ("." + path.filename().string() + ".k3s-upgrade-agent.next");
}

/// The nearest folder that exists.
std::filesystem::path existing(std::filesystem::path folder) {
    std::error_code ignored;
    while (!std::filesystem::is_directory(folder, ignored) && folder.has_relative_path()) {
        folder = folder.parent_path();
    }
    return folder;
}

bool is_images_name(std::string_view name, std::string_view prefix) {
    if (!name.starts_with(prefix)) {
        return false;
    }
    const auto rest = name.substr(prefix.size());
    // `k3s-airgap-images-arm64.tar` is not `k3s-airgap-images-arm`'s.
    return !rest.empty() && std::isalnum(static_cast<unsigned char>(rest.front())) == 0 &&
           rest.find(".tar") != std::string_view::npos;
}

void copy_content(const std::filesystem::path& from, const std::filesystem::path& to) {
    fs::Reader reader(from);
    // Not fs::copy_durably: the copy's SELinux label is to be the one that its folder gives.
    fs::Writer writer(to, kReadable);
    for (auto piece = reader.read(); !piece.empty(); piece = reader.read()) {
        writer.write(piece);
    }
    writer.commit();
}

}  // namespace

std::filesystem::path images_path(const std::filesystem::path& folder, const std::string& name,
                                  const plan::Version& version) {
    for (const auto extension : kExtensions) {
        if (name.ends_with(extension)) {
            return folder / format("{}.{}{}", name.substr(0, name.size() - extension.size()),
                                   version.text(), extension);
        }
    }
    throw Error(ErrorKind::invalid, format("{} is no name for images: {} is expected at its end",
                                           excerpt(name, 200), ".tar, .tar.gz or .tar.zst"));
}

std::string why_not_images(const std::filesystem::path& folder, std::uint64_t size) {
    const auto place = existing(folder);
    if (const auto reason = fs::why_not_writable(place)) {
        return format("{}: {}; images can't be put there", place.string(), *reason);
    }
    const auto free = fs::free_bytes(place);
    if (free < size) {
        return format("{}: {} are free, {} are needed for the images; make room", place.string(),
                      human_bytes(free), human_bytes(size));
    }
    return {};
}

bool has_images(const std::filesystem::path& path, const std::string& sha256) {
    return std::filesystem::is_regular_file(std::filesystem::symlink_status(path)) &&
           hash_file(path) == sha256;
}

void install_images(const std::filesystem::path& staged, const std::string& sha256,
                    const std::filesystem::path& path) {
    if (has_images(path, sha256)) {
        return;
    }
    fs::make_folders(path.parent_path());
    const auto next = next_of(path);
    // Whatever is there: a link would be refused below.
    fs::remove_durably(next);
    try {
        copy_content(staged, next);
        // What lies there now is what k3s will load.
        if (const auto actual = hash_file(next); actual != sha256) {
            throw Error(ErrorKind::failed, format("{}: SHA-256 is {} after copying, {} was "
                                                  "verified",
                                                  next.string(), actual, sha256));
        }
        fs::rename_durably(next, path);
    } catch (const Error& error) {
        std::error_code ignored;
        std::filesystem::remove(next, ignored);
        throw Error(ErrorKind::failed, error.what());
    }
}

void discard_images(const std::filesystem::path& path) {
    fs::remove_durably(path);
    fs::remove_durably(next_of(path));
}

void remove_other_images(const std::filesystem::path& keep, std::string_view prefix) {
    std::vector<std::filesystem::path> others;
    std::error_code code;
    auto entry = std::filesystem::directory_iterator(keep.parent_path(), code);
    for (; !code && entry != std::filesystem::directory_iterator(); entry.increment(code)) {
        std::error_code ignored;
        if (entry->path().filename() != keep.filename() &&
            is_images_name(entry->path().filename().string(), prefix) &&
            !entry->is_directory(ignored)) {
            others.push_back(entry->path());
        }
    }
    if (code && code != std::errc::no_such_file_or_directory) {
        throw Error(ErrorKind::failed,
                    format("reading {}: {}", keep.parent_path().string(), code.message()));
    }
    for (const auto& other : others) {
        fs::remove_durably(other);
    }
    fs::remove_durably(next_of(keep));
}

}  // namespace kua::release
