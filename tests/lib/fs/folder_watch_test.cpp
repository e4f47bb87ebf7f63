// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/folder_watch.hpp"

#include <gtest/gtest.h>

#include <condition_variable>
#include <fstream>
#include <mutex>

#include "tests/lib/base/shows_progress.hpp"
#include "tests/lib/fs/temp_folder.hpp"

namespace kua::fs {
namespace {

/// Counts calls; a test waits for one after it did something.
class Calls {
  public:
    void operator()() {
        {
            const std::lock_guard guard(mutex_);
            ++count_;
        }
        called_.notify_all();
    }
    /// Whether there was a call since the last time; waits for it.
    bool next() {
        std::unique_lock guard(mutex_);
        const bool called =
            called_.wait_for(guard, std::chrono::seconds(30), [this] { return count_ > seen_; });
        seen_ = count_;
        return called;
    }
    int count() {
        const std::lock_guard guard(mutex_);
        return count_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable called_;
    int count_ = 0;
    int seen_ = 0;
};

class FolderWatchTest : public ::testing::Test {
  protected:
    std::filesystem::path path(const std::string& name) { return folder_ / name; }
    void write(const std::string& name) { std::ofstream(path(name)) << "content"; }

    TempFolder folder_;
    Calls calls_;
};

TEST_F(FolderWatchTest, SaysThatAFileAppears) {
    const FolderWatch watch(folder_.path(), std::ref(calls_), Duration(1));
    write("bundle.tar");
    EXPECT_TRUE(calls_.next());
}

TEST_F(FolderWatchTest, SaysThatAFileIsMovedThere) {
    const TempFolder elsewhere;
    std::ofstream(elsewhere / "f") << "content";
    const FolderWatch watch(folder_.path(), std::ref(calls_), Duration(1));
    std::filesystem::rename(elsewhere / "f", path("f"));
    EXPECT_TRUE(calls_.next());
}

TEST_F(FolderWatchTest, SeesFoldersThatWereThereAndThatAppear) {
    std::filesystem::create_directory(path("old"));
    const FolderWatch watch(folder_.path(), std::ref(calls_), Duration(1));
    write("old/f");
    EXPECT_TRUE(calls_.next());
    std::filesystem::create_directory(path("new"));
    EXPECT_TRUE(calls_.next());
    write("new/f");
    EXPECT_TRUE(calls_.next());
}

TEST_F(FolderWatchTest, WaitsForAFolderThatIsNotThereYet) {
    const FolderWatch watch(path("state/bundles"), std::ref(calls_), Duration(1));
    std::filesystem::create_directories(path("state/bundles"));
    write("state/bundles/f");
    EXPECT_TRUE(calls_.next());
    write("state/bundles/g");
    EXPECT_TRUE(calls_.next());
}

TEST_F(FolderWatchTest, FindsAFolderAgainThatWentAndCame) {
    std::filesystem::create_directory(path("bundles"));
    const FolderWatch watch(path("bundles"), std::ref(calls_), Duration(1));
    std::filesystem::remove(path("bundles"));
    std::filesystem::create_directory(path("bundles"));
    write("bundles/f");
    EXPECT_TRUE(calls_.next());
    std::filesystem::rename(path("bundles"), path("away"));
    std::filesystem::create_directory(path("bundles"));
    write("bundles/g");
    EXPECT_TRUE(calls_.next());
}

TEST_F(FolderWatchTest, JoinsWhatHappensAtOnce) {
    const FolderWatch watch(folder_.path(), std::ref(calls_), Duration(300));
    for (int number = 0; number < 100; ++number) {
        write("f" + std::to_string(number));
    }
    EXPECT_TRUE(calls_.next());
    EXPECT_LT(calls_.count(), 100);
}

TEST_F(FolderWatchTest, FollowsALinkToTheFolder) {
    std::filesystem::create_directory(path("real"));
    std::filesystem::create_directory_symlink(path("real"), path("link"));
    const FolderWatch watch(path("link"), std::ref(calls_), Duration(1));
    write("real/f");
    EXPECT_TRUE(calls_.next());
}

TEST_F(FolderWatchTest, ShowsProgressWhileNothingHappens) {
    test::expect_progress([this](const std::stop_token& stop) {
        const FolderWatch watch(folder_.path(), [] {});
        test::wait_for_stop(stop);
    });
}

TEST_F(FolderWatchTest, EndsWhileNothingHappens) {
    const FolderWatch watch(folder_.path(), std::ref(calls_));
    const FolderWatch other("/no/such/folder", std::ref(calls_));
}

}  // namespace
}  // namespace kua::fs
