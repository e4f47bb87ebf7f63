// SPDX-License-Identifier: Apache-2.0
// Looks over zstd frames on their way to the decompressor (RFC 8878, 3.1): how much memory each
// asks for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/archive/archive.hpp"

namespace kua::archive {

/// The input without its skippable frames, which old libraries don't know. Throws Error{invalid}
/// for a frame whose window is larger than 32 MiB (the library would take 128 MiB), and for what is
/// no frame.
class ZstdFrames {
  public:
    explicit ZstdFrames(Input input);

    /// The next piece, good until the next call; empty at the end.
    std::string_view read();

  private:
    enum class Part {
        magic,
        descriptor,
        header,
        block_header,
        block,
        checksum,
        skippable_size,
        skippable
    };

    /// Goes over what of `rest_` belongs to the present frame; how many bytes that is.
    std::size_t scan();
    /// Adds bytes to the field until it has `wanted_`; how many it took.
    std::size_t collect(std::string_view bytes);
    [[nodiscard]] std::uint64_t number(std::size_t at, std::size_t size) const;
    void expect(Part part, std::size_t size);
    void take_magic();
    void take_descriptor();
    void check_window() const;
    void take_block_header();
    void end_block();

    Input input_;
    std::string_view rest_;
    Part part_ = Part::magic;
    std::string field_;          ///< What is here of a field that is looked at.
    std::size_t wanted_ = 4;     ///< Bytes of that field.
    std::uint64_t passing_ = 0;  ///< Bytes left of what is not looked at.
    unsigned descriptor_ = 0;
    bool last_block_ = false;
};

}  // namespace kua::archive
