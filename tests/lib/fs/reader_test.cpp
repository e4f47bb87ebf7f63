// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/reader.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "lib/base/error.hpp"
#include "tests/lib/fs/temp_folder.hpp"

namespace kua::fs {
namespace {

using ::testing::HasSubstr;

void write(const std::filesystem::path& path, const std::string& text,
           std::ios::openmode mode = std::ios::trunc) {
    std::ofstream(path, std::ios::binary | mode) << text;
}

TEST(Reader, ReadsAFileInPieces) {
    const TempFolder folder;
    const std::string content(1'000'000, 'x');
    write(folder / "f", content);
    Reader reader(folder / "f");
    EXPECT_EQ(reader.size(), content.size());
    std::string read;
    for (auto piece = reader.read(); !piece.empty(); piece = reader.read()) {
        read += piece;
    }
    EXPECT_EQ(read, content);
    EXPECT_FALSE(reader.changed());
}

TEST(Reader, NoticesThatTheFileGrows) {
    const TempFolder folder;
    write(folder / "f", "begun");
    const Reader reader(folder / "f");
    write(folder / "f", " more", std::ios::app);
    EXPECT_TRUE(reader.changed());
}

TEST(Reader, NoticesAnotherContentOfTheSameLength) {
    const TempFolder folder;
    write(folder / "f", "12345");
    std::filesystem::last_write_time(folder / "f", std::filesystem::file_time_type());
    const Reader reader(folder / "f");
    write(folder / "f", "67890");
    EXPECT_TRUE(reader.changed());
}

TEST(Reader, OpensNothingButFiles) {
    const TempFolder folder;
    write(folder / "f", "x");
    std::filesystem::create_symlink(folder / "f", folder / "link");
    std::filesystem::create_directory(folder / "folder");
    ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
    struct Case {
        std::filesystem::path path;
        std::string said;
    };
    for (const auto& [path, said] :
         std::vector<Case>{{folder / "link", "is a symbolic link, not a file"},
                           {folder / "folder", "is a folder, not a file"},
                           {folder / "pipe", "is a pipe or device, not a file"},
                           {"/dev/null", "is a pipe or device, not a file"},
                           {folder / "none", "does not exist"}}) {
        try {
            const Reader reader(path);
            FAIL() << path;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid);
            EXPECT_THAT(error.what(), HasSubstr(path.string() + " " + said));
        }
    }
}

}  // namespace
}  // namespace kua::fs
