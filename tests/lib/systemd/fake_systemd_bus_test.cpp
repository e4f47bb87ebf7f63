// SPDX-License-Identifier: Apache-2.0
// Drives the program tests/fakes/systemd_bus, whose path is the first argument, through the real
// adapter.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <string>

#include "lib/systemd/dbus_units.hpp"
#include "tests/fakes/systemd_bus/private_bus.hpp"

namespace kua::systemd {
namespace {

using namespace std::chrono_literals;

/// The fake's program, running.
class Program {
  public:
    Program(const std::string& address, const char* milliseconds, const std::string& command) {
        // gtest has taken its own flags out.
        const std::string path = testing::internal::GetArgvs().at(1);
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::dup2(ends[1], STDOUT_FILENO);
            ::execl(path.c_str(), path.c_str(), address.c_str(), milliseconds, command.c_str(),
                    "k3s.service", "/usr/local/bin/k3s", "server", ",", "k3s-agent.service",
                    "/usr/local/bin/k3s", "agent", static_cast<char*>(nullptr));
            ::_exit(127);
        }
        ::close(ends[1]);
        std::array<char, 16> line{};
        EXPECT_GT(::read(ends[0], line.data(), line.size()), 0) << "it did not get ready";
        ::close(ends[0]);
    }
    ~Program() {
        ::kill(pid_, SIGTERM);
        int status = 0;
        EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

  private:
    pid_t pid_ = -1;
};

TEST(FakeSystemdBus, RunsItsCommandAndTakesItsTime) {
    const fakes::PrivateBus bus;
    std::string pattern = (std::filesystem::temp_directory_path() / "kua-fake-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    const Program program(bus.address(), "100", "touch " + pattern + "/$1");
    DbusUnits units(bus.address());
    EXPECT_EQ(units.state("k3s.service")->exec_start.at(1), "server");
    const auto before = std::chrono::steady_clock::now();
    EXPECT_TRUE(units.restart("k3s.service", 60s, {}).done());
    EXPECT_GE(std::chrono::steady_clock::now() - before, 100ms);
    EXPECT_EQ(units.wait_settled("k3s.service", 60s, {}).active_state, "active");
    EXPECT_EQ(units.state("k3s.service")->main_pid, 1001U);
    EXPECT_TRUE(std::filesystem::exists(pattern + "/k3s.service"));
    std::filesystem::remove_all(pattern);
}

TEST(FakeSystemdBus, FailsTheJobWhenItsCommandFails) {
    const fakes::PrivateBus bus;
    const Program program(bus.address(), "0", "exit 1");
    DbusUnits units(bus.address());
    EXPECT_EQ(units.restart("k3s.service", 60s, {}).result, "failed");
    EXPECT_EQ(units.wait_settled("k3s.service", 60s, {}).active_state, "failed");
}

TEST(FakeSystemdBus, RestartsSeveralUnitsAtTheSameTime) {
    const fakes::PrivateBus bus;
    const Program program(bus.address(), "600000", "");
    DbusUnits units(bus.address());
    for (const auto* unit : {"k3s.service", "k3s-agent.service"}) {
        EXPECT_ANY_THROW(units.restart(unit, 50ms, {}));
    }
    for (const auto* unit : {"k3s.service", "k3s-agent.service"}) {
        EXPECT_EQ(units.state(unit)->active_state, "activating") << unit;
    }
}

TEST(FakeSystemdBus, EndsInTheMiddleOfARestart) {
    const fakes::PrivateBus bus;
    DbusUnits units(bus.address());
    const Program program(bus.address(), "600000", "");
    EXPECT_ANY_THROW(units.restart("k3s.service", 1s, {}));
    EXPECT_EQ(units.state("k3s.service")->active_state, "activating");
}

}  // namespace
}  // namespace kua::systemd
