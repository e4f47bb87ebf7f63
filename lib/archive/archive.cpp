// SPDX-License-Identifier: Apache-2.0
#include "lib/archive/archive.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <utility>

#include "lib/archive/decompressor.hpp"
#include "lib/archive/handle.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::archive {

namespace {

/// For one entry's headers, all extended ones together.
constexpr std::size_t kMostHeader = std::size_t{4} << 20U;

/// `path` without empty and `.` components; throws Error{invalid} for one that leads elsewhere.
std::string normalised(std::string_view path, std::size_t most) {
    if (path.empty()) {
        throw Error(ErrorKind::invalid, "an entry has no name");
    }
    if (path.size() > most) {
        throw Error(ErrorKind::invalid,
                    format("\"{}\": the name is longer than {} bytes", excerpt(path, 60), most));
    }
    if (std::any_of(path.begin(), path.end(),
                    [](unsigned char c) { return c < ' ' || c == 127; })) {
        throw Error(ErrorKind::invalid,
                    format("\"{}\": control characters in a name", excerpt(path, 200)));
    }
    if (path.front() == '/') {
        throw Error(ErrorKind::invalid, format("\"{}\": an absolute name", excerpt(path, 200)));
    }
    std::string result;
    for (const auto& component : split(path, '/')) {
        if (component == "..") {
            throw Error(ErrorKind::invalid,
                        format("\"{}\": a name with \"..\"", excerpt(path, 200)));
        }
        if (!component.empty() && component != ".") {
            result += result.empty() ? component : "/" + component;
        }
    }
    return result.empty() ? "." : result;
}

/// Null when the name can't be had. The library keeps names in the locale's characters, in UTF-8,
/// or both.
const char* path_of(archive_entry* entry) {
    const char* path = archive_entry_pathname(entry);
    return path != nullptr ? path : archive_entry_pathname_utf8(entry);
}

/// Likewise, for a hard link; null when it is none.
const char* target_of(archive_entry* entry) {
    const char* path = archive_entry_hardlink(entry);
    return path != nullptr ? path : archive_entry_hardlink_utf8(entry);
}

std::string text_or_empty(const char* text) { return text != nullptr ? text : ""; }

Kind kind_of(archive_entry* entry) {
    if (target_of(entry) != nullptr) {
        return Kind::hardlink;
    }
    switch (archive_entry_filetype(entry)) {
        case AE_IFREG:
            return Kind::file;
        case AE_IFDIR:
            return Kind::folder;
        case AE_IFLNK:
            return Kind::symlink;
        default:
            return Kind::other;
    }
}

}  // namespace

/// Two readers of the library, the one for the compression feeding the one for tar: so every
/// decompressed byte passes before our eyes, and can be counted before something is made of it.
class Reader::State {
  public:
    State(Input input, Limits limits, std::string name)
        : limits_(limits),
          name_(std::move(name)),
          input_(std::move(input)),
          decompressor_([this] { return from_input(); }),
          tar_([this] { return decompressor_.read(); }, {kMostHeader, limits.bytes}) {}

    /// Runs `action`, with the archive's name, and the entry's, put before the message of our own
    /// errors; the input's go on as they are.
    template <typename Action>
    auto named(const Action& action) {
        try {
            return action();
        } catch (const Error& error) {
            if (input_failed_) {
                throw;
            }
            throw error.within(entry_ ? format("archive {}: {}", name_, excerpt(entry_->path, 200))
                                      : format("archive {}", name_));
        }
    }

    std::optional<Entry> next();
    std::string_view read();
    [[nodiscard]] bool ended_early() const { return ended_early_ || decompressor_.ended_early(); }

  private:
    std::string_view from_input();
    void open();
    Entry take(archive_entry* entry);
    void check_end_marker();
    [[noreturn]] void fail();
    [[noreturn]] void break_off();

    Limits limits_;
    std::string name_;
    Input input_;
    Decompressor decompressor_;
    Handle tar_;
    bool opened_ = false;
    bool input_failed_ = false;
    bool ended_early_ = false;
    std::uint64_t entries_ = 0;
    std::optional<Entry> entry_;  ///< The present one.
    std::uint64_t read_ = 0;      ///< Of the present entry.
    bool entry_ended_ = true;
};

std::string_view Reader::State::from_input() {
    try {
        return input_();
    } catch (...) {
        input_failed_ = true;
        throw;
    }
}

