// SPDX-License-Identifier: Apache-2.0
#include "agent/release/install.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/release/staging.hpp"
#include "lib/base/unique_fd.hpp"
#include "lib/crypto/digest.hpp"
#include "tests/agent/support.hpp"
#include "tests/lib/fs/own_mounts.hpp"

namespace kua::release {
namespace {

using test::error_of;
using test::read_text;
using test::write_text;
using ::testing::HasSubstr;

class Install : public ::testing::Test {
  protected:
    Install() {
        write_text(places_.binary, kOld);
        EXPECT_EQ(::chmod(places_.binary.c_str(), 0751), 0);
        write_text(staged_, kNew);
    }

    void prepare_now() { prepare(places_, staged_, kSum); }

    /// binary, next, previous; `-` for none.
    std::vector<std::string> state() {
        std::vector<std::string> contents;
        for (const auto& path : {places_.binary, places_.next, places_.previous}) {
            contents.push_back(std::filesystem::exists(path) ? read_text(path) : "-");
        }
        return contents;
    }

    using State = std::vector<std::string>;
    static constexpr auto kOld = "old k3s";
    static constexpr auto kNew = "new k3s";
    const std::string kSum = crypto::hex_digest(crypto::Algorithm::sha256, kNew);
    test::TempFolder folder_;
    Places places_ = places(folder_ / "k3s");
    std::filesystem::path staged_ = folder_ / "staged";
};

TEST_F(Install, LeavesTheWholeOldOrTheWholeNewBinaryAfterEachStep) {
    EXPECT_EQ(state(), (State{kOld, "-", "-"}));
    prepare_now();
    EXPECT_EQ(state(), (State{kOld, kNew, kOld}));
    swap(places_, kSum);
    EXPECT_EQ(state(), (State{kNew, "-", kOld}));
    restore(places_);
    EXPECT_EQ(state(), (State{kOld, "-", "-"}));
}

TEST_F(Install, MayRepeatEveryStep) {
    prepare_now();
    prepare_now();
    EXPECT_EQ(state(), (State{kOld, kNew, kOld}));
    swap(places_, kSum);
    swap(places_, kSum);
    EXPECT_EQ(state(), (State{kNew, "-", kOld}));
    restore(places_);
    restore(places_);
    EXPECT_EQ(state(), (State{kOld, "-", "-"}));
    discard_next(places_);
    discard_next(places_);
    EXPECT_EQ(state(), (State{kOld, "-", "-"}));
}

TEST_F(Install, IsUndoneBeforeTheSwap) {
    prepare_now();
    restore(places_);
    discard_next(places_);
    EXPECT_EQ(state()[0], kOld);
    EXPECT_EQ(state()[1], "-");
}

TEST_F(Install, BeginsAnewAfterACrashWhilePreparing) {
    // What a crash may leave: a half-written next, no previous or one of an older upgrade.
    write_text(places_.next, "half");
    write_text(places_.previous, "very old k3s");
    prepare_now();
    EXPECT_EQ(state(), (State{kOld, kNew, kOld}));
}

TEST_F(Install, KeepsOwnerModeAndAttributes) {
    if (::geteuid() == 0) {
        ASSERT_EQ(::chown(places_.binary.c_str(), 1234, 5678), 0);
        ASSERT_EQ(::chmod(places_.binary.c_str(), 0751), 0);
    }
    struct stat before {};
    ASSERT_EQ(::stat(places_.binary.c_str(), &before), 0);
    prepare_now();
    swap(places_, kSum);
    struct stat after {};
    ASSERT_EQ(::stat(places_.binary.c_str(), &after), 0);
    EXPECT_EQ(after.st_mode, before.st_mode);
    EXPECT_EQ(after.st_uid, before.st_uid);
    EXPECT_EQ(after.st_gid, before.st_gid);
    EXPECT_NE(after.st_ino, before.st_ino);
    restore(places_);
    struct stat back {};
    ASSERT_EQ(::stat(places_.binary.c_str(), &back), 0);
    EXPECT_EQ(back.st_ino, before.st_ino) << "the very file that was there";
}

TEST_F(Install, RefusesAFileThatIsNotTheVerifiedOne) {
    const std::string other(64, 'a');
    auto error = error_of([&] { prepare(places_, staged_, other); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("after copying"));
    EXPECT_EQ(state(), (State{kOld, "-", "-"}));

    prepare_now();
    write_text(places_.next, "tampered with");
    error = error_of([&] { swap(places_, kSum); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_EQ(state()[0], kOld);
}

TEST_F(Install, SaysWhenTheNextOneIsGone) {
    prepare_now();
    std::filesystem::remove(places_.next);
    EXPECT_THAT(error_of([&] { swap(places_, kSum); }).what(), HasSubstr("is gone"));
    EXPECT_EQ(state()[0], kOld);
}

TEST_F(Install, PutsTheOldOneBackWhenTheBinaryItselfIsGone) {
    prepare_now();
    std::filesystem::remove(places_.binary);
    restore(places_);
    EXPECT_EQ(state()[0], kOld);
}

TEST_F(Install, FailsWithoutTouchingTheBinaryWhenTheStagedFileIsGone) {
    std::filesystem::remove(staged_);
    EXPECT_EQ(error_of([&] { prepare_now(); }).kind(), ErrorKind::failed);
    EXPECT_EQ(state()[0], kOld);
}

TEST_F(Install, SaysBeforehandWhyItCouldNot) {
    EXPECT_EQ(why_not(places_, 1000), "");
    EXPECT_THAT(why_not(places_, std::uint64_t{1} << 60U), HasSubstr("make room"));
    EXPECT_THAT(why_not(places("/proc/k3s"), 1), HasSubstr("k3s can't be replaced there"));
    EXPECT_EQ(state(), (State{kOld, "-", "-"}));
}

TEST_F(Install, ReplacesWhatALinkLeadsTo) {
    std::filesystem::create_directory(folder_ / "bin");
    std::filesystem::create_symlink("../k3s", folder_ / "bin" / "k3s");
    places_ = places(folder_ / "bin" / "k3s");
    EXPECT_EQ(places_.binary, std::filesystem::canonical(folder_ / "k3s"));
    EXPECT_EQ(places_.next.parent_path(), places_.binary.parent_path());
    prepare_now();
    swap(places_, kSum);
    EXPECT_TRUE(std::filesystem::is_symlink(folder_ / "bin" / "k3s"));
    EXPECT_EQ(read_text(folder_ / "bin" / "k3s"), kNew);
    restore(places_);
    EXPECT_EQ(read_text(folder_ / "bin" / "k3s"), kOld);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_ / "bin"), {}), 1);
}

TEST_F(Install, NamesALinkThatLeadsNowhere) {
    std::filesystem::create_symlink("missing", folder_ / "link");
    EXPECT_EQ(places(folder_ / "link").binary, folder_ / "link");
}

TEST_F(Install, KeepsFileCapabilitiesWithAnotherOwner) {
    if (::geteuid() != 0) {
        GTEST_SKIP() << "for root only";
    }
    // vfs_cap_data, revision 2, effective: cap_net_bind_service.
    const std::string capability("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    ASSERT_EQ(::chown(places_.binary.c_str(), 1234, 5678), 0);
    if (::setxattr(places_.binary.c_str(), "security.capability", capability.data(),
                   capability.size(), 0) != 0) {
        GTEST_SKIP() << "no file capabilities here";
    }
    prepare_now();
    swap(places_, kSum);
    std::string kept(64, '\0');
    const auto size = ::getxattr(places_.binary.c_str(), "security.capability", kept.data(), 64);
    EXPECT_EQ(kept.substr(0, static_cast<std::size_t>(std::max<ssize_t>(size, 0))), capability);
}

TEST_F(Install, SaysBeforehandThatAFileSystemIsReadOnlyOrNotForPrograms) {
    const auto said = fs::in_own_mounts([this]() -> std::string {
        const auto mounted = (folder_ / "mounted").string();
        std::filesystem::create_directory(mounted);
        if (::mount("none", mounted.c_str(), "tmpfs", MS_NOEXEC, "size=1m") != 0) {
            return "no tmpfs";
        }
        write_text(folder_ / "mounted" / "k3s", kOld);
        const auto there = places(folder_ / "mounted" / "k3s");
        std::string all = why_not(there, 1) + "\n";
        ::mount("none", mounted.c_str(), nullptr, MS_REMOUNT, "size=1m");
        all += why_not(there, 1) + "|\n" + why_not(there, 2U << 20U) + "\n";
        ::mount("none", mounted.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, "size=1m");
        return all + why_not(there, 1);
    });
    if (!said) {
        GTEST_SKIP() << "no mounts here";
    }
    EXPECT_THAT(*said, HasSubstr("mounted: is mounted noexec"));
    EXPECT_THAT(*said, HasSubstr("\n|\n"));
    EXPECT_THAT(*said, HasSubstr("make room"));
    EXPECT_THAT(*said,
                HasSubstr("mounted: read-only file system; k3s can't be replaced there: make"));
}

class ImmutableInstall : public Install {
  protected:
    static bool mark(const std::filesystem::path& path, bool immutable) {
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        int flags = immutable ? FS_IMMUTABLE_FL : 0;
        return ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags) == 0;
    }
};

TEST_F(ImmutableInstall, IsRefusedBeforehand) {
    if (!mark(places_.binary, true)) {
        GTEST_SKIP() << "this file system, or this user, has no chattr";
    }
    EXPECT_THAT(why_not(places_, 1),
                HasSubstr("k3s: is immutable; k3s can't be replaced: `chattr"));
    ASSERT_TRUE(mark(places_.binary, false));
    EXPECT_EQ(why_not(places_, 1), "");
    ASSERT_TRUE(mark(folder_.path(), true));
    EXPECT_THAT(why_not(places_, 1),
                HasSubstr(": is immutable; k3s can't be replaced there: `chattr"));
    ASSERT_TRUE(mark(folder_.path(), false));
    EXPECT_EQ(why_not(places_, 1), "");
}

}  // namespace
}  // namespace kua::release
