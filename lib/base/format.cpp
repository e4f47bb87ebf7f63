// SPDX-License-Identifier: Apache-2.0
#include "lib/base/format.hpp"

#include <array>
#include <cstddef>

namespace kua {

namespace {

struct Character {
    std::size_t length = 0;  ///< In bytes; 0 when they are not UTF-8.
    char32_t value = 0;
};

/// The character that begins at the front of `text`, which is not empty. Strict: no overlong forms,
/// no surrogates.
Character first_character(std::string_view text) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80U) {
        return {1, lead};
    }
    std::size_t length = 0;
    char32_t value = 0;
    char32_t least = 0;
    if ((lead & 0xE0U) == 0xC0U) {
        length = 2;
        value = lead & 0x1FU;
        least = 0x80;
    } else if ((lead & 0xF0U) == 0xE0U) {
        length = 3;
        value = lead & 0x0FU;
        least = 0x800;
    } else if ((lead & 0xF8U) == 0xF0U) {
        length = 4;
        value = lead & 0x07U;
        least = 0x10000;
    } else {
        return {};
    }
    if (text.size() < length) {
        return {};
    }
    for (std::size_t at = 1; at < length; ++at) {
        if ((byte(at) & 0xC0U) != 0x80U) {
            return {};
        }
        value = (value << 6U) | (byte(at) & 0x3FU);
    }
    if (value < least || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
        return {};
    }
    return {length, value};
}

bool breaks_a_line(char32_t value) {
    return value < 0x20 || (value >= 0x7F && value < 0xA0) || value == 0x2028 || value == 0x2029;
}

/// Appends what may stand in a line for `character`, found at the front of `text`.
void append_printable(std::string& line, const Character& character, std::string_view text) {
    if (character.length == 0) {
        line += '?';
    } else if (breaks_a_line(character.value)) {
        line += ' ';
    } else {
        line += text.substr(0, character.length);
    }
}

}  // namespace

std::string human_bytes(std::uint64_t bytes) {
    static constexpr std::array kUnits{"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    // 999.5 would be printed as 1000.
    while (value >= 999.5 && unit + 1 < kUnits.size()) {
        value /= 1000;
        ++unit;
    }
    const bool with_decimal = unit > 0 && value < 9.95;
    return with_decimal ? format("{:.1f} {}", value, kUnits.at(unit))
                        : format("{:.0f} {}", value, kUnits.at(unit));
}

std::string join(const std::vector<std::string>& pieces, std::string_view separator) {
    std::string joined;
    for (std::size_t index = 0; index < pieces.size(); ++index) {
        if (index > 0) {
            joined += separator;
        }
        joined += pieces[index];
    }
    return joined;
}

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> pieces;
    std::size_t begin = 0;
    while (true) {
        const std::size_t end = text.find(separator, begin);
        pieces.emplace_back(text.substr(begin, end - begin));
        if (end == std::string_view::npos) {
            return pieces;
        }
        begin = end + 1;
    }
}

std::string_view trim(std::string_view text) {
    static constexpr std::string_view kWhite = " \t\r\n";
    const std::size_t begin = text.find_first_not_of(kWhite);
    if (begin == std::string_view::npos) {
        return {};
    }
    return text.substr(begin, text.find_last_not_of(kWhite) - begin + 1);
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = first_character(text).length;
        if (length == 0) {
            return false;
        }
        text.remove_prefix(length);
    }
    return true;
}

std::string one_line(std::string_view text) {
    std::string line;
    line.reserve(text.size());
    while (!text.empty()) {
        const Character character = first_character(text);
        append_printable(line, character, text);
        text.remove_prefix(character.length == 0 ? 1 : character.length);
    }
    return line;
}

std::string excerpt(std::string_view text, std::size_t most) {
    std::string line;
    std::size_t taken = 0;
    while (taken < text.size()) {
        const std::string_view rest = text.substr(taken);
        const Character character = first_character(rest);
        const std::size_t length = character.length == 0 ? 1 : character.length;
        if (taken + length > most) {
            return line + "…";
        }
        append_printable(line, character, rest);
        taken += length;
    }
    return line;
}

std::string url_encode(std::string_view text) {
    static constexpr std::string_view kHex = "0123456789ABCDEF";
    std::string encoded;
    for (const char character : text) {
        const bool unreserved = (character >= 'A' && character <= 'Z') ||
                                (character >= 'a' && character <= 'z') ||
                                (character >= '0' && character <= '9') || character == '-' ||
                                character == '.' || character == '_' || character == '~';
        if (unreserved) {
            encoded += character;
        } else {
            const auto byte = static_cast<unsigned char>(character);
            encoded += '%';
            encoded += kHex[byte >> 4U];
            encoded += kHex[byte & 0x0FU];
        }
    }
    return encoded;
}

}  // namespace kua
