// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/attributes.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/lib/fs/plain_files.hpp"
#include "tests/lib/fs/temp_folder.hpp"

namespace kua::fs {
namespace {

using std::filesystem::path;

TEST(CopyAttributes, LeavesTheContentAlone) {
    const TempFolder folder;
    put(folder / "from", "from");
    put(folder / "to", "to");
    ASSERT_EQ(::chmod((folder / "from").c_str(), 0751), 0);
    copy_attributes(folder / "from", folder / "to");
    EXPECT_EQ(content_of(folder / "to"), "to");
    EXPECT_EQ(mode_of(folder / "to"), 0751U);
}

TEST(CopyAttributes, DoesWithoutThoseTheFileSystemDoesNotKnow) {
    // tmpfs took no user.* attributes before Linux 6.6, and /dev/shm is one; where it takes them,
    // there is nothing to see.
    const TempFolder folder;
    put(folder / "from", "x");
    if (::setxattr((folder / "from").c_str(), "user.kua", "value", 5, 0) != 0) {
        GTEST_SKIP() << "the temporary folder has no extended attributes";
    }
    const path target = path("/dev/shm") / folder.path().filename();
    put(target, "x");
    EXPECT_NO_THROW(copy_attributes(folder / "from", target));
    ::unlink(target.c_str());
}

}  // namespace
}  // namespace kua::fs
