// SPDX-License-Identifier: Apache-2.0
// Archives that somebody made to do harm, or that broke on the way.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <fstream>

#include "lib/archive/archive.hpp"
#include "lib/base/format.hpp"
#include "tests/lib/archive/pieces.hpp"
#include "tests/lib/archive/tar_writer.hpp"

namespace kua::archive {
namespace {

using test::pax_header;
using test::pax_record;
using test::tar_end;
using test::tar_file;
using test::tar_header;
using test::zstd_frame;
using test::zstd_zeros;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

/// The most memory this process has needed so far, in KiB.
long peak_kib() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/// Gives `first`, and then `again` for ever; counts the bytes.
Input endless(std::string first, std::string again, std::uint64_t& given) {
    return [first = std::move(first), again = std::move(again), &given,
            begun = false]() mutable -> std::string_view {
        const std::string_view piece = begun ? again : first;
        begun = true;
        given += piece.size();
        return piece;
    };
}

/// As old GNU tar wrote it: one piece at 1 GiB, of 512 bytes, of a file of 2 GiB.
std::string old_sparse(bool continued) {
    auto header = tar_header({"k3s", 512, 'S'});
    header.replace(257, 8, std::string_view("ustar  \0", 8));
    header.replace(386, 11, "10000000000");
    header.replace(398, 11, "00000001000");
    header[482] = continued ? 1 : 0;
    header.replace(483, 11, "20000000000");
    header.replace(148, 8, "        ");
    unsigned sum = 0;
    for (const char c : header) {
        sum += static_cast<unsigned char>(c);
    }
    header.replace(148, 6, format("{:06o}", sum));
    header[154] = '\0';
    return header;
}

TEST(HostileArchive, NamesThatLeadElsewhereAreRefused) {
    struct Case {
        std::string bytes;
        std::string said;
    };
    for (const auto& [bytes, said] : std::vector<Case>{
             {tar_file("/opt/k3s", "1"), "\"/opt/k3s\": an absolute name"},
             {tar_file("//opt/k3s", "1"), "an absolute name"},
             {tar_file("../opt/k3s", "1"), "\"../opt/k3s\": a name with \"..\""},
             {tar_file("opt/../../k3s", "1"), "a name with \"..\""},
             {tar_file("opt/..", "1"), "a name with \"..\""},
             {tar_file("opt/k3s\n", "1"), "control characters"},
             {tar_file("opt/\x1b[2Jk3s", "1"), "control characters"},
             {tar_file("opt/k3s\x7f", "1"), "control characters"},
             {pax_header(pax_record("path", "../k3s")) + tar_file("k3s", "1"),
              "a name with \"..\""},
             {pax_header(pax_record("path", std::string(5000, 'n'))) + tar_file("k3s", "1"),
              "longer than 4096 bytes"},
             {pax_header(pax_record("path", "")) + tar_header({"", 0}), "no name"},
             {tar_header({"opt/k3s", 0, '1', "/etc/shadow"}),
              "opt/k3s: a hard link to: \"/etc/shadow\": an absolute name"},
             {tar_header({"opt/k3s", 0, '1', "../../etc/shadow"}),
              "opt/k3s: a hard link to: \"../../etc/shadow\": a name with \"..\""},
             {pax_header(pax_record("linkpath", "/etc/shadow")) + tar_header({"k3s", 0, '1', "x"}),
              "an absolute name"},
         }) {
        const auto refused = refusal(tar_file("good", "1") + bytes + tar_end());
        EXPECT_THAT(refused.message, HasSubstr(said));
        EXPECT_FALSE(refused.early) << said;
        EXPECT_EQ(refused.message.find('\n'), std::string::npos);
        EXPECT_LT(refused.message.size(), 500U);
    }
}

TEST(HostileArchive, SizesThatCantBeAreRefused) {
    const std::string base256 = std::string(1, '\x80') + std::string(3, '\0');
    for (const auto& field : std::vector<std::string>{
             "777777777777",                                        // 64 GiB
             base256 + std::string("\x00\x00\x10\x00\0\0\0\0", 8),  // 16 TiB
             base256 + std::string(8, '\x7f'),                      // nearly 2^63
             base256 + std::string(8, '\xff'),                      // beyond it
             std::string(12, '\xff'),                               // -1
             std::string("\xff") + std::string(10, '\xff') + "\x01",
         }) {
        const auto refused = refusal(tar_header({"opt/k3s", 0, '0', "", field}) +
                                     std::string(4096, 'x') + tar_end());
        EXPECT_FALSE(refused.message.empty());
        EXPECT_FALSE(refused.early) << refused.message;
    }
    EXPECT_THAT(refusal(tar_header({"opt/k3s", 5ULL << 30U}) + "x").message,
                HasSubstr("archive bundle.tar: opt/k3s: 5.4 GB are more than the 4.3 GB"));
    EXPECT_FALSE(
        refusal(pax_header(pax_record("size", "-5")) + tar_file("k3s", "12345")).message.empty());
    EXPECT_FALSE(
        refusal(pax_header(pax_record("size", "99999999999999999999")) + tar_file("k3s", "12345"))
            .message.empty());
}

TEST(HostileArchive, SparseFilesAreRefused) {
    EXPECT_THAT(refusal(old_sparse(false) + tar_end()).message, HasSubstr("sparse"));
    const auto pax = pax_header(
        pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0") +
        pax_record("GNU.sparse.name", "k3s") + pax_record("GNU.sparse.realsize", "1073741824"));
    EXPECT_THAT(
        refusal(pax + tar_file("x", test::padded("1\n1000000\n512\n") + std::string(512, 'x')) +
                tar_end())
            .message,
        HasSubstr("sparse"));
    const auto zero_one = pax_header(pax_record("GNU.sparse.size", "1073741824") +
                                     pax_record("GNU.sparse.numblocks", "1") +
                                     pax_record("GNU.sparse.map", "1000000,512"));
    EXPECT_THAT(refusal(zero_one + tar_file("k3s", std::string(512, 'x')) + tar_end()).message,
                HasSubstr("sparse"));
}

TEST(HostileArchive, TooManyEntriesAreRefused) {
    std::string many;
    for (int number = 0; number < 11; ++number) {
        many += tar_file(format("f{}", number), "");
    }
    Limits limits;
    limits.entries = 10;
    EXPECT_THAT(refusal(many + tar_end(), limits).message, HasSubstr("more than 10 entries"));
    limits.entries = 11;
    EXPECT_EQ(read_all(many + tar_end(), limits).size(), 11U);
}

TEST(HostileArchive, AMillionEntriesAreRefusedAtTheLimit) {
    std::uint64_t given = 0;
    const auto entry = tar_file("f", "");
    std::string thousand;
    for (int number = 0; number < 1000; ++number) {
        thousand += entry;
    }
    EXPECT_THAT(refusal(endless(entry, thousand, given)).message,
                HasSubstr("more than 100000 entries"));
    EXPECT_LT(given, 60U << 20U);
}

TEST(HostileArchive, ABombIsNoticedWhileItIsRead) {
    Limits limits;
    limits.bytes = 10 << 20;
    // A file of 100 GB says so at the start; many small ones don't, nor do headers.
    const auto big = zstd_frame(
        tar_header({"opt/k3s", 0, '0', "", std::string("\x80\0\0\0\0\0\0\x17\x48\x76\xe8\0", 12)}));
    EXPECT_FALSE(refusal(big + zstd_zeros(1000)).message.empty());
    std::uint64_t given = 0;
    const auto file = zstd_frame(tar_header({"f", 1024 * 1000})) + zstd_zeros(1000);
    EXPECT_THAT(refusal(endless(file, file, given), limits).message,
                HasSubstr("archive bundle.tar: f: it holds more than 10 MB"));
    EXPECT_LT(given, 100'000U);
}

TEST(HostileArchive, HeadersWithoutEndAreRefused) {
    const auto before = peak_kib();
    std::uint64_t given = 0;
    const auto pax = pax_header(pax_record("comment", std::string(100'000, 'c')));
    EXPECT_FALSE(refusal(endless(pax, pax, given)).message.empty());
    const auto global = pax_header(pax_record("comment", "c"), 'g');
    EXPECT_FALSE(refusal(endless(global, global, given)).message.empty());
    const auto label = tar_header({"label", 0, 'V'});
    EXPECT_FALSE(refusal(endless(label, label, given)).message.empty());
    const auto long_name =
        tar_header({"././@LongLink", 2000, 'L'}) + test::padded(std::string(2000, 'n'));
    EXPECT_FALSE(refusal(endless(long_name, long_name, given)).message.empty());
    EXPECT_FALSE(refusal(endless(tar_header({"PaxHeaders/x", 1ULL << 30U, 'x'}),
                                 std::string(4096, 'x'), given))
                     .message.empty());
    // A gzip header's file name ends with a zero that never comes.
    EXPECT_THAT(refusal(endless(std::string("\x1f\x8b\x08\x08\0\0\0\0\0\x03", 10),
                                std::string(65536, 'n'), given))
                    .message,
                HasSubstr("a header is longer than"));
    // Sparse maps that go on for ever: as old GNU tar wrote them, and as it does now.
    auto map = std::string(512, '\0');
    for (std::size_t at = 0; at < 21; ++at) {
        map.replace(at * 24, 23, std::string("00000001000\00000000001", 23));
    }
    map[504] = 1;
    EXPECT_FALSE(refusal(endless(old_sparse(true), map, given)).message.empty());
    const auto lines =
        pax_header(pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0") +
                   pax_record("GNU.sparse.realsize", "1073741824"));
    EXPECT_FALSE(refusal(endless(lines + tar_header({"x", 1ULL << 30U}) +
                                     test::padded("1000000000\n" + std::string(500, '1')),
                                 std::string(512, '\n'), given))
                     .message.empty());
    EXPECT_LT(given, 60U << 20U);
    EXPECT_LT(peak_kib() - before, 64 << 10);
}

TEST(HostileArchive, WindowsOfZstdAreBounded) {
    // Exponent 21: 2 GiB. Exponent 15 and a bit: more than 32 MiB. Exponent 17: 128 MiB, which the
    // library would take.
    for (const char window : {'\xa8', '\x79', '\x88'}) {
        EXPECT_THAT(refusal(zstd_frame(tar_file("a", "1") + tar_end(), window)).message,
                    AllOf(HasSubstr("zstd's window"), HasSubstr("--long")));
        // Also of a later frame.
        EXPECT_THAT(refusal(zstd_frame(tar_file("a", "1")) + zstd_frame(tar_end(), window)).message,
                    HasSubstr("zstd's window"));
    }
    EXPECT_EQ(read_all(zstd_frame(tar_file("a", "1") + tar_end(), '\x78')).size(), 1U);
}

TEST(HostileArchive, OneCompressionIsEnough) {
    const auto bytes = tar_file("a", "1") + tar_end();
    EXPECT_THAT(refusal(zstd_frame(zstd_frame(bytes))).message, HasSubstr("more than once"));
}

TEST(HostileArchive, OtherFormatsAreRefused) {
    const std::string cpio = "070701" + std::string(104, '0');
    for (const auto& bytes : std::vector<std::string>{
             std::string("PK\x03\x04") + std::string(2000, 'x'),
             cpio + std::string(2000, '0'),
             "!<arch>\n" + std::string(2000, ' '),
             std::string("\xfd"
                         "7zXZ\0",
                         6) +
                 std::string(2000, 'x'),
             "BZh9" + std::string(2000, 'x'),
             "#mtree\n" + std::string(2000, '\n'),
             "\x1f\x9d" + std::string(2000, 'x'),
             std::string(2000, 'x'),
             zstd_frame(std::string(2000, 'x')),
         }) {
        const auto refused = refusal(bytes);
        EXPECT_THAT(refused.message,
                    AnyOf(HasSubstr("no tar archive"), HasSubstr("more than once")));
        EXPECT_FALSE(refused.early) << refused.message;
    }
    EXPECT_FALSE(
        refusal(std::string("\x1f\x8b\x08\0garbage", 11) + std::string(2000, 'x')).message.empty());
    EXPECT_FALSE(refusal("\x28\xb5\x2f\xfd" + std::string(2000, 'x')).message.empty());
}

TEST(HostileArchive, EveryTruncationIsNoticed) {
    const auto bytes = tar_file("a", std::string(3000, 'a')) +
                       pax_header(pax_record("path", "long")) + tar_file("b", "b") + tar_end();
    // Without its second block of zeros it is whole, as for every tar program.
    for (std::size_t size = 0; size <= bytes.size() - 1024; ++size) {
        const auto refused = refusal(bytes.substr(0, size));
        EXPECT_TRUE(refused.early) << size << ": " << refused.message;
    }
    const auto compressed = zstd_frame(bytes);
    for (std::size_t size = 0; size + 520 < compressed.size(); ++size) {
        const auto refused = refusal(compressed.substr(0, size));
        EXPECT_TRUE(refused.early) << size << ": " << refused.message;
    }
}

TEST(HostileArchive, DamageIsNoTruncation) {
    auto bytes = tar_file("a", "1") + tar_file("b", "2") + tar_end();
    bytes[1024 + 3] = 'x';
    const auto refused = refusal(bytes);
    EXPECT_FALSE(refused.early);
    EXPECT_THAT(refused.message, HasSubstr("archive bundle.tar: "));
}

}  // namespace
}  // namespace kua::archive
