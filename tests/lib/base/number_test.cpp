// SPDX-License-Identifier: Apache-2.0
#include "lib/base/number.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace kua {
namespace {

TEST(WholeNumber, IsDigitsAndNothingElse) {
    EXPECT_EQ(whole_number<unsigned>("0"), 0U);
    EXPECT_EQ(whole_number<unsigned>("0042"), 42U);
    for (const char* const text : {"", " 1", "1 ", "+1", "-1", "0x1", "1.0", "1e3", "a"}) {
        EXPECT_FALSE(whole_number<unsigned>(text)) << text;
    }
}

TEST(WholeNumber, FitsItsType) {
    EXPECT_EQ(whole_number<std::uint32_t>("4294967295"), 4294967295U);
    EXPECT_FALSE(whole_number<std::uint32_t>("4294967296"));
    EXPECT_EQ(whole_number<std::uint64_t>("18446744073709551615"), 18446744073709551615U);
    EXPECT_FALSE(whole_number<std::uint64_t>("18446744073709551616"));
}

}  // namespace
}  // namespace kua
