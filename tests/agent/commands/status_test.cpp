// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <limits>

#include "agent/commands/commands.hpp"
#include "lib/base/json.hpp"
#include "tests/agent/support.hpp"

namespace kua::commands {
namespace {

/// A process with a name, until it goes.
class Process {
  public:
    explicit Process(const std::string& name) {
        int ends[2] = {};
        EXPECT_EQ(::pipe(ends), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_NAME, name.c_str());
            ::close(ends[1]);
            ::close(ends[0]);
            while (true) {
                ::pause();
            }
        }
        // Its end of the pipe closes when it has its name.
        ::close(ends[1]);
        char nothing = 0;
        EXPECT_EQ(::read(ends[0], &nothing, 1), 0);
        ::close(ends[0]);
    }
    ~Process() { end(); }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void end() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
            pid_ = 0;
        }
    }

    [[nodiscard]] pid_t pid() const { return pid_; }

  private:
    pid_t pid_ = 0;
};

class StatusTest : public ::testing::Test {
  protected:
    StatusTest() {
        test::write_text(folder_ / "config.yaml", "folders: {state: " + folder_.path().string() +
                                                      ", run: " + folder_.path().string() + "}\n");
    }

    void write_status(const Json& status) {
        test::write_text(folder_ / "status.json", status.dump());
    }

    /// The exit status and what `status --json` says of running.
    std::pair<int, bool> ask() {
        ::testing::internal::CaptureStdout();
        const int exit_status = status(folder_ / "config.yaml", true);
        const auto said = Json::parse(::testing::internal::GetCapturedStdout());
        return {exit_status, said.at("running").get<bool>()};
    }

    test::TempFolder folder_;
};

constexpr std::pair kRuns{0, true};
constexpr std::pair kDoesNot{1, false};

TEST_F(StatusTest, IsToldOfAnAgentThatRuns) {
    Process agent("k3s-upgrade-agent");
    write_status({{"pid", agent.pid()}, {"phase", "Idle"}});
    EXPECT_EQ(ask(), kRuns);
    // It waits for a person.
    for (const auto* phase : {"Blocked", "Failed", "Misconfigured"}) {
        write_status({{"pid", agent.pid()}, {"phase", phase}});
        EXPECT_EQ(ask(), std::pair(2, true)) << phase;
    }
    write_status({{"pid", agent.pid()}, {"phase", "RollingBack"}});
    EXPECT_EQ(ask(), kRuns);
    agent.end();
    EXPECT_EQ(ask(), kDoesNot);
}

TEST_F(StatusTest, DoesNotTakeAnotherProcessForTheAgent) {
    const Process other("k3s-server");
    const Process similar("k3s-upgrade");
    for (const Json& pid : {Json(other.pid()), Json(similar.pid()), Json(::getpid()), Json(1),
                            Json(0), Json(-1), Json("1"), Json(nullptr),
                            // A pid that a narrower number would cut to this one's.
                            Json((std::int64_t{1} << 32) + other.pid()),
                            Json(std::numeric_limits<std::int64_t>::max())}) {
        write_status({{"pid", pid}, {"phase", "Idle"}});
        EXPECT_EQ(ask(), kDoesNot) << pid;
    }
}

TEST_F(StatusTest, IsNotRunningWhereNothingWasWritten) { EXPECT_EQ(ask(), kDoesNot); }

}  // namespace
}  // namespace kua::commands
