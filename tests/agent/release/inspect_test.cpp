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

    TriedOut try_out(const std::string& script) {
        return inspector_.try_out(put(script), folder_.path(), {});
    }
    std::string date_of(const std::string& script) { return try_out(script).build_date; }

    std::string failure(const std::string& script, ErrorKind kind = ErrorKind::invalid) {
        const auto error = error_of([&] { try_out(script); });
        EXPECT_EQ(error.kind(), kind);
        return error.what();
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
    EXPECT_THAT(error_of([&] { (void)Inspector().try_out(path, folder_.path(), {}); }).what(),
                HasSubstr("is no ELF program"));
}

TEST_F(InspectorTest, AsksTheInstalledOneAlsoWhereItIsClosedToOthers) {
    const auto closed = folder_ / "closed";
    std::filesystem::copy_file("/bin/echo", closed);
    std::filesystem::permissions(closed, std::filesystem::perms(0700));
    // An ELF program that says something else.
    EXPECT_THAT(error_of([&] { (void)Inspector::of_installed().version(closed, {}); }).what(),
                HasSubstr("which is no k3s version"));
}

TEST_F(InspectorTest, SaysTheBuildDateThatKubectlPrints) {
    EXPECT_EQ(
        date_of("#!/bin/sh\necho 'clientVersion:'\necho '  buildDate: \"2024-08-21T17:00:00Z\"'\n"),
        "2024-08-21T17:00:00Z");
    EXPECT_EQ(date_of("#!/bin/sh\n[ \"$*\" = 'kubectl version --client -o yaml' ] || exit 1\n"
                      "echo 'clientVersion: {buildDate: \"x\"}'\n"),
              "x");
}

TEST_F(InspectorTest, GivesRoomToUnpackInAndSaysHowMuchWasTaken) {
    // k3s unpacks itself below HOME before it runs kubectl.
    const auto tried = try_out(
        "#!/bin/sh\nset -e\nmkdir -p $HOME/.rancher/k3s/data\n"
        "head -c 5000 /dev/zero >$HOME/.rancher/k3s/data/kubectl\nln -s kubectl "
        "$HOME/.rancher/k3s/data/ctr\nprintf 12345 >$TMPDIR/x\n"
        "echo 'clientVersion: {buildDate: \"x\"}'\n");
    EXPECT_EQ(tried.build_date, "x");
    EXPECT_EQ(tried.unpacked, 5005U);
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
        EXPECT_EQ(entry.path().filename(), "k3s") << "nothing stays of it";
    }
}

TEST_F(InspectorTest, LetsNoConfigurationOfTheHostsInterfere) {
    EXPECT_EQ(date_of("#!/bin/sh\n[ $K3S_CONFIG_FILE = /dev/null ] || exit 1\n"
                      "echo 'clientVersion: {buildDate: \"x\"}'\n"),
              "x");
    EXPECT_EQ(version_of("#!/bin/sh\n[ $K3S_CONFIG_FILE = /dev/null ] || exit 1\n"
                         "echo 'k3s version v1.31.4+k3s1 (abcdef)'\n"),
              "v1.31.4+k3s1");
}

TEST_F(InspectorTest, FindsAPayloadThatIsBroken) {
    EXPECT_THAT(failure("#!/bin/sh\necho 'extracting data: flate: corrupt input' >&2; exit 1\n"),
                HasSubstr("can't unpack itself and run: `kubectl version --client` ends with "
                          "status 1: extracting data: flate: corrupt input"));
    failure("#!/no/such/interpreter\n", ErrorKind::failed);
    EXPECT_THAT(failure("#!/bin/sh\necho 'write /x: no space left on device' >&2; exit 1\n",
                        ErrorKind::failed),
                HasSubstr("no space left on device"));
    put("#!/bin/sh\n");
    std::filesystem::permissions(folder_ / "k3s", std::filesystem::perms(0700));
    EXPECT_EQ(
        error_of([&] { (void)inspector_.try_out(folder_ / "k3s", folder_.path(), {}); }).kind(),
        ErrorKind::failed)
        << "a binary that only root may run";
}

TEST_F(InspectorTest, SaysNoBuildDateWhenTheBinaryDoesNot) {
    for (const char* content :
         {"#!/bin/sh\n", "#!/bin/sh\necho '{}'\n", "#!/bin/sh\necho '\t: [x'\n",
          "#!/bin/sh\necho 'clientVersion: {buildDate: 7}'\n"}) {
        EXPECT_EQ(date_of(content), "") << content;
    }
}

TEST_F(InspectorTest, RemovesWhatAKilledProcessHasLeftOfATrial) {
    std::filesystem::create_directories(folder_ / "trial-abc123" / "data");
    std::filesystem::create_directories(folder_ / "other");
    Inspector::remove_leftovers(folder_.path());
    EXPECT_FALSE(std::filesystem::exists(folder_ / "trial-abc123"));
    EXPECT_TRUE(std::filesystem::exists(folder_ / "other"));
    Inspector::remove_leftovers(folder_ / "nowhere");
}

TEST_F(InspectorTest, DoesNotGuessWhenItIsStopped) {
    const auto path = put("#!/bin/sh\nsleep 60\n");
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ(
        error_of([&] { (void)inspector_.try_out(path, folder_.path(), stop.get_token()); }).kind(),
        ErrorKind::stopped);
    EXPECT_EQ(error_of([&] { (void)inspector_.version(path, stop.get_token()); }).kind(),
              ErrorKind::stopped);
}

}  // namespace
}  // namespace kua::release
