// SPDX-License-Identifier: Apache-2.0
#include "lib/base/base64.hpp"

#include <gtest/gtest.h>

namespace kua {
namespace {

TEST(Base64, IsEncodedInOneLineWithPadding) {
    // RFC 4648, 10.
    EXPECT_EQ(base64_encode(""), "");
    EXPECT_EQ(base64_encode("f"), "Zg==");
    EXPECT_EQ(base64_encode("fo"), "Zm8=");
    EXPECT_EQ(base64_encode("foo"), "Zm9v");
    EXPECT_EQ(base64_encode("foob"), "Zm9vYg==");
    EXPECT_EQ(base64_encode("fooba"), "Zm9vYmE=");
    EXPECT_EQ(base64_encode("foobar"), "Zm9vYmFy");
    EXPECT_EQ(base64_encode("\xff\xfe:\xfb"), "//46+w==");
}

TEST(Base64, IsDecodedWithLinesFoldedAnywhere) {
    EXPECT_EQ(base64_decode(""), "");
    EXPECT_EQ(base64_decode("Zg=="), "f");
    EXPECT_EQ(base64_decode("Zm8="), "fo");
    EXPECT_EQ(base64_decode("Zm9v"), "foo");
    EXPECT_EQ(base64_decode(" Zm9v\r\nYm\tFy \n"), "foobar");
    EXPECT_EQ(base64_decode("+/+/AP8="), std::string("\xfb\xff\xbf\x00\xff", 5));
}

TEST(Base64, IsNotGuessed) {
    for (const char* const text : {"Z", "Zg", "Zg=", "Zm8", "Zg==Zg==", "=",
                                   "====", "Zm9v=", "Zm_v", "Zm9v!", "Z===", "Zg\v=="}) {
        EXPECT_FALSE(base64_decode(text)) << text;
    }
}

}  // namespace
}  // namespace kua
