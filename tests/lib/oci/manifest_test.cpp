// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/manifest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lib/oci/fake_registries.hpp"

namespace kua::oci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string digest(char c) { return "sha256:" + std::string(64, c); }

Json entry(char name, const std::string& os, const std::string& arch,
           const std::string& variant = "") {
    Json platform{{"os", os}, {"architecture", arch}};
    if (!variant.empty()) platform["variant"] = variant;
    return {{"mediaType", "application/vnd.oci.image.manifest.v1+json"},
            {"digest", digest(name)},
            {"size", 1},
            {"platform", platform}};
}

std::string index(const std::vector<Json>& entries) {
    return Json{{"schemaVersion", 2}, {"manifests", entries}}.dump();
}

TEST(ImageIndex, GivesTheImageOfTheArchitecture) {
    const auto all = index({entry('1', "windows", "amd64"), entry('2', "linux", "amd64", "v3"),
                            entry('3', "linux", "amd64"), entry('4', "linux", "arm", "v6"),
                            entry('5', "linux", "arm", "v7"), entry('6', "linux", "arm64", "v8"),
                            entry('7', "unknown", "unknown"), entry('8', "linux", "amd64")});
    EXPECT_EQ(pick_platform(all, "amd64", "x"), digest('3'));
    EXPECT_EQ(pick_platform(all, "arm", "x"), digest('5'));
    EXPECT_EQ(pick_platform(all, "arm64", "x"), digest('6'));
    EXPECT_EQ(pick_platform(index({entry('a', "linux", "arm")}), "arm", "x"), digest('a'));
}

TEST(ImageIndex, WithoutTheArchitectureSaysWhatItHas) {
    const auto error = test::thrown_by([] {
        pick_platform(index({entry('1', "linux", "arm", "v8"), entry('2', "windows", "amd64"),
                             entry('3', "unknown", "unknown"), entry('4', "linux", "s390x")}),
                      "arm", "docker.io/a:b");
    });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("docker.io/a:b"), HasSubstr("linux/arm;"),
                                    HasSubstr("linux/arm/v8, windows/amd64, linux/s390x"),
                                    Not(HasSubstr("unk"))));
}

TEST(ImageIndex, IsToldFromAManifest) {
    const std::string oci_index = "application/vnd.oci.image.index.v1+json";
    EXPECT_TRUE(is_index(R"({"mediaType":")" + oci_index + R"("})", "", "x"));
    EXPECT_TRUE(is_index("{}", oci_index + "; charset=utf-8", "x"));
    EXPECT_TRUE(is_index(R"({"manifests":[]})", "", "x"));
    EXPECT_FALSE(is_index(R"({"layers":[]})", oci_index, "x"));
    EXPECT_FALSE(is_index("{}", "application/json", "x"));
    EXPECT_EQ(test::thrown_by([] { is_index(R"({"layers":[],"manifests":[]})", "", "x"); }).kind(),
              ErrorKind::invalid);
}

TEST(ImageIndex, ThatIsBrokenIsRefused) {
    auto nested = entry('1', "linux", "amd64");
    nested["mediaType"] = "application/vnd.docker.distribution.manifest.list.v2+json";
    auto digestless = entry('1', "linux", "amd64");
    digestless["digest"] = "sha256:../../x";
    for (const std::string& text :
         std::vector<std::string>{std::string("[]"), std::string("{"), std::string("{}"),
                                  std::string(R"({"manifests":{}})"), index({nested}),
                                  index({digestless}), index({Json::array({1}), Json(3), Json()}),
                                  index(std::vector<Json>(1001, entry('1', "linux", "amd64")))}) {
        EXPECT_EQ(test::thrown_by([&] { pick_platform(text, "amd64", "x"); }).kind(),
                  ErrorKind::invalid)
            << text.substr(0, 200);
    }
}

TEST(ImageManifest, GivesItsLayers) {
    const Json layer{{"mediaType", "application/vnd.oci.image.layer.v1.tar+gzip"},
                     {"digest", digest('a')},
                     {"size", 7},
                     {"annotations", {{"k", "v"}, {"n", 1}}}};
    const auto manifest =
        parse_manifest(Json{{"schemaVersion", 2}, {"layers", {layer}}}.dump(), "x");
    ASSERT_EQ(manifest.layers.size(), 1U);
    EXPECT_EQ(manifest.layers[0].digest, digest('a'));
    EXPECT_EQ(manifest.layers[0].size, 7U);
    EXPECT_EQ(manifest.layers[0].annotations.at("k"), "v");
    EXPECT_EQ(manifest.layers[0].annotations.size(), 1U);
}

TEST(ImageManifest, ThatIsBrokenOrForeignIsRefused) {
    const Json good{{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                    {"digest", digest('a')},
                    {"size", 7}};
    const auto with = [&good](const std::string& key, const Json& value) {
        Json layer = good;
        layer[key] = value;
        return Json{{"schemaVersion", 2}, {"layers", {layer}}}.dump();
    };
    for (const std::string& text : std::vector<std::string>{
             "{}", R"({"schemaVersion":1,"layers":[]})", R"({"schemaVersion":2})",
             R"({"schemaVersion":2,"layers":[1]})",
             R"({"schemaVersion":2,"mediaType":"text/html","layers":[]})", with("size", -1),
             with("size", "7"), with("size", 1LL << 40), with("digest", "md5:abc"),
             with("digest", "sha512:" + std::string(128, 'a')), with("urls", {"https://x"}),
             with("mediaType", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
             with("mediaType", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")}) {
        EXPECT_EQ(test::thrown_by([&] { parse_manifest(text, "x"); }).kind(), ErrorKind::invalid)
            << text.substr(0, 200);
    }
}

}  // namespace
}  // namespace kua::oci
