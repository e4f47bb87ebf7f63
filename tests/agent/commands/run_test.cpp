// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>

#include "agent/commands/claims.hpp"
#include "agent/commands/commands.hpp"
#include "lib/base/format.hpp"
#include "tests/agent/support.hpp"

namespace kua::commands {
namespace {

using ::testing::HasSubstr;

/// `k3s-upgrade-agent run` as a process of its own, with what it says.
class Agent {
  public:
    explicit Agent(const std::filesystem::path& config) {
        int ends[2] = {};
        EXPECT_EQ(::pipe(ends), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::dup2(ends[1], STDERR_FILENO);
            ::close(ends[0]);
            ::close(ends[1]);
            ::_exit(run(config));
        }
        ::close(ends[1]);
        said_by_it_ = ends[0];
    }
    ~Agent() {
        if (pid_ > 0) {
            kill();
        }
        ::close(said_by_it_);
    }
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;

    /// Waits until it has said that; false when it ends before.
    bool says(std::string_view text) {
        char character = 0;
        while (said_.find(text) == std::string::npos) {
            if (::read(said_by_it_, &character, 1) != 1) {
                return false;
            }
            said_ += character;
        }
        return true;
    }

    /// All that it has said until its end.
    std::string last_words() {
        char character = 0;
        while (::read(said_by_it_, &character, 1) == 1) {
            said_ += character;
        }
        return said_;
    }

    /// Waits for its end.
    int exit_status() {
        int status = 0;
        EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
        pid_ = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

    void kill() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = 0;
    }

    [[nodiscard]] pid_t pid() const { return pid_; }

  private:
    pid_t pid_ = 0;
    int said_by_it_ = -1;
    std::string said_;
};

class RunTest : public ::testing::Test {
  protected:
    /// Of an agent that finds no credentials. It says `kMisconfigured` when its status is written.
    std::filesystem::path configure(const std::string& name, const std::string& state) {
        auto path = folder_ / name;
        test::write_text(path, format("folders: {{state: {0}/{1}, run: {0}}}\n"
                                      "node: {{kubeconfig: {0}/none}}\n",
                                      folder_.path().string(), state));
        return path;
    }

    /// Everything below the folder but the configurations: path and content.
    [[nodiscard]] std::map<std::string, std::string> files() const {
        std::map<std::string, std::string> found;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
            if (entry.is_regular_file() && entry.path().extension() != ".yaml") {
                found[entry.path().string()] = test::read_text(entry.path());
            }
        }
        return found;
    }

    static constexpr auto kMisconfigured = "/none";

    test::TempFolder folder_;
};

TEST_F(RunTest, EndsWithOneLineAndTouchesNothingBesideAnotherAgent) {
    const auto config = configure("config.yaml", "state");
    Agent first(config);
    ASSERT_TRUE(first.says(kMisconfigured));
    const auto before = files();
    ASSERT_THAT(before, ::testing::Contains(::testing::Key((folder_ / "status.json").string())));

    Agent second(config);
    const auto said = second.last_words();
    EXPECT_EQ(second.exit_status(), 1);
    EXPECT_EQ(std::ranges::count(said, '\n'), 1) << said;
    EXPECT_THAT(said, HasSubstr(format("another k3s-upgrade-agent runs on this host (process {}, ",
                                       first.pid())));
    EXPECT_THAT(said, HasSubstr("systemctl status k3s-upgrade-agent"));
    EXPECT_EQ(files(), before);

    // The kernel lets go of it, however it ends.
    first.kill();
    Agent third(config);
    EXPECT_TRUE(third.says("starts"));
}

TEST_F(RunTest, RunsBesideAnAgentWithAnotherStateFolder) {
    const auto config = configure("config.yaml", "state");
    const auto other = configure("other.yaml", "other");
    Agent first(config);
    EXPECT_TRUE(first.says("starts"));
    Agent second(other);
    EXPECT_TRUE(second.says("starts"));
}

TEST_F(RunTest, WritesNothingWhenItsConfigurationNamesAnotherAgentsFolder) {
    const auto config = configure("config.yaml", "state");
    const auto other = configure("other.yaml", "other");
    Claims another;
    ASSERT_EQ(another.claim(folder_ / "other").state, Claim::State::ours);
    Agent agent(config);
    ASSERT_TRUE(agent.says(kMisconfigured));
    std::filesystem::rename(other, config);
    // It looks again after some seconds.
    EXPECT_TRUE(agent.says(format("process {}, ", ::getpid())));
    EXPECT_THAT(test::read_text(folder_ / "status.json"), HasSubstr("another k3s-upgrade-agent"));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "other/last-result.json"));
}

}  // namespace
}  // namespace kua::commands
