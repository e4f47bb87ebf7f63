// SPDX-License-Identifier: Apache-2.0
#include "agent/release/bundles.hpp"

#include <gmock/gmock.h>

#include "lib/base/format.hpp"
#include "tests/agent/support.hpp"

namespace kua::release {
namespace {

using test::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const plan::Version kVersion{1, 31, 4, 0, 1};

TEST(Bundles, FindVersionsAnywhereInAName) {
    struct Case {
        std::string name;
        std::vector<std::string> versions;
    };
    for (const auto& [name, versions] : std::vector<Case>{
             {"v1.31.4+k3s1", {"v1.31.4+k3s1"}},
             {"v1.31.4-k3s1.tar.zst", {"v1.31.4+k3s1"}},
             {"k3s-v1.31.4+k3s1-amd64.tar", {"v1.31.4+k3s1"}},
             {"k3s_1.31.4+k3s1.tgz", {"v1.31.4+k3s1"}},
             {"v1.31.4+k3s12", {"v1.31.4+k3s12"}},
             {"v1.31.4-rc2+k3s1.tar", {"v1.31.4-rc2+k3s1"}},
             {"v1.30.4+k3s1-to-v1.31.4-k3s1", {"v1.30.4+k3s1", "v1.31.4+k3s1"}},
             {"bundle.tar", {}},
             {"v1.31.4.tar", {}},
             {"v1.31.4+rke2r1", {}},
             {"2.1.31.4+k3s1", {}},
             {"", {}},
             {std::string(255, 'v'), {}},
         }) {
        std::vector<std::string> texts;
        for (const auto& version : versions_in(name)) {
            texts.push_back(version.text());
        }
        EXPECT_EQ(texts, versions) << name;
    }
}

class FindBundle : public ::testing::Test {
  protected:
    void file(const std::string& name) {
        std::filesystem::create_directories((folder_ / name).parent_path());
        test::write_text(folder_ / name, "x");
    }
    Bundle find() { return find_bundle(folder_.path(), kVersion, files_); }
    std::string refusal() {
        const auto error = error_of([&] { find(); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return error.what();
    }

    test::TempFolder folder_;
    BundleFiles files_{architecture("x86_64")};
};

TEST_F(FindBundle, TakesTheFilesInTheFolderItself) {
    file("k3s");
    const auto bundle = find();
    EXPECT_EQ(bundle.path, folder_.path());
    EXPECT_FALSE(bundle.is_archive);
    EXPECT_FALSE(bundle.is_named);
}

TEST_F(FindBundle, TakesAnArchiveOrFolderWithoutAName) {
    file("bundle.tar.gz");
    EXPECT_EQ(find().path, folder_ / "bundle.tar.gz");
    EXPECT_TRUE(find().is_archive);
    std::filesystem::remove(folder_ / "bundle.tar.gz");
    file("release/sha256sum-amd64.txt");
    EXPECT_EQ(find().path, folder_ / "release");
}

TEST_F(FindBundle, PrefersTheOneThatIsNamedByVersion) {
    file("k3s");
    file("other.tar");
    file("v1.31.5+k3s1.tar");
    file("v1.31.4-k3s1.tar.zst");
    EXPECT_EQ(find().path, folder_ / "v1.31.4-k3s1.tar.zst");
    EXPECT_TRUE(find().is_named);
    std::filesystem::remove(folder_ / "v1.31.4-k3s1.tar.zst");
    file("k3s-v1.31.4+k3s1/README");
    EXPECT_EQ(find().path, folder_ / "k3s-v1.31.4+k3s1");
}

TEST_F(FindBundle, OverlooksWhatIsNoBundle) {
    file("k3s");
    file("k3s-airgap-images-amd64.tar");
    file("k3s-airgap-images-amd64.tar.zst");
    file(".bundle.tar");
    file("bundle.tar.part");
    file("bundle.zip");
    file("empty/README");
    file("v1.32.0+k3s1.tar");
    EXPECT_EQ(find().path, folder_.path());
}

TEST_F(FindBundle, CantTellWhichOfTwoIsMeant) {
    file("a.tar");
    file("b.tgz");
    EXPECT_THAT(refusal(),
                AllOf(HasSubstr("a.tar"), HasSubstr("b.tgz"), HasSubstr("name them by version")));
    file("v1.31.4+k3s1.tar");
    EXPECT_TRUE(find().is_named);
    file("v1.31.4+k3s1.tgz");
    EXPECT_THAT(refusal(), AllOf(HasSubstr("v1.31.4+k3s1.tar, "), HasSubstr("v1.31.4+k3s1.tgz"),
                                 HasSubstr("leave one")));
}

TEST_F(FindBundle, SaysWhatItLookedForAndWhere) {
    for (const auto& directory : {folder_.path(), folder_ / "none"}) {
        const auto error = error_of([&] { find_bundle(directory, kVersion, files_); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        EXPECT_EQ(error.what(), "no bundle for v1.31.4+k3s1 in " + directory.string());
    }
    file("README");
    EXPECT_THAT(refusal(), AllOf(HasSubstr(folder_.path().string() + " has no bundle"),
                                 HasSubstr("v1.31.4+k3s1"), HasSubstr("k3s and "),
                                 HasSubstr("sha256sum-amd64.txt")));
    file("file");
    EXPECT_THAT(error_of([&] { find_bundle(folder_ / "file", kVersion, files_); }).what(),
                HasSubstr("Not a directory"));
}

TEST_F(FindBundle, DoesNotListAHundredNames) {
    for (int number = 0; number < 100; ++number) {
        file(format("bundle-{}.tar", number));
    }
    EXPECT_LT(refusal().size(), 1000U);
}

TEST_F(FindBundle, FollowsALinkToTheFolder) {
    file("real/k3s");
    std::filesystem::create_directory_symlink(folder_ / "real", folder_ / "link");
    EXPECT_EQ(find_bundle(folder_ / "link", kVersion, files_).path, folder_ / "link");
}

}  // namespace
}  // namespace kua::release
