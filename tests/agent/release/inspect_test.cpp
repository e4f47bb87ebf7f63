// SPDX-License-Identifier: Apache-2.0
#include "agent/release/inspect.hpp"

#include <gmock/gmock.h>

#include "tests/agent/release/scripts.hpp"
#include "tests/agent/support.hpp"

namespace kua::release {
namespace {

using test::error_of;
using ::testing::HasSubstr;

class InspectorTest : public ::testing::Test {
  protected:
    InspectorTest() { std::filesystem::permissions(folder_.path(), std::filesystem::perms(0711)); }

    std::filesystem::path put(const std::string& script) {
        const auto path = folder_ / "k3s";
        test::write_text(path, script);
        std::filesystem::permissions(path, std::filesystem::perms(0755));
        return path;
    }

    std::string version_of(const std::string& script) {
        return inspector_.version(put(script), {}).text();
    }

    std::string refusal(const std::string& script) {
        const auto error = error_of([&] { version_of(script); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return error.what();
    }

    std::string date_of(const std::string& script) {
        return inspector_.build_date(put(script), {});
    }

    test::TempFolder folder_;
    Inspector inspector_ = test::inspector_of_scripts();
};

TEST_F(InspectorTest, SaysTheVersionThatIsPrinted) {
    EXPECT_EQ(version_of("#!/bin/sh\n[ \"$*\" = --version ] || exit 1\n"
                         "echo 'k3s version v1.31.4+k3s1 (abcdef)'\necho 'go version go1.22'\n"),
              "v1.31.4+k3s1");
}

TEST_F(InspectorTest, RefusesWhatSaysNoVersion) {
    EXPECT_THAT(refusal("#!/bin/sh\necho hello\n"), HasSubstr("says \"hello \", which is no k3s"));
    EXPECT_THAT(refusal("#!/bin/sh\necho broken >&2; exit 3\n"),
                HasSubstr("ends with status 3: broken"));
    EXPECT_THAT(refusal("#!/bin/sh\nkill -SEGV $$\n"), HasSubstr("was ended by signal 11"));
}

TEST_F(InspectorTest, OfAHostRunsNoProgramOfAnotherMachine) {
    const auto path = put("#!/bin/sh\necho 'k3s version v1.31.4+k3s1 (abcdef)'\n: >$0.ran\n");
    const auto error = error_of([&] { (void)Inspector().version(path, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("is no ELF program"));
    EXPECT_EQ(Inspector().build_date(path, {}), "");
}

TEST_F(InspectorTest, SaysTheBuildDateThatKubectlPrints) {
    EXPECT_EQ(
        date_of("#!/bin/sh\necho 'clientVersion:'\necho '  buildDate: \"2024-08-21T17:00:00Z\"'\n"),
        "2024-08-21T17:00:00Z");
    EXPECT_EQ(date_of("#!/bin/sh\n[ \"$*\" = 'kubectl version --client -o yaml' ] || exit 1\n"
                      "echo 'clientVersion: {buildDate: \"x\"}'\n"),
              "x");
}

TEST_F(InspectorTest, GivesRoomToUnpackIn) {
    // k3s unpacks itself below HOME before it runs kubectl.
    EXPECT_EQ(date_of("#!/bin/sh\nset -e\nmkdir -p $HOME/.rancher/k3s/data\n"
                      "echo >$HOME/.rancher/k3s/data/kubectl\necho >$TMPDIR/x\n"
                      "echo 'clientVersion: {buildDate: \"x\"}'\n"),
              "x");
}

TEST_F(InspectorTest, SaysNoBuildDateWhenTheBinaryDoesNot) {
    for (const char* content :
         {"#!/bin/sh\nexit 1\n", "#!/bin/sh\n", "#!/bin/sh\necho '{}'\n",
          "#!/bin/sh\necho '\t: [x'\n", "#!/bin/sh\necho 'clientVersion: {buildDate: 7}'\n",
          "#!/no/such/interpreter\n"}) {
        EXPECT_EQ(date_of(content), "") << content;
    }
    std::filesystem::permissions(folder_ / "k3s", std::filesystem::perms(0700));
    EXPECT_EQ(inspector_.build_date(folder_ / "k3s", {}), "") << "a binary that only root may run";
}

TEST_F(InspectorTest, DoesNotGuessWhenItIsStopped) {
    const auto path = put("#!/bin/sh\nsleep 60\n");
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ(error_of([&] { (void)inspector_.build_date(path, stop.get_token()); }).kind(),
              ErrorKind::stopped);
    EXPECT_EQ(error_of([&] { (void)inspector_.version(path, stop.get_token()); }).kind(),
              ErrorKind::stopped);
}

}  // namespace
}  // namespace kua::release
