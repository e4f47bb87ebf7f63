// SPDX-License-Identifier: Apache-2.0
#include "lib/archive/decompressor.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <limits>
#include <utility>

#include "lib/archive/handle.hpp"
#include "lib/archive/zstd_frames.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::archive {

namespace {

constexpr std::size_t kMagicLength = 4;
/// For one piece of output: a name in a gzip header has no end of its own.
constexpr Handle::Most kMost{std::size_t{8} << 20U, std::numeric_limits<std::uint64_t>::max()};

constexpr const char* kTooEarly = "ends too early: the compressed data breaks off";

bool is_gzip(std::string_view head) { return head.starts_with("\x1f\x8b"); }

bool is_zstd(std::string_view head) {
    using namespace std::string_view_literals;
    return head.starts_with("\x28\xb5\x2f\xfd"sv) ||
           (head.size() == kMagicLength && head.substr(1) == "\x2a\x4d\x18"sv &&
            (static_cast<unsigned char>(head[0]) & 0xF0U) == 0x50U);
}

}  // namespace

Decompressor::Decompressor(Input input) : input_(std::move(input)) {}

Decompressor::~Decompressor() = default;

std::string_view Decompressor::raw() {
    if (!begun_) {
        begun_ = true;
        if (!head_.empty()) {
            return head_;
        }
    }
    return input_();
}

void Decompressor::look() {
    looked_ = true;
    while (head_.size() < kMagicLength) {
        const auto piece = input_();
        if (piece.empty()) {
            break;
        }
        head_ += piece;
    }
    const auto magic = std::string_view(head_).substr(0, kMagicLength);
    if (is_gzip(magic)) {
        handle_ = std::make_unique<Handle>([this] { return raw(); }, kMost);
        archive_read_support_filter_gzip(handle_->get());
        open_filter();
    } else if (is_zstd(magic)) {
        frames_ = std::make_unique<ZstdFrames>([this] { return raw(); });
        handle_ = std::make_unique<Handle>([this] { return frames_->read(); }, kMost);
        archive_read_support_filter_zstd(handle_->get());
        open_filter();
    }
}

void Decompressor::open_filter() {
    // "raw" is no format: it hands on what the filter gives.
    archive_read_support_format_raw(handle_->get());
    check(handle_->open(), ARCHIVE_OK);
    archive_entry* entry = nullptr;
    check(handle_->run([&] { return archive_read_next_header(handle_->get(), &entry); }),
          ARCHIVE_OK);
    // The filter itself, and the input's.
    constexpr int kFilters = 2;
    const int count = archive_filter_count(handle_->get());
    if (count > kFilters) {
        throw Error(ErrorKind::invalid, "compressed more than once");
    }
    if (count < kFilters) {
        ended_early_ = handle_->ran_out();
        throw Error(ErrorKind::invalid, ended_early_ ? kTooEarly : "not gzip or zstd after all");
    }
}

void Decompressor::check(int result, int good) {
    if (result == good) {
        return;
    }
    ended_early_ = handle_->ran_out();
    throw Error(ErrorKind::invalid,
                ended_early_ ? kTooEarly : format("can't be decompressed: {}", handle_->message()));
}

std::string_view Decompressor::read() {
    if (!looked_) {
        look();
    }
    if (!handle_) {
        return raw();
    }
    while (!ended_) {
        const void* data = nullptr;
        std::size_t size = 0;
        la_int64_t offset = 0;
        const int result = handle_->run(
            [&] { return archive_read_data_block(handle_->get(), &data, &size, &offset); });
        if (result == ARCHIVE_EOF) {
            ended_ = true;
            break;
        }
        check(result, ARCHIVE_OK);
        if (size > 0) {
            return {static_cast<const char*>(data), size};
        }
    }
    return {};
}

}  // namespace kua::archive
