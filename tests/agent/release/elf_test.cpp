// SPDX-License-Identifier: Apache-2.0
#include "agent/release/elf.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"

namespace kua::release {
namespace {

using test::error_of;
using test::write_text;
using ::testing::HasSubstr;

/// An ELF header's fields; the defaults are those of k3s for x86_64.
struct Elf {
    char bits = 2;
    char order = 1;
    unsigned type = 2;
    unsigned machine = 62;
    unsigned flags = 0;
};

std::string header(const Elf& elf) {
    std::string bytes(elf.bits == 1 ? 52 : 64, '\0');
    bytes.replace(0, 7,
                  std::string("\x7f"
                              "ELF") +
                      elf.bits + elf.order + '\1');
    const auto put = [&bytes](std::size_t at, unsigned value, int size) {
        for (int index = 0; index < size; ++index) {
            bytes[at++] = static_cast<char>(value & 0xFFU);
            value >>= 8U;
        }
    };
    put(16, elf.type, 2);
    put(18, elf.machine, 2);
    put(elf.bits == 1 ? 36 : 48, elf.flags, 4);
    return bytes;
}

class ElfTest : public ::testing::Test {
  protected:
    void check(const std::string& content, const std::string& machine) {
        write_text(folder_ / "k3s", content);
        check_elf(folder_ / "k3s", machine);
    }

    std::string refusal(const std::string& content, const std::string& machine = "x86_64") {
        const auto error = error_of([&] { check(content, machine); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        EXPECT_THAT(error.what(), HasSubstr((folder_ / "k3s").string() + " is "));
        return error.what();
    }

    test::TempFolder folder_;
};

constexpr Elf kArm{1, 1, 2, 40, 0x05000400};

TEST_F(ElfTest, PassesForItsOwnMachine) {
    check(header({}) + std::string(100'000, 'x'), "x86_64");
    check(header({2, 1, 3, 62}), "x86_64");
    check(header({2, 1, 2, 183}), "aarch64");
    check(header(kArm), "armv7l");
    check(header(kArm), "armv8l");
    // As Go's own linker writes it.
    check(header({1, 1, 2, 40, 0x05000002}), "armv7l");
}

TEST_F(ElfTest, IsThisTestItself) { check_elf("/proc/self/exe"); }

TEST_F(ElfTest, NamesBothMachinesWhenTheyDiffer) {
    EXPECT_THAT(refusal(header({2, 1, 2, 183})),
                HasSubstr("is built for aarch64, this host is x86_64"));
    EXPECT_THAT(refusal(header({}), "aarch64"),
                HasSubstr("is built for x86_64, this host is aarch64"));
    EXPECT_THAT(refusal(header(kArm), "aarch64"), HasSubstr("is built for 32-bit ARM, this host"));
    EXPECT_THAT(refusal(header({2, 1, 2, 183}), "armv7l"), HasSubstr("is built for aarch64"));
    EXPECT_THAT(refusal(header({1, 1, 2, 3})), HasSubstr("is built for i386"));
    EXPECT_THAT(refusal(header({1, 1, 2, 62})), HasSubstr("is built for x32"));
    EXPECT_THAT(refusal(header({2, 1, 2, 999})), HasSubstr("is built for machine 999"));
    EXPECT_THAT(refusal(header({2, 2, 2, 62})), HasSubstr("big-endian"));
}

TEST_F(ElfTest, OnArmIsHardFloat) {
    EXPECT_THAT(refusal(header({1, 1, 2, 40, 0x05000200}), "armv7l"),
                HasSubstr("without hard float"));
    EXPECT_THAT(refusal(header({1, 1, 2, 40, 0x04000400}), "armv7l"), HasSubstr("EABI 5"));
    EXPECT_THAT(refusal(header({1, 1, 2, 40, 0}), "armv8l"), HasSubstr("this host is armv8l"));
}

TEST_F(ElfTest, IsAProgram) {
    for (const unsigned type : {0U, 1U, 4U, 0xFE00U}) {
        EXPECT_THAT(refusal(header({2, 1, type, 62})), HasSubstr("no program"));
    }
}

TEST_F(ElfTest, IsNoText) {
    EXPECT_THAT(refusal("#!/bin/sh\necho k3s version v1.31.4+k3s1\n"),
                HasSubstr("is no ELF program: it begins with \"#!/bin/sh"));
    for (const std::size_t length : {0U, 1U, 3U, 4U, 5U, 18U, 51U, 63U}) {
        EXPECT_THAT(refusal(header({}).substr(0, length)), HasSubstr("is no ELF program"))
            << length;
    }
    EXPECT_THAT(refusal(header({3, 1, 2, 62})), HasSubstr("is no ELF program"));
    EXPECT_THAT(refusal(std::string(64, '\xff')), HasSubstr("is no ELF program"));
}

TEST_F(ElfTest, CanBeRead) {
    EXPECT_EQ(error_of([&] { check_elf(folder_ / "missing", "x86_64"); }).kind(),
              ErrorKind::failed);
    EXPECT_EQ(error_of([&] { check_elf(folder_.path(), "x86_64"); }).kind(), ErrorKind::failed);
    EXPECT_THAT(error_of([&] { check(header({}), "s390x"); }).what(), HasSubstr("s390x"));
}

}  // namespace
}  // namespace kua::release
