// SPDX-License-Identifier: Apache-2.0
#include "lib/archive/zstd_frames.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::archive {

namespace {

constexpr std::string_view kMagic = "\x28\xb5\x2f\xfd";
constexpr std::uint64_t kFrame = 0xFD2FB528;
constexpr std::uint64_t kSkippable = 0x184D2A50;  ///< The last four bits are free.
constexpr std::uint64_t kMostWindow = 32ULL << 20U;

constexpr bool has_single_segment(unsigned descriptor) { return (descriptor & 0x20U) != 0; }
constexpr bool has_checksum(unsigned descriptor) { return (descriptor & 0x04U) != 0; }

std::size_t dictionary_size(unsigned descriptor) {
    static constexpr std::array<std::size_t, 4> kSizes{0, 1, 2, 4};
    return kSizes.at(descriptor & 0x03U);
}

std::size_t content_size_size(unsigned descriptor) {
    const unsigned flag = descriptor >> 6U;
    return flag == 0 ? (has_single_segment(descriptor) ? 1 : 0) : std::size_t{1} << flag;
}

}  // namespace

ZstdFrames::ZstdFrames(Input input) : input_(std::move(input)) {}

std::string_view ZstdFrames::read() {
    while (true) {
        if (rest_.empty()) {
            rest_ = input_();
            if (rest_.empty()) {
                return {};
            }
        }
        if (part_ == Part::magic) {
            rest_.remove_prefix(collect(rest_));
            if (field_.size() == wanted_) {
                take_magic();
                if (part_ == Part::descriptor) {
                    return kMagic;
                }
            }
        } else if (part_ == Part::skippable_size) {
            rest_.remove_prefix(collect(rest_));
            if (field_.size() == wanted_) {
                passing_ = number(0, 4);
                expect(Part::skippable, 0);
            }
        } else if (part_ == Part::skippable) {
            const auto skipped = std::min<std::uint64_t>(passing_, rest_.size());
            rest_.remove_prefix(skipped);
            passing_ -= skipped;
            if (passing_ == 0) {
                expect(Part::magic, 4);
            }
        } else {
            const auto piece = rest_.substr(0, scan());
            rest_.remove_prefix(piece.size());
            return piece;
        }
    }
}

std::size_t ZstdFrames::scan() {
    std::size_t at = 0;
    while (at < rest_.size() && part_ != Part::magic) {
        if (part_ == Part::block) {
            const auto passed = std::min<std::uint64_t>(passing_, rest_.size() - at);
            at += passed;
            passing_ -= passed;
            if (passing_ == 0) {
                end_block();
            }
            continue;
        }
        at += collect(rest_.substr(at));
        if (field_.size() < wanted_) {
            break;
        }
        switch (part_) {
            case Part::descriptor:
                take_descriptor();
                break;
            case Part::header:
                check_window();
                expect(Part::block_header, 3);
                break;
            case Part::block_header:
                take_block_header();
                break;
            default:
                expect(Part::magic, 4);
                break;
        }
    }
    return at;
}

std::size_t ZstdFrames::collect(std::string_view bytes) {
    const auto taken = bytes.substr(0, wanted_ - field_.size());
    field_ += taken;
    return taken.size();
}

std::uint64_t ZstdFrames::number(std::size_t at, std::size_t size) const {
    std::uint64_t value = 0;
    for (std::size_t index = size; index > 0; --index) {
        value = value << 8U | static_cast<unsigned char>(field_[at + index - 1]);
    }
    return value;
}

void ZstdFrames::expect(Part part, std::size_t size) {
    part_ = part;
    wanted_ = size;
    field_.clear();
}

void ZstdFrames::take_magic() {
    const auto magic = number(0, 4);
    if (magic == kFrame) {
        expect(Part::descriptor, 1);
    } else if ((magic & ~std::uint64_t{0xF}) == kSkippable) {
        expect(Part::skippable_size, 4);
    } else {
        throw Error(ErrorKind::invalid, "something follows the zstd data that is none");
    }
}

void ZstdFrames::take_descriptor() {
    descriptor_ = static_cast<unsigned char>(field_[0]);
    // One byte at least: a frame has a window descriptor or a content size.
    expect(Part::header, (has_single_segment(descriptor_) ? 0U : 1U) +
                             dictionary_size(descriptor_) + content_size_size(descriptor_));
}

void ZstdFrames::check_window() const {
    std::uint64_t window = 0;
    if (has_single_segment(descriptor_)) {
        window = number(dictionary_size(descriptor_), content_size_size(descriptor_));
    } else {
        const unsigned value = static_cast<unsigned char>(field_[0]);
        const std::uint64_t base = std::uint64_t{1} << (10U + (value >> 3U));
        window = base + base / 8 * (value & 7U);
    }
    if (window > kMostWindow) {
        throw Error(ErrorKind::invalid,
                    format("unpacking it takes {} of memory (zstd's window), {} at most are "
                           "allowed: compress it without --long and --ultra",
                           human_bytes(window), human_bytes(kMostWindow)));
    }
}

void ZstdFrames::take_block_header() {
    const auto header = number(0, 3);
    last_block_ = (header & 1U) != 0;
    constexpr unsigned kRepeatedByte = 1;
    passing_ = (header >> 1U & 3U) == kRepeatedByte ? 1 : header >> 3U;
    expect(Part::block, 0);
    if (passing_ == 0) {
        end_block();
    }
}

void ZstdFrames::end_block() {
    if (!last_block_) {
        expect(Part::block_header, 3);
    } else if (has_checksum(descriptor_)) {
        expect(Part::checksum, 4);
    } else {
        expect(Part::magic, 4);
    }
}

}  // namespace kua::archive
