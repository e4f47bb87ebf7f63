// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/secret.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "lib/base/error.hpp"
#include "tests/lib/fs/temp_folder.hpp"

namespace kua::fs {
namespace {

using ::testing::HasSubstr;

class Secret : public ::testing::Test {
  protected:
    void write(const std::string& text, mode_t mode) const {
        std::ofstream(path_) << text;
        ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
    }

    /// What reading says; a failure when it says nothing.
    [[nodiscard]] std::string refusal() const {
        try {
            read_secret(path_, 10);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid);
            return error.what();
        }
        ADD_FAILURE() << "no Error was thrown";
        return {};
    }

    const TempFolder folder_;
    const std::filesystem::path path_ = folder_ / "secret";
};

TEST_F(Secret, IsReadWhenNobodyElseCan) {
    for (const mode_t mode : {0600U, 0400U, 0700U}) {
        write("text\n", mode);
        EXPECT_EQ(read_secret(path_), "text\n");
    }
}

TEST_F(Secret, IsRefusedWhenOthersHaveAccess) {
    for (const mode_t mode : {0640U, 0604U, 0620U, 0601U}) {
        write("text", mode);
        EXPECT_THAT(refusal(), HasSubstr("chmod 0600 " + path_.string()));
    }
}

TEST_F(Secret, IsRefusedWhenSomebodyElseOwnsIt) {
    write("text", 0600);
    if (::chown(path_.c_str(), 65534, 65534) != 0) {
        GTEST_SKIP() << "only root can give a file away";
    }
    EXPECT_THAT(refusal(), HasSubstr("chown root: " + path_.string()));
}

TEST_F(Secret, IsRefusedWhenItIsMissingTooLargeOrNoFile) {
    EXPECT_THAT(refusal(), HasSubstr("no such file"));
    write("01234567890", 0600);
    EXPECT_THAT(refusal(), HasSubstr("larger than 10 B"));
    std::filesystem::remove(path_);
    ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
    EXPECT_THAT(refusal(), HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace kua::fs
