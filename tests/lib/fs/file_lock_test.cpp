// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/file_lock.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <string>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/process.hpp"
#include "tests/lib/fs/temp_folder.hpp"
#include "tests/lib/fs/waiting_child.hpp"

namespace kua::fs {
namespace {

using ::testing::HasSubstr;

std::string content(const std::filesystem::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::trunc) << text;
}

/// Another process that takes the lock, and holds it until it is killed.
class Holder : public test::WaitingChild {
  public:
    explicit Holder(const std::filesystem::path& path)
        : WaitingChild([&path] { return FileLock::take(path); }) {}
};

class FileLockTest : public ::testing::Test {
  protected:
    TempFolder folder_;
    std::filesystem::path path_ = folder_ / "agent.lock";
};

TEST_F(FileLockTest, IsHeldByOneProcessAndLetGoOfWhenItIsKilled) {
    Holder other(path_);
    EXPECT_FALSE(FileLock::take(path_));
    EXPECT_EQ(lock_holder(path_), other.pid());
    EXPECT_EQ(content(path_), format("{}\n", other.pid()));
    other.kill();
    EXPECT_EQ(lock_holder(path_), std::nullopt) << "such a process does not exist any more";
    EXPECT_TRUE(FileLock::take(path_));
}

TEST_F(FileLockTest, IsHeldUntilItGoes) {
    {
        const auto lock = FileLock::take(path_);
        ASSERT_TRUE(lock);
        EXPECT_EQ(lock_holder(path_), ::getpid());
        EXPECT_FALSE(FileLock::take(path_));
    }
    EXPECT_TRUE(FileLock::take(path_));
}

TEST_F(FileLockTest, IsNotGivenToProgramsThatTheHolderRuns) {
    auto lock = FileLock::take(path_);
    ASSERT_TRUE(lock);
    // It leaves a child behind, which would hold the lock longer than the holder does.
    Command command;
    command.program = "/bin/sh";
    command.arguments = {"-c", "sleep 60 >/dev/null 2>&1 & echo $!"};
    const auto finished = run(command);
    ASSERT_TRUE(finished.succeeded()) << finished.errors;
    lock.reset();
    EXPECT_TRUE(FileLock::take(path_));
    ::kill(std::stoi(finished.output), SIGKILL);
}

TEST_F(FileLockTest, TouchesNothingWhereItIsTaken) {
    const Holder other(path_);
    const auto before = std::filesystem::last_write_time(path_);
    EXPECT_FALSE(FileLock::take(path_));
    EXPECT_EQ(std::filesystem::last_write_time(path_), before);
    EXPECT_EQ(content(path_), format("{}\n", other.pid()));
}

TEST_F(FileLockTest, IsItsOwnersAlone) {
    const auto lock = FileLock::take(path_);
    struct stat status {};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
}

TEST_F(FileLockTest, KnowsItsFileByWhatItIsNotByItsName) {
    const auto lock = FileLock::take(path_);
    ASSERT_TRUE(lock);
    std::filesystem::create_directory_symlink(folder_.path(), folder_ / "link");
    EXPECT_TRUE(lock->is_of(path_));
    EXPECT_TRUE(lock->is_of(folder_ / "link" / "agent.lock"));
    std::filesystem::rename(path_, folder_ / "moved");
    EXPECT_FALSE(lock->is_of(path_));
    write(path_, "");
    EXPECT_FALSE(lock->is_of(path_));
}

TEST_F(FileLockTest, CanNotBeTakenWhereThereIsNoFolderOrNoFile) {
    const auto why = [](const std::filesystem::path& path) {
        try {
            FileLock::take(path);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::failed);
            return std::string(error.what());
        }
        ADD_FAILURE() << "nothing was thrown";
        return std::string();
    };
    EXPECT_THAT(why(folder_ / "missing" / "agent.lock"), HasSubstr("missing/agent.lock: no such"));
    std::filesystem::create_directory(path_);
    EXPECT_THAT(why(path_), HasSubstr("is a directory"));
    // A link could lead to a file that is not to be emptied.
    std::filesystem::create_symlink(folder_ / "else", folder_ / "link");
    why(folder_ / "link");
    EXPECT_FALSE(std::filesystem::exists(folder_ / "else"));
}

TEST_F(FileLockTest, IsNobodysWhereTheFileDoesNotTell) {
    EXPECT_EQ(lock_holder(path_), std::nullopt);
    for (const auto* text :
         {"", "\n", "0", "-1", "1 2", "pid", "4294967295", "99999999999999999"}) {
        write(path_, text);
        EXPECT_EQ(lock_holder(path_), std::nullopt) << text;
    }
    write(path_, std::string(100'000, '1'));
    EXPECT_EQ(lock_holder(path_), std::nullopt);
}

}  // namespace
}  // namespace kua::fs
