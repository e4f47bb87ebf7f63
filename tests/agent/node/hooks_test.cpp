// SPDX-License-Identifier: Apache-2.0
// The way without systemd; the one with it is tried on a host that runs it, in tests/cluster.
#include "agent/node/hooks.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"

namespace kua::node {
namespace {

using namespace std::chrono_literals;
using test::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HooksTest : public ::testing::Test {
  protected:
    HooksTest() { std::filesystem::create_directories(folder_ / "pre-drain"); }

    std::filesystem::path add(const std::string& name, const std::string& script,
                              unsigned mode = 0755) {
        const auto path = folder_ / "pre-drain" / name;
        test::write_text(path, "#!/bin/sh\n" + script + "\n");
        std::filesystem::permissions(path, std::filesystem::perms(mode));
        return path;
    }

    void run(Duration timeout = 60s) {
        hooks_.run(kPreDrain, {"K3S_UPGRADE_PLAN=mine"}, timeout, {});
    }

    [[nodiscard]] std::string note() const { return (folder_ / "note").string(); }

    test::TempFolder folder_;
    Hooks hooks_{{folder_.path(), 60s}};
};

TEST_F(HooksTest, AreExecutablesByName) {
    const auto second = add("20-b", "");
    const auto first = add("10-a.sh", "");
    add("30-not-executable", "", 0644);
    for (const auto* name : {".hidden", "40~", "40.dpkg-old", "40.dpkg-dist", "40.rpmsave"}) {
        add(name, "");
    }
    std::filesystem::create_directories(folder_ / "pre-drain" / "50-folder");
    EXPECT_THAT(hooks_.at(kPreDrain), ElementsAre(first, second));
    EXPECT_THAT(hooks_.at(kOnFailure), IsEmpty());
    EXPECT_THAT(Hooks().at(kPreDrain), IsEmpty());
}

TEST_F(HooksTest, RunInOrderWithTheirEnvironment) {
    add("20", "echo second >>" + note());
    add("10", "echo first $K3S_UPGRADE_PLAN >>" + note());
    run();
    EXPECT_EQ(test::read_text(note()), "first mine\nsecond\n");
}

TEST_F(HooksTest, StopAtTheFirstThatFails) {
    add("10", "echo on its way; echo no backup >&2; exit 4");
    add("20", "echo second >>" + note());
    const auto error = error_of([&] { run(); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("pre-drain/10 failed with exit status 4: no backup"));
    EXPECT_EQ(test::read_text(note()), "");
}

TEST_F(HooksTest, MayNotTakeLongerThanTheirTimeout) {
    add("10", "sleep 600");
    EXPECT_THAT(error_of([&] { run(200ms); }).what(), HasSubstr("did not end within"));
}

TEST_F(HooksTest, ThatOthersMayWriteAreRefusedAndNotRun) {
    const auto hook = add("10", "echo ran >>" + note(), 0757);
    for (const auto& [path, mode] : {std::pair(hook, 0757), std::pair(folder_ / "pre-drain", 0777),
                                     std::pair(folder_.path(), 0777)}) {
        std::filesystem::permissions(path, std::filesystem::perms(mode));
        const auto error = error_of([&] { hooks_.check(); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        EXPECT_THAT(error.what(), HasSubstr(path.string() + " may be written by others"));
        EXPECT_THAT(error_of([&] { run(); }).what(), HasSubstr("may be written by others"));
        std::filesystem::permissions(path, std::filesystem::perms(0755));
    }
    EXPECT_EQ(test::read_text(note()), "");
    hooks_.check();
    run();
    EXPECT_EQ(test::read_text(note()), "ran\n");
}

}  // namespace
}  // namespace kua::node
