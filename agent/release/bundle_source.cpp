// SPDX-License-Identifier: Apache-2.0
#include "agent/release/bundle_source.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "lib/archive/archive.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/reader.hpp"

namespace kua::release {

namespace {

constexpr std::size_t kMostSums = std::size_t{1} << 20U;
constexpr std::size_t kMostSignature = std::size_t{64} << 10U;
constexpr std::uint64_t kMostBinary = 1ULL << 30U;
constexpr std::uint64_t kMostImages = 8ULL << 30U;
constexpr std::uint64_t kMostEntries = 10'000;

void check_stop(const std::stop_token& stop) {
    if (stop.stop_requested()) {
        throw Error(ErrorKind::stopped, "reading a bundle: stopped");
    }
}

void check_size(std::uint64_t size, std::uint64_t most, const std::string& where) {
    if (size > most) {
        throw Error(ErrorKind::invalid, format("{}: {} are too much, {} at most are allowed", where,
                                               human_bytes(size), human_bytes(most)));
    }
}

void compare(const std::string& actual, const std::string& expected, const std::string& where,
             const std::string& sums) {
    if (actual != expected) {
        throw Error(ErrorKind::invalid,
                    format("{}: its SHA-256 is {}, {} says {}; nothing was installed", where,
                           actual, sums, expected));
    }
}

Error being_written(const std::string& where, const std::string& why) {
    return {ErrorKind::transient,
            format("{} is still being written, or was cut off: {}", where, why)};
}

bool is_there(const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::exists(std::filesystem::symlink_status(path, ignored));
}

/// All of a small file.
std::string read_small(const std::filesystem::path& path, std::size_t most) {
    fs::Reader file(path);
    std::string text;
    for (auto piece = file.read(); !piece.empty(); piece = file.read()) {
        check_size(text.size() + piece.size(), most, path.string());
        text += piece;
    }
    if (file.changed()) {
        throw being_written(path.string(), "it changed while it was read");
    }
    return text;
}

/// Copies one file of a bundle; its digest.
std::string copy(const std::filesystem::path& path, Part part, std::uint64_t most, Sink& sink,
                 const std::stop_token& stop) {
    fs::Reader file(path);
    check_size(file.size(), most, path.string());
    sink.begin(part, {path.filename().string(), 0, file.size()});
    std::uint64_t done = 0;
    for (auto piece = file.read(); !piece.empty(); piece = file.read()) {
        check_stop(stop);
        done += piece.size();
        check_size(done, most, path.string());
        sink.write(piece);
    }
    auto digest = sink.finish();
    if (file.changed()) {
        throw being_written(path.string(), "it changed while it was read");
    }
    return digest;
}

}  // namespace

/// A sums file, and where it stands.
struct BundleSource::Sums {
    std::string text;
    std::optional<std::string> signature;
    std::string where;
    std::string signature_where;
};

namespace {

/// Goes through an archive once, from front to back; the members may come in any order.
class Members {
  public:
    Members(const Bundle& bundle, const BundleFiles& files, Sink& sink, const std::stop_token& stop)
        : path_(bundle.path),
          where_(bundle.path.string()),
          files_(files),
          sink_(sink),
          stop_(stop) {}

    void read_all() {
        fs::Reader file(path_);
        archive::Limits limits;
        limits.entries = kMostEntries;
        limits.bytes = kMostBinary + kMostImages;
        archive::Reader reader(
            [&] {
                check_stop(stop_);
                return file.read();
            },
            limits, where_);
        try {
            while (const auto entry = reader.next()) {
                take(*entry, reader);
            }
        } catch (const Error& error) {
            // What is read of a file in the middle of being written may look like anything.
            if (error.kind() == ErrorKind::invalid && (reader.ended_early() || file.changed())) {
                throw being_written(where_, error.what());
            }
            throw;
        }
        if (file.changed()) {
            throw being_written(where_, "it changed while it was read");
        }
    }

    std::optional<std::string> binary;  ///< Digests.
    std::optional<std::string> images;
    std::string images_name;
    std::optional<std::string> sums;  ///< Texts.
    std::optional<std::string> signature;

  private:
    void take(const archive::Entry& entry, archive::Reader& reader) {
        const std::filesystem::path path(entry.path);
        const auto name = path.filename().string();
        const auto image = std::find(files_.images.begin(), files_.images.end(), name);
        const bool is_image = image != files_.images.end();
        // A folder may have the binary's name: `k3s/k3s`.
        if (entry.kind == archive::Kind::folder ||
            (!is_image && name != files_.binary && name != files_.sums &&
             name != files_.signature)) {
            return;
        }
        check_member(entry, path.parent_path().string(), name);
        const auto where = format("{}: {}", where_, entry.path);
        if (name == files_.binary) {
            binary = store(Part::binary, entry, reader, kMostBinary, where);
        } else if (name == files_.sums) {
            sums = read_text(reader, kMostSums, where);
        } else if (name == files_.signature) {
            signature = read_text(reader, kMostSignature, where);
        } else if (images_name.empty() ||
                   image < std::find(files_.images.begin(), files_.images.end(), images_name)) {
            images = store(Part::images, entry, reader, kMostImages, where);
            images_name = name;
        }
    }

