// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/journal_tail.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::systemd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// A journal as journald writes it: systemd's own systemd-journal-remote makes the file.
class JournalTail : public testing::Test {
  protected:
    JournalTail() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "kua-journal-XXXXXX").string();
        folder_ = ::mkdtemp(pattern.data());
    }
    ~JournalTail() override { std::filesystem::remove_all(folder_); }
    JournalTail(const JournalTail&) = delete;
    JournalTail& operator=(const JournalTail&) = delete;

    /// In the export format: systemd.io/JOURNAL_EXPORT_FORMATS.
    void add(const std::string& unit, int second, const std::string& message) {
        const auto time = (kBegin + std::chrono::seconds(second)).time_since_epoch();
        text_ += format(
            "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n"
            "_BOOT_ID=0123456789abcdef0123456789abcdef\n_SYSTEMD_UNIT={}\nMESSAGE\n",
            std::chrono::duration_cast<std::chrono::microseconds>(time).count(),
            1'000'000 * (second + 1), unit);
        for (unsigned shift = 0; shift < 64; shift += 8) {
            text_ += static_cast<char>((message.size() >> shift) & 0xffU);
        }
        text_ += message + "\n\n";
    }

    void write() const {
        const auto command =
            format("/lib/systemd/systemd-journal-remote -o {}/test.journal - 2>&1 >/dev/null",
                   folder_.string());
        // NOLINTNEXTLINE(cert-env33-c): the shell is ours, and so is what it is told.
        FILE* const pipe = ::popen(command.c_str(), "w");
        ASSERT_NE(pipe, nullptr);
        EXPECT_EQ(std::fwrite(text_.data(), 1, text_.size(), pipe), text_.size());
        ASSERT_EQ(::pclose(pipe), 0);
    }

    [[nodiscard]] std::vector<std::string> tail(int since, std::size_t most) const {
        return journal_tail("k3s.service", kBegin + std::chrono::seconds(since), most, folder_);
    }

    static constexpr WallTime kBegin{std::chrono::seconds(1'790'000'000)};
    std::filesystem::path folder_;
    std::string text_;
};

TEST_F(JournalTail, HasTheUnitsLastMessagesInTheirOrder) {
    for (int second = 0; second < 10; ++second) {
        add("k3s.service", second, "k3s " + std::to_string(second));
        add("other.service", second, "other " + std::to_string(second));
    }
    write();
    EXPECT_THAT(tail(0, 3), ElementsAre("k3s 7", "k3s 8", "k3s 9"));
    EXPECT_THAT(tail(8, 3), ElementsAre("k3s 8", "k3s 9"));
    EXPECT_THAT(tail(10, 3), IsEmpty());
    EXPECT_THAT(tail(0, 0), IsEmpty());
}

TEST_F(JournalTail, MakesOneCleanLineOfEachMessage) {
    add("k3s.service", 0, "two\nlines and \x1b[31mred");
    add("k3s.service", 1, std::string(10'000, 'x'));
    write();
    EXPECT_THAT(tail(0, 9), ElementsAre("two lines and  [31mred", std::string(500, 'x') + "…"));
}

TEST_F(JournalTail, IsEmptyWhereNothingWasWritten) { EXPECT_THAT(tail(0, 5), IsEmpty()); }

TEST_F(JournalTail, SaysWhatCannotBeRead) {
    std::filesystem::remove_all(folder_);
    try {
        (void)tail(0, 5);
        FAIL() << "nothing was thrown";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::failed);
        EXPECT_STREQ(error.what(), "opening the journal: no such file or directory");
    }
}

}  // namespace
}  // namespace kua::systemd
