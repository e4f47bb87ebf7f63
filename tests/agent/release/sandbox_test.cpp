// SPDX-License-Identifier: Apache-2.0
// The way without systemd; the one with it is tried on a host that runs it, in tests/cluster.
#include "agent/release/sandbox.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include "tests/agent/support.hpp"

namespace kua::release {
namespace {

using namespace std::chrono_literals;
using ::testing::StartsWith;

class RunAsNobody : public ::testing::Test {
  protected:
    RunAsNobody() { std::filesystem::permissions(folder_.path(), std::filesystem::perms(0711)); }

    fs::Finished run(const std::string& script, Duration timeout = 60s) {
        return run_as_nobody({"/bin/sh", {"-c", script}, timeout}, {});
    }

    test::TempFolder folder_;
};

TEST_F(RunAsNobody, HasAFolderOfItsOwnThatGoesWithIt) {
    const auto finished =
        run("set -e; pwd; echo x >$HOME/a; mkdir -p $TMPDIR/b/c; chmod 0 $TMPDIR/b");
    EXPECT_TRUE(finished.succeeded()) << finished.errors;
    const std::filesystem::path home(finished.output.substr(0, finished.output.size() - 1));
    EXPECT_THAT(home.filename().string(), StartsWith("k3s-upgrade-agent-"));
    EXPECT_FALSE(std::filesystem::exists(home));
}

TEST_F(RunAsNobody, WritesNothingElse) {
    if (::geteuid() != 0) {
        GTEST_SKIP() << "for root only";
    }
    const auto finished = run("echo x >" + (folder_ / "new").string());
    EXPECT_FALSE(finished.succeeded());
    EXPECT_FALSE(std::filesystem::exists(folder_ / "new"));
}

TEST_F(RunAsNobody, EndsWhatIgnoresSigterm) {
    const auto finished = run("trap '' TERM HUP INT; while :; do sleep 1; done", 500ms);
    EXPECT_TRUE(finished.timed_out);
}

TEST_F(RunAsNobody, CutsWhatIsTooMuch) {
    const auto finished = run("head -c 100000000 /dev/zero; head -c 1000000 /dev/zero >&2");
    EXPECT_TRUE(finished.succeeded());
    EXPECT_EQ(finished.output.size(), 65536U);
    EXPECT_EQ(finished.errors.size(), 65536U);
}

}  // namespace
}  // namespace kua::release