void Reader::State::break_off() {
    ended_early_ = true;
    throw Error(ErrorKind::invalid, "ends too early");
}

void Reader::State::fail() {
    if (tar_.ran_out()) {
        break_off();
    }
    const auto said = tar_.message();
    throw Error(ErrorKind::invalid, entries_ == 0 ? format("is no tar archive: {}", said) : said);
}

void Reader::State::open() {
    opened_ = true;
    archive_read_support_format_tar(tar_.get());
    if (tar_.open() != ARCHIVE_OK) {
        fail();
    }
}

std::optional<Entry> Reader::State::next() {
    if (!opened_) {
        open();
    }
    // The library would skip what is left in one call, which takes more input than a call may.
    while (!read().empty()) {
    }
    entry_.reset();
    archive_entry* entry = nullptr;
    const int result = tar_.run([&] { return archive_read_next_header(tar_.get(), &entry); });
    if (result == ARCHIVE_EOF) {
        check_end_marker();
        return std::nullopt;
    }
    // A warning is about names in other characters than the locale's.
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) {
        fail();
    }
    if (++entries_ > limits_.entries) {
        throw Error(ErrorKind::invalid, format("more than {} entries", limits_.entries));
    }
    entry_ = take(entry);
    read_ = 0;
    entry_ended_ = false;
    return entry_;
}

Entry Reader::State::take(archive_entry* entry) {
    Entry taken;
    taken.path = normalised(text_or_empty(path_of(entry)), limits_.path);
    taken.kind = kind_of(entry);
    const auto fail_for = [&](std::string_view why) {
        throw Error(ErrorKind::invalid, format("{}: {}", excerpt(taken.path, 200), why));
    };
    if (taken.kind == Kind::hardlink) {
        taken.target = with_context(format("{}: a hard link to", excerpt(taken.path, 200)), [&] {
            return normalised(text_or_empty(target_of(entry)), limits_.path);
        });
    } else if (taken.kind == Kind::symlink) {
        taken.target = text_or_empty(archive_entry_symlink(entry));
    }
    if (archive_entry_sparse_count(entry) > 0) {
        fail_for("a sparse file; make the archive without --sparse");
    }
    if (taken.kind == Kind::file) {
        const auto size = archive_entry_size(entry);
        if (size < 0) {
            fail_for("a negative size");
        }
        taken.size = static_cast<std::uint64_t>(size);
        if (taken.size > limits_.bytes) {
            fail_for(format("{} are more than the {} that are allowed", human_bytes(taken.size),
                            human_bytes(limits_.bytes)));
        }
    }
    return taken;
}

void Reader::State::check_end_marker() {
    // Header position: where the library looked for the next header; what it took from there on is
    // the marker.
    if (limits_.end_marker &&
        archive_filter_bytes(tar_.get(), 0) <= archive_read_header_position(tar_.get())) {
        break_off();
    }
}

std::string_view Reader::State::read() {
    while (!entry_ended_) {
        const void* data = nullptr;
        std::size_t size = 0;
        la_int64_t offset = 0;
        const int result =
            tar_.run([&] { return archive_read_data_block(tar_.get(), &data, &size, &offset); });
        if (result == ARCHIVE_EOF) {
            entry_ended_ = true;
            if (entry_->kind == Kind::file && read_ != entry_->size) {
                throw Error(ErrorKind::invalid, "not as long as its header says");
            }
            break;
        }
        if (result != ARCHIVE_OK) {
            fail();
        }
        if (size == 0) {
            continue;
        }
        if (entry_->kind != Kind::file || offset < 0 ||
            static_cast<std::uint64_t>(offset) != read_ || size > entry_->size - read_) {
            throw Error(ErrorKind::invalid, "its content is not where it should be");
        }
        read_ += size;
        return {static_cast<const char*>(data), size};
    }
    return {};
}

Reader::Reader(Input input, Limits limits, std::string name)
    : state_(std::make_unique<State>(std::move(input), limits, std::move(name))) {}

Reader::~Reader() = default;

std::optional<Entry> Reader::next() {
    return state_->named([this] { return state_->next(); });
}

std::string_view Reader::read() {
    return state_->named([this] { return state_->read(); });
}

bool Reader::ended_early() const { return state_->ended_early(); }

}  // namespace kua::archive
