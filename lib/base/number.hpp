// SPDX-License-Identifier: Apache-2.0
// Numbers out of text that somebody else wrote.
#pragma once

#include <charconv>
#include <concepts>
#include <optional>
#include <string_view>
#include <system_error>

namespace kua {

/// The number that `text` is in decimal digits, and nothing else. Absent otherwise, also when it is
/// too large for a `Number`.
template <std::unsigned_integral Number>
std::optional<Number> whole_number(std::string_view text) {
    Number number = 0;
    const char* const past = text.data() + text.size();
    const auto [end, code] = std::from_chars(text.data(), past, number);
    if (code != std::errc() || end != past) {
        return std::nullopt;
    }
    return number;
}

}  // namespace kua
