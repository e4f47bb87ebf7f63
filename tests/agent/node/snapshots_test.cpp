// SPDX-License-Identifier: Apache-2.0
// The way without systemd; on hosts that run it tests/cluster/test_datastore.py looks.
#include "agent/node/snapshots.hpp"

#include <gmock/gmock.h>

#include <algorithm>

#include "lib/base/format.hpp"
#include "tests/agent/support.hpp"
#include "tests/fakes/fake_clock.hpp"

namespace kua::node {
namespace {

using namespace std::chrono_literals;
using test::error_of;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST(SnapshotCommand, TakesAServerWhereItAsksOne) {
    for (const auto& [version, takes] : std::vector<std::pair<const char*, bool>>{
             {"v1.20.8+k3s1", false},
             {"v1.21.2+k3s1", false},
             {"v1.26.15+k3s1", false},
             {"v1.27.12+k3s1", false},
             {"v1.27.13+k3s1", true},
             {"v1.27.16+k3s1", true},
             {"v1.28.8+k3s1", false},
             {"v1.28.9+k3s1", true},
             {"v1.29.3+k3s1", false},
             {"v1.29.4+k3s1", true},
             {"v1.30.0+k3s1", true},
             {"v1.30.0-rc1+k3s1", true},
             {"v1.34.1+k3s1", true},
             {"v2.0.0+k3s1", true},
         }) {
        EXPECT_EQ(snapshot_takes_server(plan::parse_version(version).value()), takes) << version;
    }
}

class SnapshotTest : public ::testing::Test {
  protected:
    SnapshotTest() { std::filesystem::create_directories(snapshots_); }

    /// A k3s that notes how it is called, and does `save` then, in the snapshot folder.
    [[nodiscard]] SnapshotCommand k3s(const std::string& save) const {
        const auto program = folder_ / "k3s";
        test::write_text(program,
                         format("#!/bin/sh\necho \"$TOKEN $*\" >>{}\ncd {} || exit 9\n{}\n",
                                (folder_ / "calls").string(), snapshots_.string(), save));
        std::filesystem::permissions(program, std::filesystem::perms(0755));
        systemd::UnitState unit;
        unit.name = "k3s.service";
        unit.environment = {"TOKEN=t"};
        return {program, data_dir_, snapshots_, "", false, unit};
    }

    Snapshot save(const SnapshotCommand& command, Duration timeout = 60s) {
        return save_snapshot(command, clock_, timeout, {});
    }

    Snapshot save(const std::string& how) { return save(k3s(how)); }

    [[nodiscard]] std::vector<std::string> calls() const {
        std::vector<std::string> lines;
        std::ifstream file(folder_ / "calls");
        for (std::string line; std::getline(file, line);) {
            lines.push_back(line);
        }
        return lines;
    }

    void write(const std::string& name, const std::string& text = "etcd") const {
        test::write_text(snapshots_ / name, text);
    }

    [[nodiscard]] std::vector<std::string> names_in(const std::filesystem::path& folder) const {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            names.push_back(entry.path().filename().string());
        }
        return names;
    }

