// SPDX-License-Identifier: Apache-2.0
#include "lib/archive/zstd_frames.hpp"

#include <gmock/gmock.h>

#include "tests/lib/archive/pieces.hpp"
#include "tests/lib/archive/tar_writer.hpp"

namespace kua::archive {
namespace {

std::string pass(const std::string& bytes, std::size_t piece) {
    ZstdFrames frames(pieces(bytes, piece));
    std::string passed;
    for (auto next = frames.read(); !next.empty(); next = frames.read()) {
        passed += next;
    }
    return passed;
}

std::string skippable(const std::string& content) {
    std::string frame("\x50\x2a\x4d\x18", 4);
    for (const unsigned shift : {0U, 8U, 16U, 24U}) {
        frame += static_cast<char>(content.size() >> shift & 0xFFU);
    }
    return frame + content;
}

TEST(ZstdFrames, HandsFramesOnAsTheyAre) {
    const auto bytes =
        test::zstd_frame(std::string(5000, 'x')) + test::zstd_zeros(3) + test::zstd_frame("");
    for (const std::size_t piece : {1U, 2U, 3U, 1000U, 100'000U}) {
        EXPECT_EQ(pass(bytes, piece), bytes);
    }
}

TEST(ZstdFrames, LeavesSkippableOnesOut) {
    const auto frame = test::zstd_frame("x");
    for (const std::size_t piece : {1U, 2U, 3U, 1000U}) {
        EXPECT_EQ(pass(skippable("") + frame + skippable(std::string(10, 's')) + frame, piece),
                  frame + frame);
    }
}

TEST(ZstdFrames, ReadsEveryKindOfHeader) {
    struct Case {
        std::string header;  ///< After the magic.
        bool good = true;
    };
    using namespace std::string_literals;
    for (const auto& [header, good] : std::vector<Case>{
             {"\x20\x01"s},                                     // single segment, 1 byte of size
             {"\x60\x00\x01"s},                                 // 2 bytes
             {"\xa0\x00\x00\x00\x02"s},                         // 4 bytes: 32 MiB
             {"\xa0\x01\x00\x00\x02"s, false},                  // one more
             {"\xe0\x00\x00\x00\x00\x01\x00\x00\x00"s, false},  // 8 bytes: 4 GiB
             {"\xc0\x00\x00\x00\x00\x00\x01\x00\x00\x00"s},     // the same, with a small window
             {"\x24\x01"s},                                     // a checksum
             {"\x03\x00\xff\xff\xff\xff"s},                     // a dictionary's number
             {"\x23\xff\xff\xff\xff\x01"s},
             {"\x00\x78"s},  // 32 MiB
             {"\x00\x79"s, false},
         }) {
        const bool checksum = (static_cast<unsigned char>(header[0]) & 4U) != 0;
        const auto bytes = "\x28\xb5\x2f\xfd"s + header + "\x09\x00\x00x"s +
                           (checksum ? "sums"s : ""s) + test::zstd_frame("y");
        for (const std::size_t piece : {1U, 1000U}) {
            try {
                EXPECT_EQ(pass(bytes, piece), bytes);
                EXPECT_TRUE(good) << testing::PrintToString(header);
            } catch (const Error& error) {
                EXPECT_EQ(error.kind(), ErrorKind::invalid);
                EXPECT_FALSE(good) << error.what() << testing::PrintToString(header);
            }
        }
    }
}

TEST(ZstdFrames, RefusesWhatIsNone) {
    EXPECT_THROW(pass(test::zstd_frame("x") + "garbage", 3), Error);
}

}  // namespace
}  // namespace kua::archive
