// SPDX-License-Identifier: Apache-2.0
// Tar archives byte by byte, also such as no tar program writes; and zstd frames of stored blocks.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace kua::test {

/// The fields of a ustar header that tests are about.
struct TarHeader {
    std::string name;
    std::uint64_t size = 0;
    char type = '0';
    std::string target{};
    std::string raw_size{};  ///< The size field's bytes, when they are not the octal `size`.
};

inline std::string tar_header(const TarHeader& header) {
    std::string block(512, '\0');
    const auto put = [&](std::size_t at, std::string_view text) {
        block.replace(at, text.size(), text);
    };
    const auto octal = [](std::uint64_t number, int digits) {
        char text[32];
        std::snprintf(text, sizeof text, "%0*llo", digits, static_cast<unsigned long long>(number));
        return std::string(text);
    };
    put(0, header.name.substr(0, 100));
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, header.raw_size.empty() ? octal(header.size, 11) : header.raw_size);
    put(136, "00000000000");
    put(148, "        ");
    block[156] = header.type;
    put(157, header.target.substr(0, 100));
    put(257, std::string_view("ustar\00000", 8));
    unsigned sum = 0;
    for (const char c : block) {
        sum += static_cast<unsigned char>(c);
    }
    put(148, octal(sum, 6));
    block[154] = '\0';
    return block;
}

inline std::string padded(std::string content) {
    content.resize((content.size() + 511) / 512 * 512);
    return content;
}

inline std::string tar_file(const std::string& name, const std::string& content) {
    return tar_header({name, content.size()}) + padded(content);
}

/// A pax record: `<length> <key>=<value>\n`, the length counting itself.
inline std::string pax_record(const std::string& key, const std::string& value) {
    const auto rest = " " + key + "=" + value + "\n";
    auto length = rest.size() + 1;
    while (std::to_string(length).size() + rest.size() != length) {
        ++length;
    }
    return std::to_string(length) + rest;
}

/// An extended header for the entry that follows (`x`) or for all that follow (`g`).
inline std::string pax_header(const std::string& records, char type = 'x') {
    return tar_header({"PaxHeaders/x", records.size(), type}) + padded(records);
}

inline std::string tar_end() { return std::string(1024, '\0'); }

/// One zstd frame with `descriptor` and `window` as its header's bytes; each block is stored.
inline std::string zstd_frame(const std::string& content, char window = 0x00) {
    std::string frame("\x28\xb5\x2f\xfd\x00", 5);
    frame += window;
    constexpr std::size_t kMostBlock = 1000;  // the smallest window's
    std::size_t at = 0;
    do {
        const auto block = content.substr(at, kMostBlock);
        at += block.size();
        const auto header = block.size() << 3U | (at == content.size() ? 1U : 0U);
        for (const unsigned shift : {0U, 8U, 16U}) {
            frame += static_cast<char>(header >> shift & 0xFFU);
        }
        frame += block;
    } while (at < content.size());
    return frame;
}

/// `count` times a block of 1024 zeros, four bytes each.
inline std::string zstd_zeros(std::size_t count) {
    std::string frame("\x28\xb5\x2f\xfd\x00\x00", 6);
    for (std::size_t number = 1; number <= count; ++number) {
        const unsigned header = 1024U << 3U | 1U << 1U | (number == count ? 1U : 0U);
        frame += static_cast<char>(header & 0xFFU);
        frame += static_cast<char>(header >> 8U & 0xFFU);
        frame += static_cast<char>(header >> 16U & 0xFFU);
        frame += '\0';
    }
    return frame;
}

}  // namespace kua::test