    test::TempFolder folder_;
    test::FakeClock clock_;
    std::filesystem::path data_dir_ = folder_ / "data";
    std::filesystem::path snapshots_ = default_snapshot_folder(data_dir_);
    Snapshots list_{folder_.path()};
};

TEST_F(SnapshotTest, IsAskedForWithoutACommandWhereThereIsNone) {
    for (const auto& [version, has] :
         {std::pair("v1.20.8+k3s1", false), std::pair("v1.21.2+k3s1", true),
          std::pair("v1.30.4+k3s1", true)}) {
        EXPECT_EQ(snapshot_has_commands(plan::parse_version(version).value()), has) << version;
    }
    auto command = k3s("echo etcd >k3s-upgrade-agent-17");
    command.has_commands = false;
    EXPECT_TRUE(save(command).ours);
    EXPECT_THAT(calls(), ElementsAre(HasSubstr("t etcd-snapshot --data-dir ")))
        << "1.20 looks at no flag behind a word";
}

TEST_F(SnapshotTest, IsTheNewFileWhateverK3sPrints) {
    struct Case {
        const char* k3s;
        const char* name;
        bool ours;
    };
    for (const auto& [how, name, ours] : std::vector<Case>{
             {"echo etcd >k3s-upgrade-agent-s-17; echo 'Snapshot k3s-upgrade-agent-s-17 saved.'",
              "k3s-upgrade-agent-s-17", true},
             // Compressed.
             {"echo etcd >k3s-upgrade-agent-s-18.zip", "k3s-upgrade-agent-s-18.zip", true},
             // v1.21.2 names the file that it was while it was written.
             {"echo etcd >k3s-upgrade-agent-s-19\n"
              "echo '{\"path\":\"/x/k3s-upgrade-agent-s-19.part\"}' >&2",
              "k3s-upgrade-agent-s-19", true},
             // v1.20.8 has no subcommands, and loses the name behind one.
             {"echo etcd >on-demand-20", "on-demand-20", true},
             // A scheduled one came at the same moment.
             {"echo etcd >k3s-upgrade-agent-s-21; echo etcd >etcd-snapshot-s-21",
              "k3s-upgrade-agent-s-21", true},
             // One that is as good, but that somebody else has made.
             {"echo etcd >etcd-snapshot-s-22", "etcd-snapshot-s-22", false},
             {"touch -d '1 hour ago' older; echo etcd >>older; touch -d '1 hour ago' older\n"
              "echo etcd >on-demand-23",
              "on-demand-23", false},
         }) {
        const auto saved = save(how);
        EXPECT_EQ(saved.file, snapshots_ / name) << how;
        EXPECT_EQ(saved.ours, ours) << how;
    }
}

TEST_F(SnapshotTest, IsMadeWithANameAndTheUnitsEnvironment) {
    save("echo etcd >k3s-upgrade-agent-s-17");
    auto command = k3s("echo etcd >k3s-upgrade-agent-s-18");
    command.server = "https://127.0.0.1:7443";
    save(command);
    command = k3s("echo etcd >k3s-upgrade-agent-s-19");
    command.server = "https://127.0.0.1:7443";
    command.takes_server = true;
    save(command);
    command = k3s("echo etcd >../elsewhere/k3s-upgrade-agent-s-20");
    command.folder = snapshots_.parent_path() / "elsewhere";
    std::filesystem::create_directories(command.folder);
    save(command);
    const auto common =
        format("t etcd-snapshot save --data-dir {} --name k3s-upgrade-agent", data_dir_.string());
    EXPECT_THAT(calls(), ElementsAre(common, common, common + " -s https://127.0.0.1:7443",
                                     format("{} --dir {}", common, command.folder.string())));
}

TEST_F(SnapshotTest, IsNotWhatIsNoWholeSnapshot) {
    write("k3s-upgrade-agent-s-1");
    std::filesystem::create_directories(snapshots_ / ".metadata");
    for (const auto* how : {
             "true",
             "echo etcd >k3s-upgrade-agent-s-17.part",
             ": >k3s-upgrade-agent-s-18",
             "mkdir k3s-upgrade-agent-s-19",
             "ln -s k3s-upgrade-agent-s-1 k3s-upgrade-agent-s-20",
             "echo more >.metadata/k3s-upgrade-agent-s-21",
             "echo more >.hidden",
             "echo more >>k3s-upgrade-agent-s-1",
         }) {
        const auto error = error_of([&] { save(std::string(how)); });
        EXPECT_EQ(error.kind(), ErrorKind::failed) << how;
        EXPECT_THAT(error.what(),
                    AllOf(HasSubstr(format("there is no new snapshot in {}", snapshots_.string())),
                          HasSubstr("k3s.service"), HasSubstr("datastore.backup: never")))
            << how;
    }
}

TEST_F(SnapshotTest, MayBeTheFirstInItsFolder) {
    auto command = k3s(format("mkdir -p {0} && echo etcd >{0}/k3s-upgrade-agent-s-17",
                              (data_dir_ / "new").string()));
    command.folder = data_dir_ / "new";
    EXPECT_EQ(save(command).file, command.folder / "k3s-upgrade-agent-s-17");
}

TEST_F(SnapshotTest, IsNoneWhenK3sFails) {
    const auto error = error_of([&] {
        save("echo first >&2; echo etcd >k3s-upgrade-agent-s-17; echo disk full >&2; exit 1");
    });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("`k3s etcd-snapshot save` failed with exit status 1: disk full"),
                      Not(HasSubstr("first")), HasSubstr("datastore.backup: never")));
    EXPECT_THAT(calls(), SizeIs(1));
}

TEST_F(SnapshotTest, IsTriedAgainWhileAnotherIsMade) {
    for (const auto* said : {"snapshot save already in progress", "etcd-snapshot error ID 40905"}) {
        std::filesystem::remove(folder_ / "calls");
        const auto saved =
            save(format("if [ $(wc -l <{}) -lt 3 ]; then echo {} >&2; exit 1; fi\n"
                        "echo etcd >k3s-upgrade-agent-s-$$",
                        (folder_ / "calls").string(), said));
        EXPECT_TRUE(saved.ours);
        EXPECT_THAT(calls(), SizeIs(3));
    }
    EXPECT_EQ(clock_.waits(), 4);
}

