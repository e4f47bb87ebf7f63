// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/reference.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lib/oci/fake_registries.hpp"

namespace kua::oci {
namespace {

using ::testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');

TEST(Reference, IsNormalisedAsDockerDoesIt) {
    struct Case {
        std::string text;
        std::string expected;
    };
    for (const auto& [text, expected] : std::vector<Case>{
             {"rancher/k3s-upgrade", "docker.io/rancher/k3s-upgrade"},
             {"busybox", "docker.io/library/busybox"},
             {"docker.io/busybox", "docker.io/library/busybox"},
             {"index.docker.io/rancher/k3s-upgrade", "docker.io/rancher/k3s-upgrade"},
             {"docker.io/rancher/k3s-upgrade:v1.31.4-k3s1",
              "docker.io/rancher/k3s-upgrade:v1.31.4-k3s1"},
             {"mirror.lan/a/b/c", "mirror.lan/a/b/c"},
             {"mirror:5000/a", "mirror:5000/a"},
             {"mirror:5000/a:5000", "mirror:5000/a:5000"},
             {"localhost/a", "localhost/a"},
             {"Mirror.LAN/a", "mirror.lan/a"},
             {"[2001:db8::1]:5000/a:x", "[2001:db8::1]:5000/a:x"},
             {"a@" + kDigest, "docker.io/library/a@" + kDigest},
             {"r.io/a:tag@" + kDigest, "r.io/a:tag@" + kDigest},
             {"a__b/c--d/e.f_g", "docker.io/a__b/c--d/e.f_g"},
         }) {
        EXPECT_EQ(parse_reference(text).text(), expected) << text;
    }
    const auto whole = parse_reference("mirror:5000/a/b:v1@" + kDigest);
    EXPECT_EQ(whole.registry, "mirror:5000");
    EXPECT_EQ(whole.repository, "a/b");
    EXPECT_EQ(whole.tag, "v1");
    EXPECT_EQ(whole.digest, kDigest);
}

TEST(Reference, IsRefusedWhenTheGrammarDoesNotHaveIt) {
    for (const std::string text : {"",
                                   "/",
                                   "a/",
                                   "/a",
                                   "a//b",
                                   "A",
                                   "a/B",
                                   "Zrancher/a",
                                   "a:",
                                   ":a",
                                   "a:.x",
                                   "a:-x",
                                   "a@",
                                   "a@sha256:12",
                                   "a@sha512:aaaa",
                                   "a_-b",
                                   "a___b",
                                   "-a",
                                   "a-",
                                   "a..b",
                                   "a b",
                                   "a\nb",
                                   "../a",
                                   "a/../b",
                                   "host:port/a",
                                   "host:/a",
                                   "ho_st.x/a",
                                   "-h.x/a",
                                   "h..x/a",
                                   "https://h.x/a",
                                   "[::1/a",
                                   "h.x:123456/a",
                                   "a?b",
                                   "a#b",
                                   "a%2fb",
                                   "a:b:c"}) {
        const auto error = test::thrown_by([&text] { parse_reference(text); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << text;
    }
    EXPECT_EQ(test::thrown_by([] { parse_reference(std::string(64, 'a')); }).kind(),
              ErrorKind::invalid)
        << "an image's ID";
    EXPECT_EQ(test::thrown_by([] { parse_reference("a:" + std::string(129, 'a')); }).kind(),
              ErrorKind::invalid);
    EXPECT_EQ(parse_reference("a:" + std::string(128, 'a')).tag.size(), 128U);
    EXPECT_EQ(test::thrown_by([] { parse_reference("x.y/" + std::string(252, 'a')); }).kind(),
              ErrorKind::invalid);
    EXPECT_EQ(parse_reference("x.y/" + std::string(251, 'a')).repository.size(), 251U);
    const std::string said =
        test::thrown_by([] { parse_reference("bad\x1b[31m" + std::string(9999, 'x')); }).what();
    EXPECT_THAT(said, HasSubstr("'bad [31mxxx"));
    EXPECT_LT(said.size(), 500U) << "what came from outside is cut and made harmless";
}

}  // namespace
}  // namespace kua::oci