    void check_member(const archive::Entry& entry, const std::string& folder,
                      const std::string& name) {
        if (entry.kind != archive::Kind::file) {
            throw Error(ErrorKind::invalid,
                        format("{}: {} is a link or device, not a file", where_, entry.path));
        }
        const auto [other, is_new] = seen_.emplace(name, entry.path);
        if (!is_new) {
            throw Error(ErrorKind::invalid,
                        format("{}: {} is in it twice, as {} and as {}", where_, name,
                               excerpt(other->second, 200), excerpt(entry.path, 200)));
        }
        if (!folder_) {
            folder_ = folder;
        }
        if (*folder_ != folder) {
            throw Error(ErrorKind::invalid,
                        format("{}: the files are in different folders, \"{}\" and \"{}\"", where_,
                               excerpt(*folder_, 200), excerpt(folder, 200)));
        }
    }

    std::string store(Part part, const archive::Entry& entry, archive::Reader& reader,
                      std::uint64_t most, const std::string& where) {
        check_size(entry.size, most, where);
        sink_.begin(part, {std::filesystem::path(entry.path).filename().string(), 0, entry.size});
        for (auto piece = reader.read(); !piece.empty(); piece = reader.read()) {
            sink_.write(piece);
        }
        return sink_.finish();
    }

    static std::string read_text(archive::Reader& reader, std::size_t most,
                                 const std::string& where) {
        std::string text;
        for (auto piece = reader.read(); !piece.empty(); piece = reader.read()) {
            check_size(text.size() + piece.size(), most, where);
            text += piece;
        }
        return text;
    }

    std::filesystem::path path_;
    std::string where_;
    const BundleFiles& files_;
    Sink& sink_;
    const std::stop_token& stop_;
    std::map<std::string, std::string> seen_;  ///< Paths, by name.
    std::optional<std::string> folder_;
};

}  // namespace

BundleSource::BundleSource(BundleSettings settings, Architecture architecture,
                           const Signatures& signatures)
    : settings_(std::move(settings)),
      architecture_(std::move(architecture)),
      signatures_(signatures) {}

std::string BundleSource::name() const { return "bundle " + settings_.directory.string(); }

Bundle BundleSource::find(const Wanted& wanted) const {
    return find_bundle(settings_.directory, wanted.version, BundleFiles(architecture_));
}

BundleSource::Sums BundleSource::read_sums(const std::filesystem::path& folder) const {
    const BundleFiles files(architecture_);
    Sums sums;
    sums.where = (folder / files.sums).string();
    sums.signature_where = (folder / files.signature).string();
    sums.text = read_small(folder / files.sums, kMostSums);
    if (signatures_.required() && is_there(folder / files.signature)) {
        sums.signature = read_small(folder / files.signature, kMostSignature);
    }
    return sums;
}

void BundleSource::check_signature(const Sums& sums) const {
    if (!signatures_.required()) {
        return;
    }
    if (!sums.signature) {
        throw Error(ErrorKind::invalid,
                    format("{} is missing: with verify.public_keys a signature is required",
                           sums.signature_where));
    }
    signatures_.check(sums.text, *sums.signature, sums.where);
}

std::optional<std::string> BundleSource::checksum(const Wanted& wanted, std::stop_token /*stop*/) {
    const auto bundle = find(wanted);
    if (bundle.is_archive || !bundle.is_named) {
        return std::nullopt;
    }
    const auto sums = read_sums(bundle.path);
    check_signature(sums);
    return find_checksum(sums.text, architecture_.binary, sums.where);
}

Fetched BundleSource::fetch(const Wanted& wanted, Sink& sink, std::stop_token stop) {
    const auto bundle = find(wanted);
    return bundle.is_archive ? fetch_archive(bundle, sink, stop) : fetch_files(bundle, sink, stop);
}

Fetched BundleSource::fetch_files(const Bundle& bundle, Sink& sink,
                                  const std::stop_token& stop) const {
    const BundleFiles files(architecture_);
    const auto sums = read_sums(bundle.path);
    check_signature(sums);
    Fetched fetched;
    fetched.sha256 = find_checksum(sums.text, files.binary, sums.where);
    const auto images =
        std::find_if(files.images.begin(), files.images.end(),
                     [&](const std::string& name) { return is_there(bundle.path / name); });
    if (images != files.images.end()) {
        fetched.images = find_checksum(sums.text, *images, sums.where);
    }
    const auto binary = bundle.path / files.binary;
    compare(copy(binary, Part::binary, kMostBinary, sink, stop), fetched.sha256, binary.string(),
            sums.where);
    if (fetched.images) {
        const auto path = bundle.path / *images;
        compare(copy(path, Part::images, kMostImages, sink, stop), *fetched.images, path.string(),
                sums.where);
    }
    return fetched;
}

Fetched BundleSource::fetch_archive(const Bundle& bundle, Sink& sink,
                                    const std::stop_token& stop) const {
    const BundleFiles files(architecture_);
    Members members(bundle, files, sink, stop);
    members.read_all();
    const auto where = bundle.path.string();
    const auto missing = [&](const std::string& name) {
        throw Error(ErrorKind::invalid, format("{}: {} is not in it", where, name));
    };
    if (!members.sums) {
        missing(files.sums);
    }
    if (!members.binary) {
        missing(files.binary);
    }
    const Sums sums{*members.sums, members.signature, format("{}: {}", where, files.sums),
                    format("{}: {}", where, files.signature)};
    check_signature(sums);
    Fetched fetched;
    fetched.sha256 = find_checksum(sums.text, files.binary, sums.where);
    compare(*members.binary, fetched.sha256, format("{}: {}", where, files.binary), files.sums);
    if (members.images) {
        fetched.images = find_checksum(sums.text, members.images_name, sums.where);
        compare(*members.images, *fetched.images, format("{}: {}", where, members.images_name),
                files.sums);
    }
    return fetched;
}

}  // namespace kua::release
