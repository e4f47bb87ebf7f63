// SPDX-License-Identifier: Apache-2.0
#include "lib/base/format.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kua {
namespace {

using testing::ElementsAre;

TEST(HumanBytes, AreDecimalAndShort) {
    EXPECT_EQ(human_bytes(0), "0 B");
    EXPECT_EQ(human_bytes(812), "812 B");
    EXPECT_EQ(human_bytes(999), "999 B");
    EXPECT_EQ(human_bytes(1000), "1.0 kB");
    EXPECT_EQ(human_bytes(9'940), "9.9 kB");
    EXPECT_EQ(human_bytes(9'960), "10 kB");
    EXPECT_EQ(human_bytes(61'400'000), "61 MB");
    EXPECT_EQ(human_bytes(999'600'000), "1.0 GB");
    EXPECT_EQ(human_bytes(1'400'000'000), "1.4 GB");
    EXPECT_EQ(human_bytes(UINT64_MAX), "18 EB");
}

TEST(Join, PutsTheSeparatorBetween) {
    EXPECT_EQ(join({}, ", "), "");
    EXPECT_EQ(join({"a"}, ", "), "a");
    EXPECT_EQ(join({"a", "", "b"}, ", "), "a, , b");
}

TEST(Split, KeepsEmptyPieces) {
    EXPECT_THAT(split("", ','), ElementsAre(""));
    EXPECT_THAT(split("a", ','), ElementsAre("a"));
    EXPECT_THAT(split(",a,,b,", ','), ElementsAre("", "a", "", "b", ""));
}

TEST(Trim, TakesWhiteSpaceAtBothEnds) {
    EXPECT_EQ(trim(" \t\r\n a b \n"), "a b");
    EXPECT_EQ(trim(" \n"), "");
    EXPECT_EQ(trim(""), "");
    EXPECT_EQ(trim("a"), "a");
}

TEST(Utf8, IsJudgedStrictly) {
    EXPECT_TRUE(is_utf8(""));
    EXPECT_TRUE(is_utf8("a\u00e9\u20ac\U0001f600"));
    EXPECT_FALSE(is_utf8("\xff"));
    EXPECT_FALSE(is_utf8("\xc3"));              // Cut.
    EXPECT_FALSE(is_utf8("\x80"));              // A continuation without a beginning.
    EXPECT_FALSE(is_utf8("\xc0\xaf"));          // Overlong.
    EXPECT_FALSE(is_utf8("\xe0\x80\x80"));      // Overlong.
    EXPECT_FALSE(is_utf8("\xed\xa0\x80"));      // A surrogate.
    EXPECT_FALSE(is_utf8("\xf4\x90\x80\x80"));  // Above U+10FFFF.
    EXPECT_FALSE(is_utf8("\xe2\x28\xa1"));
}

TEST(OneLine, HasNoLineBreaksAndNoControlCharacters) {
    EXPECT_EQ(one_line("a\nb\r\tc\x1b[31m"), "a b  c [31m");
    EXPECT_EQ(one_line(std::string_view("a\0b", 3)), "a b");
    EXPECT_EQ(one_line("a\u2028b\u0085c"), "a b c");
    EXPECT_EQ(one_line("a\xff\xfe"), "a??");
    EXPECT_EQ(one_line("\u00e9"), "\u00e9");
}

TEST(Excerpt, IsCutAtACharacter) {
    EXPECT_EQ(excerpt("abc", 3), "abc");
    EXPECT_EQ(excerpt("abcd", 3), "abc…");
    EXPECT_EQ(excerpt("ab\u00e9", 3), "ab…");
    EXPECT_EQ(excerpt("ab\u00e9", 4), "ab\u00e9");
    EXPECT_EQ(excerpt("a\nb", 9), "a b");
    EXPECT_EQ(excerpt("abc", 0), "…");
    EXPECT_EQ(excerpt("", 0), "");
    EXPECT_EQ(excerpt("\xc3", 9), "?");
    EXPECT_TRUE(is_utf8(excerpt("\xf0\x9f\x98\x80\xf0\x9f\x98", 6)));
}

TEST(UrlEncode, LeavesOnlyUnreservedCharacters) {
    EXPECT_EQ(url_encode("v1.30.4+k3s1"), "v1.30.4%2Bk3s1");
    EXPECT_EQ(url_encode("azAZ09-._~"), "azAZ09-._~");
    EXPECT_EQ(url_encode("a b/c?d=é"), "a%20b%2Fc%3Fd%3D%C3%A9");
}

}  // namespace
}  // namespace kua
