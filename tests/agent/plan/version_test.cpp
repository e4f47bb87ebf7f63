// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/version.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace kua::plan {
namespace {

TEST(Version, ReadsBothSpellings) {
    struct Case {
        std::string_view text;
        Version expected;
    };
    const std::vector<Case> cases = {
        {"v1.30.4+k3s1", {1, 30, 4, 0, 1}},     {"v1.30.4-k3s1", {1, 30, 4, 0, 1}},
        {"1.30.4+k3s1", {1, 30, 4, 0, 1}},      {"v1.31.0-rc2+k3s1", {1, 31, 0, 2, 1}},
        {"v1.31.0-rc2-k3s1", {1, 31, 0, 2, 1}}, {"v0.0.0+k3s0", {0, 0, 0, 0, 0}},
        {"v1.30.10+k3s12", {1, 30, 10, 0, 12}}, {"v999999.1.1+k3s1", {999999, 1, 1, 0, 1}},
    };
    for (const auto& [text, expected] : cases) {
        const auto version = parse_version(text);
        ASSERT_TRUE(version) << text;
        EXPECT_EQ(*version, expected) << text;
    }
}

TEST(Version, IsAbsentForAnythingElseHoweverClose) {
    for (const std::string_view text : {"",
                                        "v",
                                        "1",
                                        "v1.30",
                                        "v1.30.4",
                                        "v1.30.4+k3s",
                                        "v1.30.4+rke2r1",
                                        "v1.30.4+k3s1 ",
                                        " v1.30.4+k3s1",
                                        "v1.30.4+k3s1\n",
                                        "v1.30.4+k3s1+k3s1",
                                        "vv1.30.4+k3s1",
                                        "V1.30.4+k3s1",
                                        "v01.30.4+k3s1",
                                        "v1.030.4+k3s1",
                                        "v1.30.4+k3s01",
                                        "v-1.30.4+k3s1",
                                        "v1.30.4-rc+k3s1",
                                        "v1.30.4-rc0+k3s1",
                                        "v1.30.4-rc01+k3s1",
                                        "v1.30.4-rc1",
                                        "v1.30.4-alpha.1",
                                        "v1.30.4+k3s-",
                                        "v1.30.4-+k3s1",
                                        "v1.30.4+k3s1-\xc3\xa4",
                                        "v1.30.4+k3s-98262b5d+x",
                                        "v1.30.4_k3s1",
                                        "v1.30.4 k3s1",
                                        "v1000000.1.1+k3s1",
                                        "v99999999999999999999.1.1+k3s1",
                                        "v1..4+k3s1",
                                        "v1.x.4+k3s1",
                                        "latest",
                                        "stable"}) {
        EXPECT_FALSE(parse_version(text)) << text;
    }
}

TEST(Version, MayBeABuildThatIsNoRelease) {
    for (const auto& [text, written] : {
             std::pair("v1.30.4+k3s-98262b5d", "v1.30.4+k3s-98262b5d"),
             std::pair("v1.30.4-k3s-98262b5d", "v1.30.4+k3s-98262b5d"),
             std::pair("1.30.4+k3s1-dirty", "v1.30.4+k3s1-dirty"),
             std::pair("v1.31.0-alpha.1+k3s1", "v1.31.0-alpha.1+k3s1"),
             std::pair("v1.31.0-alpha.1-k3s1", "v1.31.0-alpha.1+k3s1"),
         }) {
        const auto version = parse_version(text);
        ASSERT_TRUE(version) << text;
        EXPECT_EQ(version->text(), written);
        EXPECT_EQ(parse_version(version->tag()), version);
    }
}

TEST(Version, IsComparableWhereSomethingOrdersThem) {
    for (const auto& [one, other, can] : {
             std::tuple("v1.30.4+k3s1", "v1.30.4+k3s2", true),
             std::tuple("v1.30.4+k3s-98262b5d", "v1.30.5+k3s1", true),
             std::tuple("v1.30.4+k3s-98262b5d", "v1.30.4+k3s-98262b5d", true),
             std::tuple("v1.30.4+k3s-98262b5d", "v1.30.4+k3s-abcdef01", false),
             std::tuple("v1.30.4+k3s-98262b5d", "v1.30.4+k3s1", false),
         }) {
        EXPECT_EQ(comparable(*parse_version(one), *parse_version(other)), can) << one << other;
        EXPECT_EQ(comparable(*parse_version(other), *parse_version(one)), can) << one << other;
    }
}

TEST(Version, IsOrderedByAge) {
    const std::vector<std::string_view> by_age = {
        "v1.29.9+k3s1",      "v1.30.0-rc1+k3s1", "v1.30.0-rc1+k3s2", "v1.30.0-rc2+k3s1",
        "v1.30.0-rc10+k3s1", "v1.30.0+k3s1",     "v1.30.0+k3s2",     "v1.30.0+k3s10",
        "v1.30.4+k3s1",      "v1.30.10+k3s1",    "v1.31.0+k3s1",     "v2.0.0+k3s1"};
    for (std::size_t i = 0; i < by_age.size(); ++i) {
        for (std::size_t j = 0; j < by_age.size(); ++j) {
            const auto left = parse_version(by_age[i]);
            const auto right = parse_version(by_age[j]);
            ASSERT_TRUE(left && right);
            EXPECT_EQ(*left < *right, i < j) << by_age[i] << " " << by_age[j];
            EXPECT_EQ(*left == *right, i == j) << by_age[i] << " " << by_age[j];
        }
    }
}

TEST(Version, IsWrittenAsK3sAndAsATagWritesIt) {
    const auto version = parse_version("1.30.4-k3s1");
    ASSERT_TRUE(version);
    EXPECT_EQ(version->text(), "v1.30.4+k3s1");
    EXPECT_EQ(version->tag(), "v1.30.4-k3s1");
    const auto candidate = parse_version("v1.31.0-rc2+k3s1");
    ASSERT_TRUE(candidate);
    EXPECT_EQ(candidate->text(), "v1.31.0-rc2+k3s1");
    EXPECT_EQ(candidate->tag(), "v1.31.0-rc2-k3s1");
}

TEST(Version, IsFoundInWhatK3sPrints) {
    struct Case {
        std::string_view output;
        std::string_view expected;
    };
    const std::vector<Case> cases = {
        {"k3s version v1.20.8+k3s1 (5d0a12a6)\ngo version go1.19.8\n", "v1.20.8+k3s1"},
        {"k3s version v1.31.0-rc1+k3s1 (HEAD)", "v1.31.0-rc1+k3s1"},
        {"k3s version v1.20.8+k3s1\r\ngo", "v1.20.8+k3s1"},
        {"k3s version v1.20.8+k3s1", "v1.20.8+k3s1"},
        // k3s prints the name that it was called by.
        {"binary.partial version v1.21.2+k3s1 (5a67e8dc)\ngo version go1.16.4\n", "v1.21.2+k3s1"},
        {".k3s.next version v1.21.2+k3s1 (5a67e8dc)\n", "v1.21.2+k3s1"},
    };
    for (const auto& [output, expected] : cases) {
        const auto version = parse_version_output(output);
        ASSERT_TRUE(version) << output;
        EXPECT_EQ(version->text(), expected);
    }
    for (const std::string_view output :
         {"", "\n", "k3s version", "k3s version ", "k3s version dev (HEAD)",
          " version v1.20.8+k3s1", "go version go1.19.8\nk3s version v1.20.8+k3s1 (5d0a12a6)",
          "v1.20.8+k3s1"}) {
        EXPECT_FALSE(parse_version_output(output)) << output;
    }
}

TEST(Version, IsMungedWhateverTheTextIs) {
    EXPECT_EQ(munge("v1.30.4+k3s1"), "v1.30.4-k3s1");
    EXPECT_EQ(munge("a+b+c"), "a-b-c");
    EXPECT_EQ(munge(""), "");
}

}  // namespace
}  // namespace kua::plan
