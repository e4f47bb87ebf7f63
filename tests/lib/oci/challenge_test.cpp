// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/challenge.hpp"

#include <gtest/gtest.h>

namespace kua::oci {
namespace {

TEST(Challenge, IsReadWithQuotedStringsAndTokens) {
    const auto one = parse_challenges(
        R"(Bearer realm="https://auth.docker.io/token",service="registry.docker.io", )"
        R"(scope="repository:a/b:pull,push" , Error=invalid_token)");
    ASSERT_EQ(one.size(), 1U);
    EXPECT_EQ(one[0].scheme, "bearer");
    EXPECT_EQ(one[0].parameter("realm"), "https://auth.docker.io/token");
    EXPECT_EQ(one[0].parameter("scope"), "repository:a/b:pull,push");
    EXPECT_EQ(one[0].parameter("error"), "invalid_token");
    EXPECT_EQ(one[0].parameter("other"), "");
}

TEST(Challenge, MayBeOneOfSeveral) {
    const auto both = parse_challenges(R"(Basic realm="a \"b\", c", BEARER realm=x, Negotiate)");
    ASSERT_EQ(both.size(), 3U);
    EXPECT_EQ(both[0].parameter("realm"), "a \"b\", c");
    EXPECT_EQ(both[1].scheme, "bearer");
    EXPECT_EQ(both[1].parameter("realm"), "x");
    EXPECT_EQ(both[2].scheme, "negotiate");
}

TEST(Challenge, ThatMakesNoSenseIsNone) {
    for (const std::string text :
         {"", ",", "  ", "=", "\"", "Bearer realm=\"never closed", "Bearer realm=\"ends in \\"}) {
        EXPECT_TRUE(parse_challenges(text).empty()) << text;
    }
    EXPECT_EQ(parse_challenges("Basic realm=\"x\" ; what").size(), 1U);
    EXPECT_TRUE(parse_challenges("Basic =").at(0).parameters.empty());
}

}  // namespace
}  // namespace kua::oci
