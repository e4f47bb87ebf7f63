// SPDX-License-Identifier: Apache-2.0
// A file read front to back that somebody else may still be writing.
#pragma once

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <string>
#include <string_view>

#include "lib/base/unique_fd.hpp"

namespace kua::fs {

class Reader {
  public:
    /// Opens a regular file. Throws Error{invalid} for anything else under that name (a symbolic
    /// link, a pipe, a device; none is waited for), or nothing; Error{failed} when it can't be
    /// opened.
    explicit Reader(std::filesystem::path path);

    /// The next bytes, good until the next call; empty at the end. Throws Error{failed}.
    std::string_view read();
    /// Bytes, when it was opened.
    [[nodiscard]] std::uint64_t size() const { return seen_.size; }
    /// Whether it was written to since it was opened. Throws Error{failed}.
    [[nodiscard]] bool changed() const;

  private:
    struct Seen {
        std::uint64_t size = 0;
        std::time_t seconds = 0;  ///< Of the last change.
        long nanoseconds = 0;
        bool operator==(const Seen&) const = default;
    };
    [[nodiscard]] Seen look() const;

    std::filesystem::path path_;
    UniqueFd fd_;
    Seen seen_;
    std::string piece_;
};

}  // namespace kua::fs
