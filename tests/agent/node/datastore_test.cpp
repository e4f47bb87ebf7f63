// SPDX-License-Identifier: Apache-2.0
// The way without systemd; on hosts that run it tests/cluster/test_datastore.py looks.
#include "agent/node/datastore.hpp"

#include <gmock/gmock.h>

#include <algorithm>

#include "lib/base/format.hpp"
#include "tests/agent/support.hpp"

namespace kua::node {
namespace {

using namespace std::chrono_literals;
using test::error_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class DatastoreTest : public ::testing::Test {
  protected:
    DatastoreTest() { std::filesystem::create_directories(db_); }

    void write(const std::string& name, const std::string& text) const {
        test::write_text(db_ / name, text);
    }

    [[nodiscard]] static std::vector<std::string> names_in(const std::filesystem::path& folder) {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            names.push_back(entry.path().filename().string());
        }
        std::ranges::sort(names);
        return names;
    }

    /// A k3s that notes how it is called; `save` and `prune` are what it does then.
    [[nodiscard]] SnapshotCommand k3s(const std::string& save,
                                      const std::string& prune = "") const {
        const auto program = folder_ / "k3s";
        test::write_text(program,
                         format("#!/bin/sh\necho \"$TOKEN $*\" >>{}\ncase $2 in\nsave) {};;\n"
                                "prune) {};;\nesac\n",
                                (folder_ / "calls").string(), save, prune));
        std::filesystem::permissions(program, std::filesystem::perms(0755));
        systemd::UnitState unit;
        unit.environment = {"TOKEN=t"};
        return {program, data_dir_, unit};
    }

    test::TempFolder folder_;
    std::filesystem::path data_dir_ = folder_ / "data";
    std::filesystem::path db_ = data_dir_ / "server" / "db";
    std::filesystem::path copies_ = folder_ / "copies";
};

TEST_F(DatastoreTest, IsKnownByWhatK3sMakesAndByTheLabel) {
    EXPECT_EQ(find_datastore(folder_ / "nowhere", false), Datastore::elsewhere);
    EXPECT_EQ(find_datastore(data_dir_, false), Datastore::elsewhere);
    EXPECT_EQ(find_datastore(data_dir_, true), Datastore::elsewhere);
    std::filesystem::create_directories(db_ / "etcd");
    EXPECT_EQ(find_datastore(data_dir_, true), Datastore::etcd);
    EXPECT_EQ(find_datastore(data_dir_, false), Datastore::elsewhere) << "left by an earlier etcd";
    write("state.db", "");
    EXPECT_EQ(find_datastore(data_dir_, false), Datastore::sqlite);
    EXPECT_EQ(find_datastore(data_dir_, true), Datastore::etcd) << "left by an earlier SQLite";
}

TEST_F(DatastoreTest, CopiesTheDatabaseAndItsLogButNotTheIndexOfIt) {
    write("state.db", "all");
    write("state.db-wal", "not in it yet");
    write("state.db-shm", "index");
    write("other", "");
    const auto target = copies_ / "one";
    std::filesystem::create_directories(target);
    test::write_text(target / "stale", "");
    copy_sqlite(data_dir_, target, {});
    EXPECT_THAT(names_in(target), ElementsAre("state.db", "state.db-wal"));
    EXPECT_EQ(test::read_text(target / "state.db"), "all");
    EXPECT_EQ(test::read_text(target / "state.db-wal"), "not in it yet");
    EXPECT_THAT(names_in(copies_), ElementsAre("one"));
    EXPECT_EQ(std::filesystem::status(target).permissions(), std::filesystem::perms(0700))
        << "every Secret of the cluster is in it";
    discard_copy(target);
    EXPECT_THAT(names_in(copies_), IsEmpty());
}

TEST_F(DatastoreTest, LeavesNoHalfCopyWhenStopped) {
    write("state.db", "all");
    std::stop_source stop;
    stop.request_stop();
    const auto target = copies_ / "one";
    EXPECT_EQ(error_of([&] { copy_sqlite(data_dir_, target, stop.get_token()); }).kind(),
              ErrorKind::stopped);
    EXPECT_FALSE(std::filesystem::exists(target));
    copy_sqlite(data_dir_, target, {});
    EXPECT_THAT(names_in(copies_), ElementsAre("one"));
}

TEST_F(DatastoreTest, KeepsTheNewestCopies) {
    for (const auto* name : {"2026-01-01", "2026-02-01", "2026-03-01", "2026-03-02.partial"}) {
        std::filesystem::create_directories(copies_ / name / "folder");
    }
    discard_older_copies(copies_ / "2026-03-01", 2);
    EXPECT_THAT(names_in(copies_), ElementsAre("2026-02-01", "2026-03-01"));
    // The clock was set back: what was made last stays, too.
    std::filesystem::create_directories(copies_ / "2025-12-31");
    discard_older_copies(copies_ / "2025-12-31", 2);
    EXPECT_THAT(names_in(copies_), ElementsAre("2025-12-31", "2026-03-01"));
}

TEST_F(DatastoreTest, IsNotCopiedWhereThereIsNoRoom) {
    write("state.db", "all");
    EXPECT_EQ(why_not_copied(data_dir_, copies_), std::nullopt);
    // Holes count as what they would be in a copy.
    std::filesystem::resize_file(db_ / "state.db", std::uintmax_t{1} << 43U);
    const auto reason = why_not_copied(data_dir_, copies_);
    ASSERT_TRUE(reason);
    EXPECT_THAT(*reason,
                AllOf(HasSubstr(folder_.path().string()), HasSubstr("are needed for a copy"),
                      HasSubstr("datastore.backup: never")));
}

TEST_F(DatastoreTest, IsSavedByK3sItselfAndOlderSnapshotsGo) {
    const auto command =
        k3s("echo 'level=info msg=\"Snapshot k3s-upgrade-agent-server-1-17 saved.\"'");
    EXPECT_EQ(save_snapshot(command, 2, 60s, {}), "k3s-upgrade-agent-server-1-17");
    const auto data = data_dir_.string();
    EXPECT_EQ(test::read_text(folder_ / "calls"),
              format("t etcd-snapshot save --data-dir {} --name k3s-upgrade-agent\n"
                     "t etcd-snapshot prune --snapshot-retention 2 --data-dir {} --name "
                     "k3s-upgrade-agent\n",
                     data, data));
}

TEST_F(DatastoreTest, IsSavedThoughOlderSnapshotsStay) {
    EXPECT_THAT(save_snapshot(k3s("echo saved", "exit 1"), 2, 60s, {}),
                HasSubstr("k3s etcd-snapshot ls"));
}

TEST_F(DatastoreTest, IsNotSavedWhenK3sFails) {
    const auto command = k3s("echo first >&2; echo no space left on device >&2; exit 1");
    const auto error = error_of([&] { save_snapshot(command, 2, 60s, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("`k3s etcd-snapshot save` failed with exit status 1: "
                                              "no space left on device"),
                                    Not(HasSubstr("first")), HasSubstr("datastore.backup: never")));
    EXPECT_THAT(test::read_text(folder_ / "calls"), Not(HasSubstr("prune")))
        << "no older one goes for one that is not there";
}

}  // namespace
}  // namespace kua::node
