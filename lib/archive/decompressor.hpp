// SPDX-License-Identifier: Apache-2.0
// Undoes one compression, gzip's or zstd's, or none.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lib/archive/archive.hpp"

namespace kua::archive {

class Handle;
class ZstdFrames;

/// What it is compressed with shows in the first bytes. Throws Error{invalid} (without a name
/// before it).
class Decompressor {
  public:
    explicit Decompressor(Input input);
    ~Decompressor();
    Decompressor(const Decompressor&) = delete;
    Decompressor& operator=(const Decompressor&) = delete;

    /// The next piece, good until the next call; empty at the end.
    std::string_view read();
    /// Whether what was thrown means that the compressed input ended too early.
    [[nodiscard]] bool ended_early() const { return ended_early_; }

  private:
    void look();
    void open_filter();
    std::string_view raw();
    void check(int result, int good);

    Input input_;
    bool looked_ = false;
    bool begun_ = false;  ///< `head_` was handed on.
    std::string head_;    ///< What the look took from the input.
    std::unique_ptr<ZstdFrames> frames_;
    std::unique_ptr<Handle> handle_;  ///< None for what is not compressed.
    bool ended_ = false;
    bool ended_early_ = false;
};

}  // namespace kua::archive
