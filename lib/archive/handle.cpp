// SPDX-License-Identifier: Apache-2.0
#include "lib/archive/handle.hpp"

#include <archive.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::archive {

namespace {

constexpr std::size_t kPiece = std::size_t{64} << 10U;

}  // namespace

Handle::Handle(Input input, Most most)
    : archive_(archive_read_new()), input_(std::move(input)), most_(most) {
    if (archive_ == nullptr) {
        throw std::bad_alloc();
    }
}

Handle::~Handle() { archive_read_free(archive_); }

int Handle::open() {
    return run(
        [this] { return archive_read_open(archive_, this, nullptr, &Handle::pull, nullptr); });
}

std::string Handle::message() const {
    const char* text = archive_error_string(archive_);
    return text == nullptr ? "unknown error" : excerpt(text, 200);
}

std::string_view Handle::next_piece() {
    if (rest_.empty() && !at_end_) {
        rest_ = input_();
        at_end_ = rest_.empty();
    }
    const auto piece = rest_.substr(0, kPiece);
    taken_in_call_ += piece.size();
    taken_ += piece.size();
    if (taken_in_call_ > most_.in_a_call) {
        throw Error(ErrorKind::invalid,
                    format("a header is longer than {}", human_bytes(most_.in_a_call)));
    }
    if (taken_ > most_.in_all) {
        throw Error(ErrorKind::invalid, format("it holds more than {}, the most that is allowed",
                                               human_bytes(most_.in_all)));
    }
    rest_.remove_prefix(piece.size());
    return piece;
}

std::ptrdiff_t Handle::pull(::archive* archive, void* self, const void** buffer) noexcept {
    auto& handle = *static_cast<Handle*>(self);
    try {
        const auto piece = handle.next_piece();
        *buffer = piece.data();
        return static_cast<std::ptrdiff_t>(piece.size());
    } catch (...) {
        handle.thrown_ = std::current_exception();
        archive_set_error(archive, EIO, "the input failed");
        return ARCHIVE_FATAL;
    }
}

void Handle::finish() {
    if (thrown_) {
        std::rethrow_exception(std::exchange(thrown_, nullptr));
    }
}

}  // namespace kua::archive
