// SPDX-License-Identifier: Apache-2.0
#include "lib/base/base64.hpp"

#include <cstdint>

namespace kua {

namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string base64_encode(std::string_view bytes) {
    std::string result;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const std::string_view three = bytes.substr(at, 3);
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            bits = bits << 8U | (i < three.size() ? static_cast<unsigned char>(three[i]) : 0U);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            result += i <= three.size() ? kAlphabet[bits >> (18U - 6U * i) & 0x3fU] : '=';
        }
    }
    return result;
}

std::optional<std::string> base64_decode(std::string_view text) {
    std::string result;
    std::uint32_t bits = 0;
    int count = 0;
    int padding = 0;
    for (const char letter : text) {
        if (letter == ' ' || letter == '\n' || letter == '\r' || letter == '\t') continue;
        if (letter == '=') {
            ++padding;
            continue;
        }
        const std::size_t value = kAlphabet.find(letter);
        if (value == std::string_view::npos || padding > 0) return std::nullopt;
        bits = (bits << 6U) | static_cast<std::uint32_t>(value);
        if (++count == 4) {
            for (const unsigned shift : {16U, 8U, 0U}) {
                result.push_back(static_cast<char>((bits >> shift) & 0xffU));
            }
            bits = 0;
            count = 0;
        }
    }
    if ((count + padding) % 4 != 0 || count == 1 || padding > 2) return std::nullopt;
    if (count >= 2) result.push_back(static_cast<char>((bits >> (count == 2 ? 4U : 10U)) & 0xffU));
    if (count == 3) result.push_back(static_cast<char>((bits >> 2U) & 0xffU));
    return result;
}

}  // namespace kua
