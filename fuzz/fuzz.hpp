// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets have in common: how they say that a property does not hold, and that only
// kua::Error may leave a reader of what comes from outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

/// One input. libFuzzer calls it, and takes an abort, a signal, a sanitizer's report or an
/// exception for a finding.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace kua::fuzz {

inline void require(bool holds, const char* property) {
    if (!holds) {
        std::fprintf(stderr, "does not hold: %s\n", property);
        std::abort();
    }
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

/// What the action gives; absent when it threw an Error that blames the input, in words that a log
/// can take.
template <typename Action>
auto accepted(Action&& action) -> std::optional<decltype(action())> {
    constexpr std::size_t kMostWords = 2000;
    try {
        return std::forward<Action>(action)();
    } catch (const Error& error) {
        const std::string_view words = error.what();
        require(error.kind() == ErrorKind::invalid, "an Error that blames the input is `invalid`");
        require(!words.empty() && words.size() < kMostWords, "a message is neither empty nor long");
        require(one_line(words) == words, "a message is one line of UTF-8");
        return std::nullopt;
    }
}

}  // namespace kua::fuzz
