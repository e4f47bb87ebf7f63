// SPDX-License-Identifier: Apache-2.0
// What the tests of archives share: an input from a text, and all of an archive read.
#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/archive/archive.hpp"
#include "lib/base/error.hpp"

namespace kua::archive {

/// Gives `text` in pieces of `size` bytes, each in memory of its own, so that one that is used
/// after its time is found by the sanitizers.
inline Input pieces(std::string text, std::size_t size = std::numeric_limits<std::size_t>::max()) {
    struct State {
        std::string text;
        std::size_t at = 0;
        std::unique_ptr<std::string> piece;
    };
    auto state = std::make_shared<State>();
    state->text = std::move(text);
    return [state, size]() -> std::string_view {
        state->piece = std::make_unique<std::string>(state->text.substr(state->at, size));
        state->at += state->piece->size();
        return *state->piece;
    };
}

struct Read {
    Entry entry;
    std::string content;
};

inline std::vector<Read> read_all(Reader& reader) {
    std::vector<Read> result;
    while (auto entry = reader.next()) {
        result.push_back({*entry, ""});
        for (auto piece = reader.read(); !piece.empty(); piece = reader.read()) {
            result.back().content += piece;
        }
    }
    return result;
}

inline std::vector<Read> read_all(const std::string& bytes, Limits limits = {},
                                  std::size_t piece = std::numeric_limits<std::size_t>::max()) {
    Reader reader(pieces(bytes, piece), limits, "bundle.tar");
    return read_all(reader);
}

struct Refusal {
    std::string message;
    bool early = false;
};

/// How reading `bytes` is refused; a test failure when it is not, or with another kind.
inline Refusal refusal(Input input, Limits limits = {}) {
    Reader reader(std::move(input), limits, "bundle.tar");
    try {
        while (reader.next()) {
            while (!reader.read().empty()) {
            }
        }
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << error.what();
        EXPECT_EQ(std::string(error.what()).find("archive bundle.tar"), 0U) << error.what();
        return {error.what(), reader.ended_early()};
    }
    ADD_FAILURE() << "it was read";
    return {};
}

inline Refusal refusal(const std::string& bytes, Limits limits = {}) {
    return refusal(pieces(bytes), limits);
}

}  // namespace kua::archive
