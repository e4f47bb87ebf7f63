// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/files.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iterator>

#include "lib/base/error.hpp"
#include "tests/lib/fs/own_mounts.hpp"
#include "tests/lib/fs/plain_files.hpp"
#include "tests/lib/fs/temp_folder.hpp"

namespace kua::fs {
namespace {

using std::filesystem::exists;
using std::filesystem::path;
using testing::HasSubstr;

template <typename Action>
std::string message_of(ErrorKind kind, Action&& action) {
    try {
        action();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), kind) << error.what();
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
}

std::size_t entries_in(const path& folder) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TEST(ReadFile, GivesTheContent) {
    const TempFolder folder;
    const std::string content("a\0b\n", 4);
    put(folder / "file", content);
    EXPECT_EQ(read_file(folder / "file"), content);
    put(folder / "empty", "");
    EXPECT_EQ(read_file(folder / "empty"), "");
}

TEST(ReadFile, IsAbsentWhenThereIsNone) {
    const TempFolder folder;
    EXPECT_EQ(read_file(folder / "missing"), std::nullopt);
    EXPECT_EQ(read_file(folder / "missing/file"), std::nullopt);
}

TEST(ReadFile, IsBounded) {
    const TempFolder folder;
    put(folder / "file", "12345");
    EXPECT_EQ(read_file(folder / "file", 5), "12345");
    EXPECT_EQ(message_of(ErrorKind::invalid, [&] { (void)read_file(folder / "file", 4); }),
              (folder / "file").string() + ": larger than 4 B");
    EXPECT_THAT(message_of(ErrorKind::invalid, [] { (void)read_file("/dev/zero", 1'000'000); }),
                HasSubstr("/dev/zero: larger than 1.0 MB"));
}

TEST(ReadFile, ReadsFilesWhoseSizeIsNotKnownBefore) {
    EXPECT_THAT(read_file("/proc/self/status").value_or(""), HasSubstr("Name:"));
}

TEST(ReadFile, SaysWhyItCanNot) {
    const TempFolder folder;
    put(folder / "file", "x");
    EXPECT_EQ(message_of(ErrorKind::failed, [&] { (void)read_file(folder.path()); }),
              "reading " + folder.path().string() + ": is a directory");
    EXPECT_THAT(message_of(ErrorKind::failed, [&] { (void)read_file(folder / "file/below"); }),
                HasSubstr("not a directory"));
    ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
    EXPECT_THAT(message_of(ErrorKind::failed, [&] { (void)read_file(folder / "pipe"); }),
                HasSubstr("not a regular file"));
}

TEST(WriteFile, MakesAFileWithItsModeWhateverTheUmask) {
    const TempFolder folder;
    const mode_t before = ::umask(0077);
    write_file(folder / "file", "content", 0644);
    ::umask(before);
    EXPECT_EQ(content_of(folder / "file"), "content");
    EXPECT_EQ(mode_of(folder / "file"), 0644U);
    write_file(folder / "secret", "content");
    EXPECT_EQ(mode_of(folder / "secret"), 0600U);
}

TEST(WriteFile, ReplacesAndLeavesNothingElse) {
    const TempFolder folder;
    write_file(folder / "file", "a longer old content");
    write_file(folder / "file", "new");
    EXPECT_EQ(content_of(folder / "file"), "new");
    EXPECT_EQ(entries_in(folder.path()), 1U);
}

TEST(WriteFile, ReplacesALinkAndNotWhatItNames) {
    const TempFolder folder;
    put(folder / "precious", "precious");
    std::filesystem::create_symlink("precious", folder / "link");
    write_file(folder / "link", "new");
    EXPECT_EQ(content_of(folder / "precious"), "precious");
    EXPECT_FALSE(std::filesystem::is_symlink(folder / "link"));
}

TEST(WriteFile, SaysWhyItCanNot) {
    const TempFolder folder;
    EXPECT_EQ(message_of(ErrorKind::failed, [&] { write_file(folder / "missing/file", "x"); }),
              "writing " + (folder / "missing/file").string() + ": no such file or directory");
    std::filesystem::create_directory(folder / "folder");
    EXPECT_EQ(message_of(ErrorKind::failed, [&] { write_file(folder / "folder", "x"); }),
              "writing " + (folder / "folder").string() + ": is a directory");
    EXPECT_EQ(entries_in(folder.path()), 1U);
}

/// Runs `body` below a file system of 64 KiB.
std::optional<std::string> on_small_disk(const std::function<std::string(const path&)>& body) {
    const TempFolder folder;
    return in_own_mounts([&]() -> std::string {
        if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
            return std::string("mounting: ") + std::strerror(errno);
        }
        return body(folder.path());
    });
}