TEST_F(SnapshotTest, IsNotTriedForEver) {
    const auto busy = k3s("echo snapshot save already in progress >&2; exit 1");
    const auto error = error_of([&] { save(busy, 60s); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("already in progress"));
    EXPECT_THAT(calls(), SizeIs(12)) << "every five seconds";
    std::filesystem::remove(folder_ / "calls");
    EXPECT_THAT(error_of([&] { save("echo etcd-snapshot error ID 1 >&2; exit 1"); }).what(),
                HasSubstr("etcd-snapshot error ID 1"));
    EXPECT_THAT(calls(), SizeIs(3)) << "nobody knows what it is";
}

TEST_F(SnapshotTest, GoesOnlyIfThisAgentHasMadeIt) {
    for (const auto* name : {"etcd-snapshot-s-1", "k3s-upgrade-agent-s-1", "k3s-upgrade-agent-s-2",
                             "k3s-upgrade-agent-s-3", "on-demand-4", "k3s-upgrade-agent-s-5"}) {
        write(name);
    }
    std::filesystem::create_directories(snapshots_.parent_path() / ".metadata");
    const auto metadata = snapshots_.parent_path() / ".metadata";
    test::write_text(metadata / "k3s-upgrade-agent-s-2", "{}");
    test::write_text(metadata / "k3s-upgrade-agent-s-1", "{}");
    list_.add(snapshots_ / "k3s-upgrade-agent-s-2", "v1.28.1+k3s1");
    list_.add(snapshots_ / "k3s-upgrade-agent-s-3", "v1.29.1+k3s1");
    list_.add(snapshots_ / "on-demand-4", "v1.30.1+k3s1");
    list_.add(snapshots_ / "k3s-upgrade-agent-s-5", "v1.31.1+k3s1");
    list_.discard_older(snapshots_, {});
    EXPECT_THAT(names_in(snapshots_),
                UnorderedElementsAre("etcd-snapshot-s-1", "k3s-upgrade-agent-s-1", "on-demand-4",
                                     "k3s-upgrade-agent-s-5"));
    EXPECT_THAT(names_in(metadata), ElementsAre("k3s-upgrade-agent-s-1"));
    list_.discard(snapshots_ / "etcd-snapshot-s-1");
    list_.discard(snapshots_ / "on-demand-4");
    EXPECT_THAT(names_in(snapshots_),
                UnorderedElementsAre("etcd-snapshot-s-1", "k3s-upgrade-agent-s-1",
                                     "k3s-upgrade-agent-s-5"));
}

TEST_F(SnapshotTest, GoesOnlyAsAFileOfTheFolderItself) {
    write("target");
    std::filesystem::create_symlink("target", snapshots_ / "k3s-upgrade-agent-s-1");
    std::filesystem::create_directories(snapshots_ / "k3s-upgrade-agent-s-2");
    write("k3s-upgrade-agent-s-3");
    write("k3s-upgrade-agent-s-4");
    for (const auto* name : {"k3s-upgrade-agent-s-1", "k3s-upgrade-agent-s-2",
                             "k3s-upgrade-agent-s-3", "k3s-upgrade-agent-s-4"}) {
        list_.add(snapshots_ / name, format("v1.{}.0+k3s1", name[20]));
    }
    list_.discard_older(snapshots_, {});
    EXPECT_THAT(names_in(snapshots_), SizeIs(5)) << "two copies, and what is no copy";
    list_.discard_older(folder_ / "elsewhere", {});
    EXPECT_THAT(names_in(snapshots_), SizeIs(5));
}

TEST_F(SnapshotTest, StaysWhereTheListIsNoLongerToBeUnderstood) {
    write("k3s-upgrade-agent-s-1");
    const auto path = folder_ / "snapshots.json";
    const std::string entry = R"({"name": "k3s-upgrade-agent-s-1", "version": "v1.30.1+k3s1"})";
    for (const auto& text : std::vector<std::string>{
             "",
             "{",
             "[]",
             R"({"format": 2, "snapshots": []})",
             R"({"format": 1, "snapshots": {}})",
             R"({"format": 1, "snapshots": [1]})",
             R"({"format": 1, "snapshots": [{"name": "../state.db", "version": "v1.30.1+k3s1"}, )" +
                 entry + "]}",
             R"({"format": 1, "snapshots": [{"name": ".", "version": "v1.30.1+k3s1"}, )" + entry +
                 "]}",
             R"({"format": 1, "snapshots": [{"name": "k3s-upgrade-agent-s-1"}]})",
         }) {
        test::write_text(path, text);
        EXPECT_NO_THROW(list_.discard(snapshots_ / "k3s-upgrade-agent-s-1")) << text;
        EXPECT_THAT(names_in(snapshots_), Contains("k3s-upgrade-agent-s-1")) << text;
    }
    test::write_text(path, R"({"format": 1, "snapshots": [)" + entry + "]}");
    list_.discard(snapshots_ / "k3s-upgrade-agent-s-1");
    EXPECT_THAT(names_in(snapshots_), IsEmpty());
}

TEST_F(SnapshotTest, IsForgottenAfterManyOthers) {
    constexpr int kMany = 200;
    for (int i = 0; i < kMany; ++i) {
        list_.add(snapshots_ / format("k3s-upgrade-agent-s-{}", i), "v1.30.1+k3s1");
    }
    EXPECT_LT(std::filesystem::file_size(folder_ / "snapshots.json"), 16384U);
    write("k3s-upgrade-agent-s-199");
    list_.discard(snapshots_ / "k3s-upgrade-agent-s-199");
    EXPECT_THAT(names_in(snapshots_), IsEmpty());
}

}  // namespace
}  // namespace kua::node
