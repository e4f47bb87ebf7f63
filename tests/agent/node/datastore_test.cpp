// SPDX-License-Identifier: Apache-2.0
#include "agent/node/datastore.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "lib/base/format.hpp"
#include "tests/agent/support.hpp"
#include "tests/fakes/fake_clock.hpp"
#include "tests/fakes/fake_units.hpp"

namespace kua::node {
namespace {

using namespace std::chrono_literals;
using test::error_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

/// By a name that sorts by time, and a version.
std::vector<Copy> as_copies(const std::vector<std::string>& versions) {
    std::vector<Copy> copies;
    for (const auto& version : versions) {
        copies.push_back({std::to_string(copies.size()), version});
    }
    return copies;
}

TEST(Superfluous, AreAllCopiesButTheNewestOfTheLastTwoVersions) {
    struct Case {
        std::vector<std::string> versions;  ///< The oldest first; a copy's name is its index.
        std::set<std::string> kept;
        std::vector<std::string> goes;
        bool failed = false;
    };
    for (const auto& [versions, kept, goes, failed] : std::vector<Case>{
             {{}, {}, {}},
             {{"v1.30"}, {}, {}},
             {{"v1.29", "v1.30"}, {}, {}},
             {{"v1.28", "v1.29", "v1.30"}, {}, {"0"}},
             // Four upgrades.
             {{"v1.28", "v1.29", "v1.30", "v1.31"}, {}, {"0", "1"}},
             // The same upgrade fails again and again, and is rolled back each time.
             {{"v1.29", "v1.30", "v1.30", "v1.30", "v1.30"}, {}, {"2", "3"}, true},
             {{"v1.29", "v1.30", "v1.30", "v1.30", "v1.31"}, {}, {"0", "1", "2"}},
             // It is left at the new version, and tried again from there.
             {{"v1.30", "v1.31", "v1.31", "v1.31"}, {"v1.30"}, {"1", "2"}},
             // One version after the other fails: what worked stays until one succeeds.
             {{"v1.30", "v1.31", "v1.32", "v1.33"}, {"v1.30", "v1.31"}, {}},
             {{"v1.30", "v1.30", "v1.31", "v1.32", "v1.33"}, {"v1.30"}, {"0", "2"}},
             {{"v1.30", "v1.31", "v1.32", "v1.33"}, {}, {"0", "1"}},
             // Somebody has gone back by hand.
             {{"v1.30", "v1.31", "v1.30"}, {}, {"0"}},
         }) {
        EXPECT_EQ(superfluous(as_copies(versions), {kept, failed}), goes) << join(versions, " ");
    }
}

TEST_F(DatastoreTest, KeepsTheNewestCopyOfTheLastTwoVersions) {
    const auto make = [this](const std::string& name) {
        std::filesystem::create_directories(copies_ / name / "folder");
        return copies_ / name;
    };
    make("2026-01-01T000000Z-v1.29.1+k3s1");
    make("2026-02-01T000000Z-v1.30.4+k3s1");
    make("2026-02-02T000000Z-v1.30.4+k3s1.partial");
    make("by-hand");
    const auto target = make("2026-03-01T000000Z-v1.31.2+k3s1");
    discard_older_copies(target, {});
    EXPECT_THAT(names_in(copies_), ElementsAre("2026-02-01T000000Z-v1.30.4+k3s1",
                                               "2026-03-01T000000Z-v1.31.2+k3s1", "by-hand"))
        << "what has no name of ours is somebody else's";
    // The clock was set back: what was made last stays, too.
    discard_older_copies(make("2025-12-31T000000Z-v1.32.0+k3s1"), {{"v1.30.4+k3s1"}});
    EXPECT_THAT(names_in(copies_),
                ElementsAre("2025-12-31T000000Z-v1.32.0+k3s1", "2026-02-01T000000Z-v1.30.4+k3s1",
                            "2026-03-01T000000Z-v1.31.2+k3s1", "by-hand"));
}

TEST_F(DatastoreTest, IsNeverCopiedOverAnotherCopy) {
    const auto now = parse_rfc3339("2026-01-01T00:00:00Z");
    const auto first = name_of_copy(copies_, now, "v1.30.4+k3s1");
    EXPECT_EQ(first.filename(), "2026-01-01T000000Z-v1.30.4+k3s1");
    std::filesystem::create_directories(first);
    EXPECT_EQ(name_of_copy(copies_, now, "v1.30.4+k3s1").filename(),
              "2026-01-01T000001Z-v1.30.4+k3s1");
}

TEST(K3sServer, IsKnownByWhatItCallsItself) {
    for (const auto& [command, is_server] : std::map<std::string, bool>{
             {"/usr/local/bin/k3s server", true},
             {"k3s server", true},
             {"/usr/local/bin/k3s init", true},
             {"/opt/my k3s/k3s server", true},
             {"/usr/local/bin/k3s server --cluster-init", true},
             {"/var/lib/rancher/k3s/data/0123/bin/k3s-server", true},
             {"own-name server", true},
             {"/usr/local/bin/k3s agent", false},
             {"containerd -c /var/lib/rancher/k3s/agent/etc/containerd/config.toml", false},
             {"/var/lib/rancher/k3s/data/0123/bin/containerd-shim-runc-v2 -namespace k8s.io",
              false},
             {"/sbin/init", false},
             {"tail -f /var/log/server.log", false},
             {"", false},
         }) {
        EXPECT_EQ(is_k3s_server(command), is_server) << command;
    }
}

class Closed : public ::testing::Test {
  protected:
    Closed() {
        units_.add("k3s.service", {"/usr/local/bin/k3s", "server", "--log", "/var/log/k3s"});
        units_.running["k3s.service"] = {{7, "k3s server"}, {8, "containerd -c config.toml"}};
    }

    void wait(Duration timeout) {
        wait_until_closed(units_, clock_, "k3s.service", timeout, stop_.get_token());
    }

    test::FakeUnits units_;
    test::FakeClock clock_;
    std::stop_source stop_;
};

TEST_F(Closed, IsADataStoreOnceTheLastK3sHasEnded) {
    clock_.on_wait([this] {
        if (clock_.waits() == 3) {
            units_.running["k3s.service"].erase(units_.running["k3s.service"].begin());
        }
    });
    wait(60s);
    EXPECT_EQ(clock_.waits(), 3);
}

TEST_F(Closed, IsNoDataStoreThatAK3sHasOpen) {
    const auto error = error_of([&] { wait(10s); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("process 7, \"k3s server\", still runs"));
}

TEST_F(Closed, IsAskedForAgainWhileSystemdIsAway) {
    units_.running["k3s.service"].clear();
    units_.on_processes = [this](const std::string&) -> std::vector<systemd::UnitProcess> {
        if (clock_.waits() == 0) {
            throw Error(ErrorKind::transient, "the bus is away");
        }
        return {};
    };
    wait(10s);
    units_.on_processes = [](const std::string&) -> std::vector<systemd::UnitProcess> {
        throw Error(ErrorKind::transient, "the bus is away");
    };
    EXPECT_THAT(error_of([&] { wait(10s); }).what(), HasSubstr("the bus is away"));
}

TEST_F(Closed, IsNotWaitedForWhenStopped) {
    stop_.request_stop();
    EXPECT_EQ(error_of([&] { wait(10s); }).kind(), ErrorKind::stopped);
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

}  // namespace
}  // namespace kua::node