#define ASSERT_WELL_IN_OWN_MOUNTS(outcome)                          \
    do {                                                            \
        if (!(outcome)) {                                           \
            GTEST_SKIP() << "this host allows no mount namespaces"; \
        }                                                           \
        ASSERT_EQ(*(outcome), "");                                  \
    } while (false)

TEST(WriteFile, LeavesTheOldContentWhenTheDiskIsFull) {
    const auto outcome = on_small_disk([](const path& disk) -> std::string {
        write_file(disk / "file", "old");
        try {
            write_file(disk / "file", std::string(1'000'000, 'x'));
            return "it was written";
        } catch (const Error& error) {
            std::string message = error.what();
            if (error.kind() != ErrorKind::failed ||
                !message.starts_with("writing " + (disk / "file").string()) ||
                !message.ends_with("no space left on device")) {
                return message;
            }
        }
        if (content_of(disk / "file") != "old" || entries_in(disk) != 1) {
            return "the old content or the folder suffered";
        }
        write_file(disk / "file", "new");
        return content_of(disk / "file") == "new" ? "" : "no way back";
    });
    ASSERT_WELL_IN_OWN_MOUNTS(outcome);
}

TEST(WriteFile, IsWholeAtWhateverInstructionItsWriterDies) {
    const TempFolder folder;
    const path file = folder / "file";
    const std::string first(5'000, 'a');
    const std::string second(300'000, 'b');
    write_file(file, first);
    std::size_t leftovers = 0;
    for (int round = 0; round < 40; ++round) {
        const pid_t writer = ::fork();
        if (writer == 0) {
            while (true) {
                write_file(file, second);
                write_file(file, first);
            }
        }
        // Until the writer is in full swing; a different number of looks each time moves the moment
        // of death.
        int changes = 0;
        for (std::string last = first; changes <= round % 5;) {
            std::string now = read_file(file).value_or("");
            changes += now != last ? 1 : 0;
            last = std::move(now);
        }
        ::kill(writer, SIGKILL);
        ::waitpid(writer, nullptr, 0);
        const auto content = read_file(file);
        ASSERT_TRUE(content == first || content == second) << "round " << round;
        leftovers += remove_leftovers(file);
        ASSERT_EQ(entries_in(folder.path()), 1U);
    }
    EXPECT_GT(leftovers, 0U) << "no writer was caught in the act: this test proves nothing";
}

TEST(RemoveLeftovers, TakesOnlyWhatItsFilesWriterLeft) {
    const TempFolder folder;
    for (const char* const name :
         {"journal.json", ".journal.json.abcd1234.kua-tmp", ".journal.json.x.abcd1234.kua-tmp",
          ".other.abcd1234.kua-tmp", ".journal.json.swp", "journal.json.abcd1234.kua-tmp"}) {
        put(folder / name, "x");
    }
    EXPECT_EQ(remove_leftovers(folder / "journal.json"), 1U);
    EXPECT_FALSE(exists(folder / ".journal.json.abcd1234.kua-tmp"));
    EXPECT_EQ(entries_in(folder.path()), 5U);
    EXPECT_EQ(remove_leftovers(folder / "missing/journal.json"), 0U);
}

TEST(RenameDurably, ReplacesAcrossFolders) {
    const TempFolder folder;
    make_folders(folder / "a");
    make_folders(folder / "b");
    put(folder / "a/file", "new");
    put(folder / "b/file", "old");
    rename_durably(folder / "a/file", folder / "b/file");
    EXPECT_EQ(content_of(folder / "b/file"), "new");
    EXPECT_FALSE(exists(folder / "a/file"));
}

TEST(RenameDurably, NamesBothWhenItFails) {
    const TempFolder folder;
    EXPECT_EQ(message_of(ErrorKind::failed, [&] { rename_durably(folder / "a", folder / "b"); }),
              "renaming " + (folder / "a").string() + " to " + (folder / "b").string() +
                  ": no such file or directory");
}

TEST(RenameDurably, SaysSoBetweenTwoFileSystems) {
    const auto outcome = on_small_disk([](const path& disk) -> std::string {
        const TempFolder elsewhere;
        put(disk / "file", "x");
        try {
            rename_durably(disk / "file", elsewhere / "file");
            return "it was renamed";
        } catch (const Error& error) {
            std::string message = error.what();
            return message.find("cross-device") != std::string::npos ? "" : message;
        }
    });
    ASSERT_WELL_IN_OWN_MOUNTS(outcome);
}

TEST(RemoveDurably, SaysWhetherItWasThere) {
    const TempFolder folder;
    put(folder / "file", "x");
    EXPECT_TRUE(remove_durably(folder / "file"));
    EXPECT_FALSE(remove_durably(folder / "file"));
    EXPECT_THAT(message_of(ErrorKind::failed, [&] { remove_durably(folder.path()); }),
                HasSubstr("removing " + folder.path().string()));
}

TEST(SyncDurably, SaysWhatCouldNotBeMadeToLast) {
    const TempFolder folder;
    put(folder / "file", "x");
    EXPECT_NO_THROW(sync_durably(folder / "file"));
    ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
    for (const auto* name : {"missing", "pipe"}) {
        EXPECT_THAT(message_of(ErrorKind::failed, [&] { sync_durably(folder / name); }),
                    HasSubstr((folder / name).string()));
    }
}

TEST(MakeFolders, MakesWhatIsMissingForRootAlone) {
    const TempFolder folder;
    make_folders(folder / "a/b/c");
    EXPECT_EQ(mode_of(folder / "a"), 0700U);
    EXPECT_EQ(mode_of(folder / "a/b/c"), 0700U);
    make_folders(folder / "a/b/c");
    make_folders(folder / "a/b/c/");
    put(folder / "file", "x");
    EXPECT_THAT(message_of(ErrorKind::failed, [&] { make_folders(folder / "file/below"); }),
                HasSubstr((folder / "file").string() + ": not a directory"));
}

TEST(CopyDurably, TakesContentModeOwnerAndExtendedAttributes) {
    const TempFolder folder;
    const std::string content(3'000'000, 'x');
    put(folder / "from", content);
    ASSERT_EQ(::chmod((folder / "from").c_str(), 04755), 0);
    const bool with_attributes =
        ::setxattr((folder / "from").c_str(), "user.kua", "value", 5, 0) == 0;
    const bool with_owner = ::geteuid() == 0;
    if (with_owner) {
        ASSERT_EQ(::chown((folder / "from").c_str(), 12, 34), 0);
        ASSERT_EQ(::chmod((folder / "from").c_str(), 04755), 0);
    }
    copy_durably(folder / "from", folder / "to");
    EXPECT_EQ(content_of(folder / "to"), content);
    EXPECT_EQ(mode_of(folder / "to"), 04755U);
    if (with_owner) {
        struct stat status {};
        ASSERT_EQ(::stat((folder / "to").c_str(), &status), 0);
        EXPECT_EQ(status.st_uid, 12U);
        EXPECT_EQ(status.st_gid, 34U);
    }
    if (with_attributes) {
        std::string value(5, '\0');
        EXPECT_EQ(::getxattr((folder / "to").c_str(), "user.kua", value.data(), value.size()), 5);
        EXPECT_EQ(value, "value");
    }
    EXPECT_EQ(entries_in(folder.path()), 2U);
}

TEST(CopyDurably, CopiesAnEmptyFile) {
    const TempFolder folder;
    put(folder / "from", "");
    copy_durably(folder / "from", folder / "to");
    EXPECT_EQ(content_of(folder / "to"), "");
}

TEST(CopyDurably, NeverReplaces) {
    const TempFolder folder;
    put(folder / "from", "new");
    put(folder / "to", "old");
    EXPECT_THAT(
        message_of(ErrorKind::failed, [&] { copy_durably(folder / "from", folder / "to"); }),
        HasSubstr("file exists"));
    EXPECT_EQ(content_of(folder / "to"), "old");
}

TEST(CopyDurably, LeavesNoPartWhenTheDiskIsFull) {
    const auto outcome = on_small_disk([](const path& disk) -> std::string {
        const TempFolder elsewhere;
        put(elsewhere / "from", std::string(1'000'000, 'x'));
        try {
            copy_durably(elsewhere / "from", disk / "to");
            return "it was copied";
        } catch (const Error& error) {
            std::string message = error.what();
            if (!message.ends_with("no space left on device")) {
                return message;
            }
        }
        return entries_in(disk) == 0 ? "" : "a part was left";
    });
    ASSERT_WELL_IN_OWN_MOUNTS(outcome);
}

TEST(CopyDurably, TellsThatThereIsNothingToCopy) {
    const TempFolder folder;
    EXPECT_THAT(
        message_of(ErrorKind::failed, [&] { copy_durably(folder / "from", folder / "to"); }),
        HasSubstr("no such file or directory"));
    EXPECT_FALSE(exists(folder / "to"));
}

TEST(FreeBytes, AreWhatCanStillBeWritten) {
    const auto outcome = on_small_disk([](const path& disk) -> std::string {
        const auto before = free_bytes(disk);
        put(disk / "file", std::string(8192, 'x'));
        const auto after = free_bytes(disk);
        return before <= 65536 && before - after == 8192 ? "" : "not so";
    });
    ASSERT_WELL_IN_OWN_MOUNTS(outcome);
    EXPECT_THAT(message_of(ErrorKind::failed, [] { (void)free_bytes("/missing/folder"); }),
                HasSubstr("/missing/folder: no such file or directory"));
}

TEST(WhyNotWritable, IsAbsentWhereOneCanWrite) {
    const TempFolder folder;
    EXPECT_EQ(why_not_writable(folder.path()), std::nullopt);
    EXPECT_EQ(entries_in(folder.path()), 0U);
}

TEST(WhyNotWritable, GivesTheReason) {
    const TempFolder folder;
    EXPECT_EQ(why_not_writable(folder / "missing"), "no such file or directory");
    put(folder / "file", "x");
    EXPECT_EQ(why_not_writable(folder / "file"), "not a directory");
    const auto outcome = in_own_mounts([&]() -> std::string {
        if (::mount("tmpfs", folder.path().c_str(), "tmpfs", MS_RDONLY, "") != 0) {
            return std::string("mounting: ") + std::strerror(errno);
        }
        const auto reason = why_not_writable(folder.path());
        return reason == "read-only file system" ? "" : reason.value_or("absent");
    });
    ASSERT_WELL_IN_OWN_MOUNTS(outcome);
}

TEST(Writer, WritesFrontToBack) {
    const TempFolder folder;
    put(folder / "file", "something longer from before");
    Writer writer(folder / "file", 0755);
    writer.write("one ");
    writer.write("");
    writer.write("two");
    writer.commit();
    EXPECT_EQ(content_of(folder / "file"), "one two");
    EXPECT_EQ(mode_of(folder / "file"), 0755U);
    message_of(ErrorKind::failed, [&] { writer.write("three"); });
    message_of(ErrorKind::failed, [&] { writer.commit(); });
}

TEST(Writer, FollowsNoLink) {
    const TempFolder folder;
    put(folder / "precious", "precious");
    std::filesystem::create_symlink("precious", folder / "link");
    EXPECT_THAT(message_of(ErrorKind::failed, [&] { const Writer writer(folder / "link", 0600); }),
                HasSubstr("creating " + (folder / "link").string()));
    EXPECT_EQ(content_of(folder / "precious"), "precious");
}

TEST(Writer, SaysThatTheDiskIsFull) {
    const auto outcome = on_small_disk([](const path& disk) -> std::string {
        try {
            Writer writer(disk / "file", 0600);
            writer.write(std::string(1'000'000, 'x'));
            return "it was written";
        } catch (const Error& error) {
            const std::string expected =
                "writing " + (disk / "file").string() + ": no space left on device";
            return error.what() == expected ? "" : error.what();
        }
    });
    ASSERT_WELL_IN_OWN_MOUNTS(outcome);
}

}  // namespace
}  // namespace kua::fs
