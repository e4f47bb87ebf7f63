// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <limits>

#include "agent/commands/commands.hpp"
#include "lib/base/json.hpp"
#include "tests/agent/support.hpp"
#include "tests/lib/fs/waiting_child.hpp"

namespace kua::commands {
namespace {

/// A process with a name, until it goes.
class Process : public test::WaitingChild {
  public:
    explicit Process(const std::string& name)
        : WaitingChild([&name] { return ::prctl(PR_SET_NAME, name.c_str()) == 0; }) {}
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
    agent.kill();
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
