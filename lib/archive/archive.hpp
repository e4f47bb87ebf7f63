// SPDX-License-Identifier: Apache-2.0
// Reads tar archives from outside, front to back, without writing anything anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kua::archive {

/// The next piece of the archive's bytes, good until the next call; empty at the end. May throw:
/// the exception reaches the caller of `next` or `read` as it was.
using Input = std::function<std::string_view()>;

/// What an entry is; `other` is a device, a pipe or the like.
enum class Kind { file, folder, symlink, hardlink, other };

struct Entry {
    /// Relative, without empty, `.` or `..` components and without control characters: `opt/k3s`
    /// for `./opt//k3s`. `.` for the archive's own root.
    std::string path;
    Kind kind = Kind::other;
    std::uint64_t size = 0;  ///< Of what `read` gives in all.
    /// Of a hard link, a path like `path`; of a symbolic link, whatever stands there.
    std::string target;
};

struct Limits {
    std::uint64_t entries = 100'000;
    std::uint64_t bytes = 4ULL << 30U;  ///< Decompressed, all entries and headers together.
    std::size_t path = 4096;            ///< Bytes of a name.
    /// Whether an archive that stops between two entries, without the blocks that mark its end,
    /// counts as truncated.
    bool end_marker = true;
};

/// Tar (ustar, pax, GNU) as it is, or compressed with gzip or zstd, also of several members or
/// frames; nothing else, and no second compression inside. Needs a few MiB, and as much as the
/// window that zstd asks for, which must not be larger than 32 MiB (`zstd --long` asks for more).
/// What follows the archive's end is not read.
///
/// Throws Error{invalid} that names the archive, and the entry, for what is no such archive, ends
/// too early, breaks a limit (noticed while it is read), has a sparse file, or a name that is
/// absolute, has `..` or control characters. After any exception the reader can only be destroyed.
class Reader {
  public:
    /// Reads nothing yet. `name` is the archive's, for messages.
    Reader(Input input, Limits limits, std::string name);
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    /// The next entry, whatever was read of the one before; absent at the archive's end.
    std::optional<Entry> next();
    /// The next piece of the present entry, good until the next call of either method; empty at its
    /// end, and only there.
    std::string_view read();

    /// Whether what was thrown means that the input ended before the archive did, as with a file
    /// that is still being written.
    [[nodiscard]] bool ended_early() const;

  private:
    class State;
    std::unique_ptr<State> state_;
};

}  // namespace kua::archive
