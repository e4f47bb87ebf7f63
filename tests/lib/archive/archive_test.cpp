// SPDX-License-Identifier: Apache-2.0
#include "lib/archive/archive.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "lib/base/format.hpp"
#include "lib/fs/process.hpp"
#include "tests/lib/archive/pieces.hpp"
#include "tests/lib/archive/tar_writer.hpp"
#include "tests/lib/fs/plain_files.hpp"
#include "tests/lib/fs/temp_folder.hpp"

namespace kua::archive {
namespace {

using test::pax_header;
using test::pax_record;
using test::tar_end;
using test::tar_file;
using test::tar_header;
using test::zstd_frame;

/// Runs a line of shell in `folder`.
void shell(const fs::TempFolder& folder, const std::string& line) {
    const auto finished =
        fs::run({"/bin/sh", {"-ec", line}, {"PATH=/usr/bin:/bin", "LC_ALL=C"}, folder.path()});
    ASSERT_TRUE(finished.succeeded()) << line << ": " << finished.errors;
}

/// Text that compresses, but not to nothing.
std::string long_text() {
    std::string text;
    for (int number = 0; text.size() < 300'000; ++number) {
        text += format("{} {}\n", number, number * 7919 % 10'007);
    }
    return text;
}

TEST(Archive, ReadsWhatTarWritesInEachFormatAndCompression) {
    const fs::TempFolder folder;
    const auto text = long_text();
    std::filesystem::create_directories(folder / "in/opt/empty");
    std::ofstream(folder / "in/opt/k3s", std::ios::binary) << text;
    std::ofstream(folder / "in/opt/none");
    shell(folder, "ln -s /etc/passwd in/opt/link; ln in/opt/k3s in/opt/same; mkfifo in/opt/pipe");
    for (const std::string form : {"ustar", "pax", "gnu"}) {
        shell(folder, "tar -C in --sort=name --format=" + form + " -cf " + form + ".tar .");
        shell(folder, "gzip -k " + form + ".tar; zstd -q " + form + ".tar");
        for (const std::string extension : {".tar", ".tar.gz", ".tar.zst"}) {
            SCOPED_TRACE(form + extension);
            const auto bytes = fs::content_of(folder / (form + extension));
            const auto all = read_all(bytes, {}, 1000);
            std::map<std::string, Read> entries;
            for (const auto& read : all) {
                entries[read.entry.path] = read;
            }
            EXPECT_EQ(all.size(), 8U);
            EXPECT_EQ(entries.at(".").entry.kind, Kind::folder);
            EXPECT_EQ(entries.at("opt/empty").entry.kind, Kind::folder);
            EXPECT_EQ(entries.at("opt/k3s").entry.kind, Kind::file);
            EXPECT_EQ(entries.at("opt/k3s").entry.size, text.size());
            EXPECT_EQ(entries.at("opt/k3s").content, text);
            EXPECT_EQ(entries.at("opt/none").entry.kind, Kind::file);
            EXPECT_EQ(entries.at("opt/none").content, "");
            EXPECT_EQ(entries.at("opt/link").entry.kind, Kind::symlink);
            EXPECT_EQ(entries.at("opt/link").entry.target, "/etc/passwd");
            EXPECT_EQ(entries.at("opt/same").entry.kind, Kind::hardlink);
            EXPECT_EQ(entries.at("opt/same").entry.target, "opt/k3s");
            EXPECT_EQ(entries.at("opt/pipe").entry.kind, Kind::other);
        }
    }
}

TEST(Archive, ReadsSeveralMembersAndFramesAsOne) {
    const fs::TempFolder folder;
    const auto bytes = tar_file("a", "1") + tar_file("b", long_text()) + tar_end();
    const auto half = bytes.size() / 2;
    std::ofstream(folder / "1", std::ios::binary) << bytes.substr(0, half);
    std::ofstream(folder / "2", std::ios::binary) << bytes.substr(half);
    shell(folder, "(gzip -c 1; gzip -c 2) > gz; (zstd -qc 1; zstd -qc 2) > zst");
    for (const std::string name : {"gz", "zst"}) {
        for (const std::size_t piece : {1U, 7U, 100'000U}) {
            const auto all = read_all(fs::content_of(folder / name), {}, piece);
            ASSERT_EQ(all.size(), 2U) << name;
            EXPECT_EQ(all[1].content, long_text()) << name;
        }
    }
}

TEST(Archive, NoticesWhereCompressedDataBreaksOff) {
    const fs::TempFolder folder;
    std::ofstream(folder / "a.tar", std::ios::binary) << tar_file("a", long_text()) << tar_end();
    shell(folder, "gzip -k a.tar; zstd -q a.tar");
    for (const std::string name : {"a.tar", "a.tar.gz", "a.tar.zst"}) {
        const auto bytes = fs::content_of(folder / name);
        for (const auto size : {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{100},
                                bytes.size() / 2, bytes.size() - 2000}) {
            const auto refused = refusal(bytes.substr(0, size));
            EXPECT_TRUE(refused.early) << name << " " << size << ": " << refused.message;
        }
        for (const auto at : {std::size_t{20}, bytes.size() / 2}) {
            if (name != "a.tar") {
                auto flipped = bytes;
                flipped[at] = static_cast<char>(flipped[at] ^ 0x55);
                Reader reader(pieces(flipped), {}, name);
                try {
                    EXPECT_NE(read_all(reader).at(0).content, long_text());
                } catch (const Error& error) {
                    EXPECT_EQ(error.kind(), ErrorKind::invalid);
                }
            }
        }
    }
}

TEST(Archive, SkipsSkippableFramesAlsoBeforeTheFirst) {
    const auto bytes = tar_file("a", "content") + tar_end();
    const std::string skippable("\x5f\x2a\x4d\x18\x05\x00\x00\x00hello", 13);
    const auto half = bytes.size() / 2;
    const auto framed = skippable + zstd_frame(bytes.substr(0, half)) + skippable + skippable +
                        zstd_frame(bytes.substr(half)) + skippable;
    for (const std::size_t piece : {1U, 3U, 5U, 100'000U}) {
        EXPECT_EQ(read_all(framed, {}, piece).at(0).content, "content");
    }
}

TEST(Archive, NormalisesPaths) {
    const auto all =
        read_all(tar_header({"./opt//x/./", 0, '5'}) + tar_file("./opt/./k3s", "1") +
                 tar_header({"./", 0, '5'}) + tar_header({"h", 0, '1', ".//opt/k3s"}) + tar_end());
    ASSERT_EQ(all.size(), 4U);
    EXPECT_EQ(all[0].entry.path, "opt/x");
    EXPECT_EQ(all[1].entry.path, "opt/k3s");
    EXPECT_EQ(all[2].entry.path, ".");
    EXPECT_EQ(all[3].entry.target, "opt/k3s");
}

TEST(Archive, TakesNamesFromPaxAndGnuHeaders) {
    const std::string name = std::string(150, 'd') + "/" + std::string(200, 'f');
    const auto all = read_all(pax_header(pax_record("path", name)) + tar_file("short", "1") +
                              tar_header({"././@LongLink", name.size() + 1, 'L'}) +
                              test::padded(name + '\0') + tar_file("short", "2") + tar_end());
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].entry.path, name);
    EXPECT_EQ(all[1].entry.path, name);
    EXPECT_EQ(all[1].content, "2");
}

TEST(Archive, PassesNamesInAnyCharacters) {
    // CA certificates have such names; the agent runs in the C locale.
    const std::string name = "ssl/F\xc5\x91tan\xc3\xbas\xc3\xadtv\xc3\xa1ny.crt";
    const auto all = read_all(pax_header(pax_record("path", name)) + tar_file("short", "1") +
                              tar_file(name, "2") + tar_file("latin-\xe9", "3") +
                              tar_file("opt/k3s", "4") + tar_end());
    ASSERT_EQ(all.size(), 4U);
    EXPECT_EQ(all[0].content, "1");
    EXPECT_EQ(all[0].entry.path.substr(0, 5), "ssl/F");
    EXPECT_EQ(all[3].entry.path, "opt/k3s");
}

TEST(Archive, GoesOnToTheNextEntryWhateverWasRead) {
    const auto bytes =
        tar_file("a", long_text()) + tar_file("b", long_text()) + tar_file("c", "3") + tar_end();
    Reader reader(pieces(bytes, 10'000), {}, "bundle.tar");
    EXPECT_EQ(reader.next()->path, "a");
    EXPECT_EQ(reader.next()->path, "b");
    EXPECT_FALSE(reader.read().empty());
    EXPECT_EQ(reader.next()->path, "c");
    EXPECT_EQ(reader.read(), "3");
    EXPECT_EQ(reader.read(), "");
    EXPECT_EQ(reader.read(), "");
    EXPECT_EQ(reader.next(), std::nullopt);
}

TEST(Archive, ReadsNothingBeforeItIsAsked) {
    Reader reader([]() -> std::string_view { throw Error(ErrorKind::failed, "asked"); }, {}, "x");
    EXPECT_FALSE(reader.ended_early());
}

TEST(Archive, HandsOnWhatTheInputThrows) {
    const auto bytes = tar_file("a", long_text()) + tar_end();
    for (const auto& whole : {bytes, zstd_frame(bytes)}) {
        for (const std::size_t good : {0U, 1U, 100U}) {
            auto source = pieces(whole, 1000);
            std::size_t given = 0;
            Reader reader(
                [&]() -> std::string_view {
                    if (given++ == good) {
                        throw Error(ErrorKind::stopped, "stopping");
                    }
                    return source();
                },
                {}, "bundle.tar");
            try {
                read_all(reader);
                FAIL() << "nothing was thrown";
            } catch (const Error& error) {
                EXPECT_EQ(error.kind(), ErrorKind::stopped);
                EXPECT_STREQ(error.what(), "stopping");
            }
            EXPECT_FALSE(reader.ended_early());
        }
    }
}

TEST(Archive, HandsOnWhatIsNoErrorOfOurs) {
    Reader reader([]() -> std::string_view { throw 42; }, {}, "bundle.tar");
    EXPECT_THROW(reader.next(), int);
}

TEST(Archive, DoesNotReadOnPastTheEnd) {
    auto source = pieces(tar_file("a", "1") + tar_end(), 512);
    bool ended = false;
    Reader reader(
        [&]() -> std::string_view {
            const auto piece = source();
            if (piece.empty()) {
                ended = true;
            }
            return piece;
        },
        {}, "bundle.tar");
    EXPECT_EQ(read_all(reader).size(), 1U);
    EXPECT_FALSE(ended);
}

TEST(Archive, MayStopWithoutItsEndMarkerWhereThatIsAllowed) {
    Limits limits;
    limits.end_marker = false;
    EXPECT_EQ(read_all(tar_file("a", "1"), limits).size(), 1U);
    EXPECT_EQ(read_all(zstd_frame(tar_file("a", "1")), limits).size(), 1U);
}

TEST(Archive, MayBeEmpty) { EXPECT_TRUE(read_all(tar_end()).empty()); }

}  // namespace
}  // namespace kua::archive
