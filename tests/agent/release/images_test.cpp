// SPDX-License-Identifier: Apache-2.0
#include "agent/release/images.hpp"

#include <gmock/gmock.h>

#include "lib/crypto/digest.hpp"
#include "tests/agent/support.hpp"

namespace kua::release {
namespace {

using test::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const plan::Version kVersion{1, 31, 4, 0, 1};
const std::string kImages(300'000, 'i');
const std::string kSum = crypto::hex_digest(crypto::Algorithm::sha256, kImages);

class ImagesTest : public ::testing::Test {
  protected:
    ImagesTest() { test::write_text(staged_, kImages); }

    void file(const std::string& name, const std::string& content = "x") {
        std::filesystem::create_directories(images_);
        test::write_text(images_ / name, content);
    }
    std::vector<std::string> names() {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(images_)) {
            names.push_back(entry.path().filename().string());
        }
        std::sort(names.begin(), names.end());
        return names;
    }

    test::TempFolder folder_;
    std::filesystem::path staged_ = folder_ / "staged";
    std::filesystem::path images_ = folder_ / "agent/images";
    std::filesystem::path path_ = images_path(images_, "k3s-airgap-images-amd64.tar.zst", kVersion);
};

TEST_F(ImagesTest, HaveANameThatK3sLoadsAndThatTellsTheVersion) {
    EXPECT_EQ(path_.filename(), "k3s-airgap-images-amd64.v1.31.4+k3s1.tar.zst");
    EXPECT_EQ(images_path("/i", "k3s-airgap-images-arm.tar.gz", kVersion),
              "/i/k3s-airgap-images-arm.v1.31.4+k3s1.tar.gz");
    EXPECT_EQ(images_path("/i", "k3s-airgap-images-arm.tar", kVersion),
              "/i/k3s-airgap-images-arm.v1.31.4+k3s1.tar");
    EXPECT_EQ(error_of([] { images_path("/i", "images.zip", kVersion); }).kind(),
              ErrorKind::invalid);
}

TEST_F(ImagesTest, ArePutThereWholeAndReadable) {
    EXPECT_FALSE(has_images(path_, kSum));
    install_images(staged_, kSum, path_);
    EXPECT_TRUE(has_images(path_, kSum));
    EXPECT_EQ(test::read_text(path_), kImages);
    EXPECT_EQ(std::filesystem::status(path_).permissions(), std::filesystem::perms(0644));
    EXPECT_THAT(names(), ElementsAre(path_.filename().string()));
}

TEST_F(ImagesTest, AreNotTouchedWhenTheyAreThere) {
    install_images(staged_, kSum, path_);
    const auto before = std::filesystem::last_write_time(path_);
    std::filesystem::remove(staged_);
    install_images(staged_, kSum, path_);
    EXPECT_EQ(std::filesystem::last_write_time(path_), before);
}

TEST_F(ImagesTest, ReplaceWhatACrashLeft) {
    const auto half = "." + path_.filename().string() + ".k3s-upgrade-agent.next";
    file(half, "half");
    file(path_.filename().string(), "other images of this name");
    install_images(staged_, kSum, path_);
    EXPECT_THAT(names(), ElementsAre(path_.filename().string()));
    EXPECT_TRUE(has_images(path_, kSum));
    file(half, "half");
    discard_images(path_);
    EXPECT_THAT(names(), IsEmpty());
    discard_images(path_);
}

TEST_F(ImagesTest, AreNotWrittenThroughALink) {
    file("victim", "untouched");
    std::filesystem::create_symlink(images_ / "victim", images_ / ("." + path_.filename().string() +
                                                                   ".k3s-upgrade-agent.next"));
    std::filesystem::create_symlink(images_ / "victim", path_);
    install_images(staged_, kSum, path_);
    EXPECT_EQ(test::read_text(images_ / "victim"), "untouched");
    EXPECT_TRUE(has_images(path_, kSum));
}

TEST_F(ImagesTest, AreRefusedWhenTheCopyIsNotWhatWasVerified) {
    file(path_.filename().string(), "old");
    const auto error = error_of([&] { install_images(staged_, std::string(64, 'a'), path_); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("SHA-256 is " + kSum));
    EXPECT_THAT(names(), ElementsAre(path_.filename().string()));
    EXPECT_EQ(test::read_text(path_), "old");
    EXPECT_EQ(error_of([&] { install_images(folder_ / "none", kSum, path_); }).kind(),
              ErrorKind::failed);
}

TEST_F(ImagesTest, OfOtherVersionsAreRemovedByName) {
    for (const std::string name :
         {"k3s-airgap-images-amd64.v1.30.0+k3s1.tar.zst", "k3s-airgap-images-amd64.tar",
          "k3s-airgap-images-amd64-v1.29.tar.gz", "k3s-airgap-images-arm64.tar",
          "k3s-airgap-images-amd64.txt", "my-k3s-airgap-images-amd64.tar", "own.tar",
          ".k3s-airgap-images-amd64.v1.31.4+k3s1.tar.zst.k3s-upgrade-agent.next"}) {
        file(name);
    }
    std::filesystem::create_directory(images_ / "k3s-airgap-images-amd64.tar.d");
    install_images(staged_, kSum, path_);
    for (int time = 0; time < 2; ++time) {
        remove_other_images(path_, "k3s-airgap-images-amd64");
        EXPECT_THAT(names(),
                    ElementsAre("k3s-airgap-images-amd64.tar.d", "k3s-airgap-images-amd64.txt",
                                "k3s-airgap-images-amd64.v1.31.4+k3s1.tar.zst",
                                "k3s-airgap-images-arm64.tar", "my-k3s-airgap-images-amd64.tar",
                                "own.tar"));
    }
    remove_other_images(folder_ / "none/x.tar", "k3s-airgap-images-arm");
}

TEST_F(ImagesTest, OfArmAreNotThoseOfArm64) {
    file("k3s-airgap-images-arm64.tar");
    file("k3s-airgap-images-arm.tar");
    remove_other_images(images_ / "x.tar", "k3s-airgap-images-arm");
    EXPECT_THAT(names(), ElementsAre("k3s-airgap-images-arm64.tar"));
}

TEST_F(ImagesTest, SayBeforehandWhyTheyCantBePutThere) {
    EXPECT_EQ(why_not_images(images_, 1000), "");
    EXPECT_FALSE(std::filesystem::exists(images_)) << "nothing is made for the question";
    EXPECT_THAT(why_not_images(images_, 1ULL << 60U), HasSubstr("make room"));
}

}  // namespace
}  // namespace kua::release
