// SPDX-License-Identifier: Apache-2.0
#include "agent/release/download.hpp"

#include <utility>
#include <vector>

#include "agent/release/file_hash.hpp"
#include "agent/release/room.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/crypto/digest.hpp"
#include "lib/fs/files.hpp"

namespace kua::release {

namespace {

constexpr unsigned kExecutable = 0755;
constexpr unsigned kPrivate = 0600;
constexpr auto kPassThrough = std::filesystem::perms(0711);  // For whom the binary is tried as.
constexpr auto kUnverified = "unverified";
constexpr std::uint64_t kLookAgain = 16ULL << 20U;

/// k3s prints the name that it was called by, and acts on it: it has its own already while it is
/// not to be believed yet, in a folder that says so.
std::filesystem::path partial(const std::filesystem::path& folder, Part part) {
    return folder / kUnverified / (part == Part::binary ? "k3s" : "images");
}

/// Who the partial file comes from, and what it is a part of.
std::filesystem::path note(const std::filesystem::path& folder, Part part) {
    auto path = partial(folder, part);
    path += ".json";
    return path;
}

void check_room(const std::filesystem::path& staging, std::uint64_t rest,
                const std::filesystem::path& destination, std::uint64_t size) {
    std::vector<Need> needs = {{staging, rest, {}}};
    if (!destination.empty()) {
        needs.push_back({destination, size, {}});
    }
    if (const auto reason = why_no_room(needs); !reason.empty()) {
        throw Error(ErrorKind::failed, reason);
    }
}

}  // namespace

struct Download::Current {
    Part part;
    Written written;
    std::optional<std::uint64_t> total;
    std::unique_ptr<fs::Writer> writer;
    crypto::Hasher hasher{crypto::Algorithm::sha256};
};

Download::Download(std::filesystem::path folder, std::string source, Destinations destinations,
                   Progress progress)
    : folder_(std::move(folder)),
      source_(std::move(source)),
      destinations_(std::move(destinations)),
      progress_(std::move(progress)) {}

Download::~Download() {
    std::error_code ignored;  // Whoever begins next empties them.
    for (const auto part : {Part::binary, Part::images}) {
        if (suspended_ && kept(part)) {
            continue;
        }
        std::filesystem::remove(partial(folder_, part), ignored);
        std::filesystem::remove(note(folder_, part), ignored);
    }
    std::filesystem::remove(folder_ / kUnverified, ignored);  // Only when it is empty.
}

std::optional<Sink::Kept> Download::kept(Part part) const {
    try {
        const auto text = fs::read_file(note(folder_, part));
        if (!text) {
            return std::nullopt;
        }
        const auto said = parse_json(*text, note(folder_, part).string());
        Kept kept;
        kept.bytes = std::filesystem::file_size(partial(folder_, part));
        kept.validator = string_at(said, {"validator"});
        if (kept.bytes == 0 || kept.validator.empty() || string_at(said, {"source"}) != source_) {
            return std::nullopt;
        }
        return kept;
    } catch (const std::exception&) {
        return std::nullopt;  // Then it is fetched from its beginning.
    }
}

void Download::begin(Part part, const Beginning& beginning) {
    current_.reset();
    written_.erase(part);
    writers_.erase(part);
    const auto& destination = part == Part::binary ? destinations_.binary : destinations_.images;
    if (beginning.size) {
        check_room(folder_, *beginning.size - std::min(*beginning.size, beginning.offset),
                   destination, *beginning.size);
    }
    const auto path = partial(folder_, part);
    fs::make_folders(path.parent_path());
    std::filesystem::permissions(path.parent_path(), kPassThrough);
    if (beginning.offset == 0) {
        // In this order: a note that stands beside other bytes than its own would be believed.
        fs::remove_durably(note(folder_, part));
        fs::remove_durably(path);
    }
    current_ = std::make_unique<Current>(
        Current{part,
                {path, beginning.name, {}, beginning.offset},
                beginning.size,
                std::make_unique<fs::Writer>(path, part == Part::binary ? kExecutable : kPrivate,
                                             beginning.offset)});
    if (beginning.offset == 0 && !beginning.validator.empty()) {
        fs::write_file(note(folder_, part),
                       Json{{"source", source_}, {"validator", beginning.validator}}.dump(
                           -1, ' ', false, Json::error_handler_t::replace));
    }
    if (beginning.offset > 0) {
        hash_into(current_->hasher, path);
    }
}

void Download::write(std::string_view data) {
    current_->hasher.update(data);
    current_->writer->write(data);
    const auto before = current_->written.size;
    current_->written.size += data.size();
    // Nobody has said how long it is, so the room could not be checked for all of it.
    if (!current_->total && before / kLookAgain != current_->written.size / kLookAgain) {
        check_room(folder_, 0, {}, 0);
    }
    if (progress_) {
        progress_(current_->written.size, current_->total);
    }
}

std::string Download::finish() {
    auto written = current_->written;
    written.sha256 = current_->hasher.finish();
    written_.insert_or_assign(current_->part, written);
    writers_.insert_or_assign(current_->part, std::move(current_->writer));
    current_.reset();
    return written.sha256;
}

const Download::Written* Download::written(Part part) const {
    const auto found = written_.find(part);
    return found == written_.end() ? nullptr : &found->second;
}

void Download::sync() {
    for (const auto& [part, writer] : writers_) {
        writer->commit();
    }
    writers_.clear();
}

}  // namespace kua::release
