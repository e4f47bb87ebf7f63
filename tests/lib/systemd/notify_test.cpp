// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/notify.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "lib/base/format.hpp"
#include "lib/base/unique_fd.hpp"

namespace kua::systemd {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

/// A datagram socket at a path, as systemd and journald have one.
UniqueFd listen_at(const std::filesystem::path& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return {};
    }
    return fd;
}

/// The next datagram; empty when there is none.
std::string receive(const UniqueFd& fd) {
    std::array<char, 4096> buffer{};
    const ssize_t got = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    return got < 0 ? std::string() : std::string(buffer.data(), static_cast<std::size_t>(got));
}

class Notify : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "kua-notify-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        socket_ = listen_at(folder_ / "notify");
        ASSERT_TRUE(socket_);
        ::setenv("NOTIFY_SOCKET", (folder_ / "notify").c_str(), 1);
    }
    void TearDown() override {
        for (const char* const name :
             {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"}) {
            ::unsetenv(name);
        }
        std::filesystem::remove_all(folder_);
    }

    std::filesystem::path folder_;
    UniqueFd socket_;
};

TEST_F(Notify, TellsSystemdWhatHappens) {
    notify_ready();
    EXPECT_EQ(receive(socket_), "READY=1");
    notify_stopping();
    EXPECT_EQ(receive(socket_), "STOPPING=1");
    notify_watchdog();
    EXPECT_EQ(receive(socket_), "WATCHDOG=1");
    notify_status("Draining (2 pods left)");
    EXPECT_EQ(receive(socket_), "STATUS=Draining (2 pods left)");
}

TEST_F(Notify, LetsNoStatusBringAnotherMessageAlong) {
    notify_status("one\nMAINPID=1\r\n");
    EXPECT_EQ(receive(socket_), "STATUS=one MAINPID=1  ");
}

TEST_F(Notify, DoesNothingWithoutSystemd) {
    ::unsetenv("NOTIFY_SOCKET");
    notify_ready();
    ::setenv("NOTIFY_SOCKET", "/missing/socket", 1);
    notify_ready();
    EXPECT_EQ(receive(socket_), "");
}

TEST_F(Notify, WantsTheWatchdogFedTwiceAsOftenAsSystemdAsks) {
    EXPECT_EQ(watchdog_interval(), std::nullopt);
    ::setenv("WATCHDOG_USEC", "30000000", 1);
    EXPECT_EQ(watchdog_interval(), 15s);
    ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
    EXPECT_EQ(watchdog_interval(), 15s);
    ::setenv("WATCHDOG_PID", "1", 1);
    EXPECT_EQ(watchdog_interval(), std::nullopt);
    ::unsetenv("WATCHDOG_PID");
    ::setenv("WATCHDOG_USEC", "1", 1);
    EXPECT_EQ(watchdog_interval(), 1ms);
    ::setenv("WATCHDOG_USEC", "rubbish", 1);
    EXPECT_EQ(watchdog_interval(), std::nullopt);
}

TEST_F(Notify, KnowsWhetherStandardErrorIsTheJournal) {
    EXPECT_FALSE(stderr_is_journal());
    struct stat status {};
    ASSERT_EQ(::fstat(STDERR_FILENO, &status), 0);
    ::setenv("JOURNAL_STREAM", format("{}:{}", status.st_dev, status.st_ino).c_str(), 1);
    EXPECT_TRUE(stderr_is_journal());
    for (const std::string& stream :
         {format("{}:{}", status.st_dev, status.st_ino + 1), format("{}", status.st_dev),
          format("{}:{}x", status.st_dev, status.st_ino), std::string(), std::string("x:y"),
          std::string("99999999999999999999999:1")}) {
        ::setenv("JOURNAL_STREAM", stream.c_str(), 1);
        EXPECT_FALSE(stderr_is_journal()) << stream;
    }
}

TEST(JournalRecord, HasNamesThatJournaldTakes) {
    EXPECT_THAT(journal_record(6, "slot taken",
                               {{"plan", "server-plan"}, {"old version", "v1=2"}, {"Größe", ""}}),
                ElementsAre("MESSAGE=slot taken", "PRIORITY=6", "K3S_UPGRADE_PLAN=server-plan",
                            "K3S_UPGRADE_OLD_VERSION=v1=2", "K3S_UPGRADE_GR____E="));
    const std::string piece = journal_record(6, "x", {{std::string(100, 'a'), "v"}}).back();
    EXPECT_EQ(piece.find('='), 64U);
}

TEST(JournalSend, ReachesJournaldsSocket) {
    // journald's socket has a fixed path: a child puts one of its own there, in a mount namespace
    // where it hides the host's.
    const pid_t child = ::fork();
    if (child == 0) {
        const int namespaces = CLONE_NEWNS | (::geteuid() == 0 ? 0 : CLONE_NEWUSER);
        if (::unshare(namespaces) != 0 ||
            ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("tmpfs", "/run", "tmpfs", 0, nullptr) != 0) {
            ::_exit(77);
        }
        journal_send(6, "to nobody", {});
        std::filesystem::create_directories("/run/systemd/journal");
        const UniqueFd journald = listen_at("/run/systemd/journal/socket");
        journal_send(4, "two\nlines", {{"plan", "p"}});
        const std::string record = receive(journald);
        const bool good = record.find("PRIORITY=4\n") != std::string::npos &&
                          record.find("K3S_UPGRADE_PLAN=p\n") != std::string::npos &&
                          // A value with a line break goes as name, length and bytes.
                          record.find(std::string("MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\n", 26)) !=
                              std::string::npos;
        ::_exit(good ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        GTEST_SKIP() << "this host allows no mount namespaces";
    }
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace kua::systemd
