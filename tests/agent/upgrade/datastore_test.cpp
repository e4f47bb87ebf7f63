// SPDX-License-Identifier: Apache-2.0
// What becomes of a server's data store, and of the k3s that is stopped for its copy.
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/agent/upgrade/fixture.hpp"

namespace {

std::function<void(const std::filesystem::path&)> on_fsync;

}  // namespace

/// The C library's, as this program sees it: what was made to last can't be told otherwise.
extern "C" int fsync(int fd) {
    if (on_fsync) {
        on_fsync(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd)));
    }
    return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace kua::upgrade {
namespace {

using test::error_of;
using test::FakeApi;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class Datastore : public test::Host {
  protected:
    Datastore() {
        prepare();
        datastore_ = "sqlite";
        std::filesystem::create_directories(db_);
        units_.units.at("k3s.service").main_pid = 7;
        write_db("open");
        units_.on_stop = [this](const std::string& name) {
            units_.units.at(name).main_pid = 0;
            write_db("closed");
            return systemd::JobResult{"done"};
        };
    }

    ~Datastore() override { on_fsync = nullptr; }

    void write_db(const std::string& state) const { test::write_text(db_ / "state.db", state); }

    /// What the copies hold, by name.
    [[nodiscard]] std::vector<std::string> copies() const {
        std::map<std::string, std::string> found;
        const auto folder = folder_ / "datastore";
        if (std::filesystem::exists(folder)) {
            for (const auto& entry : std::filesystem::directory_iterator(folder)) {
                found[entry.path().filename().string()] =
                    test::read_text(entry.path() / "state.db");
            }
        }
        std::vector<std::string> texts;
        for (const auto& [name, text] : found) {
            texts.push_back(text);
        }
        return texts;
    }

    /// The versions in the copies' names, by time.
    [[nodiscard]] std::vector<std::string> versions() const {
        std::vector<std::string> found;
        for (const auto& entry : std::filesystem::directory_iterator(folder_ / "datastore")) {
            found.push_back(entry.path().filename());
        }
        std::ranges::sort(found);
        for (auto& name : found) {
            name.erase(0, name.find("Z-") + 2);
        }
        return found;
    }

    static std::string script_of(const std::string& version) {
        return format("#!/bin/sh\necho 'k3s version {} (0a1b2c3d)'\n", version);
    }

    /// One upgrade from a version to kNewVersion, whose k3s closes the data store as `text`.
    Outcome upgrade_from(const std::string& version, const std::string& text,
                         bool is_server = false) {
        test::write_text(folder_ / "k3s", script_of(version));
        return upgrade(version, text, is_server);
    }

    /// The same, whatever lies in k3s's place.
    Outcome upgrade(const std::string& version, const std::string& text, bool is_server) {
        units_.on_stop = [this, text](const std::string& name) {
            units_.units.at(name).main_pid = 0;
            write_db(text);
            return systemd::JobResult{"done"};
        };
        report_kubelet(version, true);
        slots_.give_back("server-plan", {});
        take_slot();
        auto record = new_record();
        record.from_version = version;
        record.server = is_server;
        return run(std::move(record));
    }

    [[nodiscard]] Json status() const {
        return Json::parse(test::read_text(folder_ / "status.json"));
    }

    [[nodiscard]] std::string k3s_is() const { return units_.units.at("k3s.service").active_state; }

    void expect_undone_with_k3s_up() const {
        expect_as_it_was();
        EXPECT_EQ(k3s_is(), "active");
        EXPECT_THAT(copies(), IsEmpty());
    }

    std::filesystem::path db_ = folder_ / "data" / "server" / "db";
};

TEST_F(Datastore, IsCopiedWhileK3sIsStopped) {
    EXPECT_EQ(run().ending, Ending::succeeded);
    expect_upgraded();
    EXPECT_THAT(units_.stopped, ElementsAre("k3s.service"));
    EXPECT_THAT(units_.restarted, ElementsAre("k3s.service"));
    EXPECT_EQ(k3s_is(), "active");
    EXPECT_THAT(copies(), ElementsAre("closed"));
}

TEST_F(Datastore, IsKeptOfTheLastTwoVersions) {
    for (const auto* version : {"v1.27.1+k3s1", "v1.28.1+k3s1", "v1.29.1+k3s1", "v1.30.1+k3s1"}) {
        EXPECT_EQ(upgrade_from(version, version).ending, Ending::succeeded);
    }
    EXPECT_THAT(copies(), ElementsAre("v1.29.1+k3s1", "v1.30.1+k3s1"));
    EXPECT_THAT(versions(), ElementsAre("v1.29.1+k3s1", "v1.30.1+k3s1"));
}

TEST_F(Datastore, OfTheVersionThatWorkedIsKeptHoweverOftenTheNextOneFails) {
    EXPECT_EQ(upgrade_from("v1.29.1+k3s1", "1.29").ending, Ending::succeeded);
    EXPECT_EQ(upgrade_from(kOldVersion, "1.30").ending, Ending::succeeded);
    test::write_text(folder_ / "k3s", script_of(kOldVersion));
    new_is_not_ready_ = true;
    limits_.health = std::chrono::seconds(2);
    // Nothing is rolled back: from the second time on the new k3s has had it open.
    for (const auto* text : {"1.30 again", "1.31", "1.31 again", "1.31 and again"}) {
        EXPECT_EQ(upgrade(kOldVersion, text, true).ending, Ending::failed);
    }
    EXPECT_THAT(copies(), ElementsAre("1.30", "1.30 again", "1.31", "1.31 and again"));
    EXPECT_THAT(versions(), ElementsAre(kOldVersion, kOldVersion, kNewVersion, kNewVersion))
        << "by what had it open, whatever the Node says; the oldest may be the only genuine one";
}

TEST_F(Datastore, OfTheVersionThatWorkedIsKeptUntilAnotherOneDoes) {
    new_is_not_ready_ = true;
    limits_.health = std::chrono::seconds(2);
    for (const auto* in_place : {kOldVersion, "v1.31.1+k3s1", "v1.31.2+k3s1", "v1.31.3+k3s1"}) {
        test::write_text(folder_ / "k3s", script_of(in_place));
        EXPECT_EQ(upgrade(kOldVersion, in_place, true).ending, Ending::failed);
    }
    EXPECT_THAT(versions(), ElementsAre(kOldVersion, "v1.31.2+k3s1", "v1.31.3+k3s1"))
        << "as long as its binary is kept";
    new_is_not_ready_ = false;
    test::write_text(folder_ / "k3s", script_of("v1.31.3+k3s1"));
    EXPECT_EQ(upgrade(kOldVersion, "1.31.3 again", true).ending, Ending::succeeded);
    EXPECT_THAT(versions(), ElementsAre("v1.31.2+k3s1", "v1.31.3+k3s1"));
    EXPECT_THAT(copies(), ElementsAre("v1.31.2+k3s1", "1.31.3 again"));
}

TEST_F(Datastore, IsSyncedWhileK3sIsStopped) {
    test::write_text(db_ / "state.db-wal", "not in it yet");
    std::vector<std::string> synced;
    on_fsync = [&](const std::filesystem::path& path) {
        if (k3s_is() == "inactive" && binary() == kOld) {
            synced.push_back(path);
        }
    };
    EXPECT_EQ(run().ending, Ending::succeeded);
    for (const auto& path : {db_ / "state.db", db_ / "state.db-wal", db_}) {
        EXPECT_THAT(synced, Contains(path));
    }
}

TEST_F(Datastore, IsCopiedWhenTheLastK3sHasEnded) {
    // With --log the main process may go first.
    units_.running["k3s.service"] = {{8, "k3s server"}, {9, "containerd-shim-runc-v2 -id a"}};
    clock_.on_wait([this] {
        if (units_.units.at("k3s.service").main_pid == 0 &&
            units_.running["k3s.service"].size() == 2) {
            units_.running["k3s.service"].erase(units_.running["k3s.service"].begin());
            write_db("closed at last");
        }
    });
    EXPECT_EQ(run().ending, Ending::succeeded);
    EXPECT_THAT(copies(), ElementsAre("closed at last"));
}

TEST_F(Datastore, IsNotCopiedWhileAK3sMayWriteToIt) {
    units_.running["k3s.service"] = {{8, "/usr/local/bin/k3s server"}};
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("process 8, \"/usr/local/bin/k3s server\", still runs"));
    expect_undone_with_k3s_up();
}

TEST_F(Datastore, ThatCannotBeCopiedLeavesK3sRunning) {
    test::write_text(folder_ / "datastore", "in the way of the folder");
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("datastore"));
    EXPECT_THAT(units_.started, ElementsAre("k3s.service"));
    EXPECT_EQ(k3s_is(), "active");
    expect_as_it_was();
}

TEST_F(Datastore, ThatSomebodyHasOpenedMeanwhileIsNotCopied) {
    units_.on_stop = [this](const std::string& name) {
        units_.units.at(name).main_pid = 0;
        return systemd::JobResult{"done"};
    };
    const Pause pause = [this](std::string_view step, Moment moment) {
        if (step == "copy-datastore" && moment == Moment::before) {
            units_.units.at("k3s.service").main_pid = 8;
        }
    };
    tools_.pause = &pause;
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("somebody has started k3s.service"));
    expect_undone_with_k3s_up();
}

TEST_F(Datastore, OfAK3sThatDoesNotStopIsLeftAlone) {
    units_.on_stop = [](const std::string&) { return systemd::JobResult{"timeout"}; };
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("stopping k3s.service: the job ended with \"timeout\""));
    expect_undone_with_k3s_up();
}

TEST_F(Datastore, IsNeverAReasonToLeaveK3sDownWhenTheAgentStops) {
    for (const auto* at : {"stop", "copy-datastore", "swap"}) {
        for (const auto moment : {Moment::before, Moment::after}) {
            SCOPED_TRACE(at);
            std::stop_source stop;
            const Pause pause = [&](std::string_view step, Moment now) {
                if (step == at && now == moment) {
                    stop.request_stop();
                }
            };
            tools_.pause = &pause;
            stop_ = stop;
            units_.started.clear();
            try {
                run();
            } catch (const Error& error) {
                EXPECT_EQ(error.kind(), ErrorKind::stopped);
            }
            tools_.pause = nullptr;
            EXPECT_EQ(k3s_is(), "active");
            if (binary() == kNew) {
                report_kubelet(kNewVersion, true);  // What was started is the new one.
            }
            stop_ = {};
            const auto outcome = resume();
            if (outcome) {
                EXPECT_NE(outcome->ending, Ending::failed);
            }
            EXPECT_EQ(k3s_is(), "active");
            expect_at_rest();
            test::write_text(folder_ / "k3s", kOld);
            report_kubelet(kOldVersion, true);
            api_.edit(kNode, {{"metadata", {{"labels", {{kLabel, nullptr}}}}}});
            take_slot();
        }
    }
}

TEST_F(Datastore, IsNamedWhereNothingIsRolledBack) {
    new_is_not_ready_ = true;
    limits_.health = std::chrono::seconds(2);
    auto record = new_record();
    record.server = true;
    const auto outcome = run(std::move(record));
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(copies(), ElementsAre("closed"));
    const auto copy = std::filesystem::directory_iterator(folder_ / "datastore")->path().string();
    EXPECT_THAT(outcome.reason,
                AllOf(HasSubstr("nothing was rolled back"),
                      HasSubstr(format("put the data store of {} (all files) in place of {}*", copy,
                                       (db_ / "state.db").string()))));
}

TEST_F(Datastore, IsNamedOnlyWhereItIs) {
    new_is_not_ready_ = true;
    limits_.health = std::chrono::seconds(2);
    const Pause pause = [this](std::string_view step, Moment moment) {
        if (step == "verify" && moment == Moment::before) {
            std::filesystem::remove_all(folder_ / "datastore");
            std::filesystem::remove(places_.previous);
        }
    };
    tools_.pause = &pause;
    auto record = new_record();
    record.server = true;
    const auto outcome = run(std::move(record));
    EXPECT_THAT(outcome.reason,
                AllOf(HasSubstr("bring back a copy of the data store from before"),
                      HasSubstr(format("put the k3s of {} in place of {}", kOldVersion,
                                       places_.binary.string())),
                      Not(HasSubstr((folder_ / "datastore").string())), Not(HasSubstr("cp -p"))));
}

/// An API that never comes back.
class Down : public Datastore {
  protected:
    Down() {
        limits_.health = std::chrono::seconds(2);
        on_request_ = [this](const FakeApi::Seen&) -> std::optional<http::Response> {
            return units_.restarted.empty() ? std::nullopt
                                            : std::optional(FakeApi::refuse(503, "not now"));
        };
        clock_.on_wait([this] {
            const auto record = journal_.read();
            if (record && record->step == "uncordon-previous") {
                seen_ = status();
                stop_.request_stop();
            }
        });
    }

    Json run_into_it() {
        auto record = new_record();
        record.server = true;
        EXPECT_EQ(error_of([&] { run(std::move(record)); }).kind(), ErrorKind::stopped);
        return seen_;
    }

    [[nodiscard]] std::string copy() const {
        return std::filesystem::directory_iterator(folder_ / "datastore")->path();
    }

    Json seen_;
};

TEST_F(Down, ForGoodIsFailedOnTheHostWhereNothingIsRolledBack) {
    const auto seen = run_into_it();
    EXPECT_EQ(string_at(seen, {"phase"}), "Failed");
    EXPECT_THAT(
        string_at(seen, {"message"}),
        AllOf(HasSubstr(copy()),
              HasSubstr(format("`cp -p {} {}`", release::kept(places_, kOldVersion).string(),
                               places_.binary.string()))));
}

TEST_F(Down, ForGoodIsFailedOnTheHostWhenTheOldVersionDoesNotComeUpEither) {
    limits_.rollback = Rollback::always;
    const auto seen = run_into_it();
    EXPECT_EQ(string_at(seen, {"phase"}), "Failed");
    EXPECT_EQ(binary(), kOld);
    EXPECT_THAT(string_at(seen, {"message"}),
                AllOf(HasSubstr("while rolling back, verify-previous: "), HasSubstr(copy()),
                      Not(HasSubstr("cp -p"))))
        << "the old binary is in its place";
}

class Etcd : public Datastore {
  protected:
    Etcd() {
        datastore_ = "etcd";
        units_.on_stop = nullptr;
        std::filesystem::create_directories(snapshots_);
        test::write_text(snapshots_ / "etcd-snapshot-s-1", "scheduled");
    }

    /// The k3s that runs makes snapshots, or does not; in their folder.
    void teach_k3s(const std::string& save) {
        test::write_text(
            folder_ / "k3s",
            format("#!/bin/sh\ncase $1 in\n"
                   "--version) echo 'k3s version {} (0a1b2c3d)'; exit;;\nesac\n"
                   "echo \"$*\" >>{}\ncd {}\ncase $2 in save) {};; esac\n",
                   kOldVersion, (folder_ / "calls").string(), snapshots_.string(), save));
        std::filesystem::permissions(folder_ / "k3s", std::filesystem::perms(0755));
        std::filesystem::remove(places_.previous);
        std::filesystem::remove(places_.next);
    }

    [[nodiscard]] std::vector<std::string> snapshots() const {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(snapshots_)) {
            names.push_back(entry.path().filename());
        }
        std::ranges::sort(names);
        return names;
    }

    std::filesystem::path snapshots_ = db_ / "snapshots";
};

TEST_F(Etcd, IsSavedBeforeTheCordonAndK3sIsNotStopped) {
    teach_k3s("echo etcd >k3s-upgrade-agent-server-1-17");
    std::string saved;
    on_request_ = [&](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (effect_of(request) == "cordon") {
            saved = journal_.read()->copy;
        }
        return std::nullopt;
    };
    EXPECT_EQ(run().ending, Ending::succeeded);
    EXPECT_EQ(saved, snapshots_ / "k3s-upgrade-agent-server-1-17");
    EXPECT_THAT(units_.stopped, IsEmpty());
}

TEST_F(Etcd, IsSavedByTheServerOfThisHost) {
    teach_k3s("echo etcd >k3s-upgrade-agent-server-1-17");
    auto record = new_record();
    record.api_server = "https://127.0.0.1:7443";
    EXPECT_EQ(run(std::move(record)).ending, Ending::succeeded);
    EXPECT_THAT(test::read_text(folder_ / "calls"), EndsWith(" -s https://127.0.0.1:7443\n"));
}

TEST_F(Etcd, ThatCannotBeSavedKeepsTheNodeAsItIs) {
    teach_k3s("echo disk full >&2; exit 1");
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("`k3s etcd-snapshot save` failed"));
    EXPECT_THAT(effects_, ElementsAre("undo: give back")) << "it was never cordoned";
}

TEST_F(Etcd, ThatWasNotSavedWithoutAWordKeepsTheNodeAsItIs) {
    teach_k3s("echo etcd >k3s-upgrade-agent-server-1-17.part");
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("no new snapshot in " + snapshots_.string()));
    EXPECT_THAT(effects_, ElementsAre("undo: give back"));
}

TEST_F(Etcd, IsSavedAgainAfterAnUpgradeThatWasUndone) {
    teach_k3s("echo etcd >k3s-upgrade-agent-server-1-$$");
    Meanwhile meanwhile;
    meanwhile.unwanted = [this]() -> std::optional<std::string> {
        return cordoned() ? std::optional<std::string>("the Plan was deleted") : std::nullopt;
    };
    EXPECT_EQ(run(new_record(), std::nullopt, meanwhile).ending, Ending::undone);
    EXPECT_THAT(snapshots(), ElementsAre("etcd-snapshot-s-1"));
    take_slot();
    EXPECT_EQ(run().ending, Ending::succeeded);
    EXPECT_THAT(snapshots(), SizeIs(2));
}

TEST_F(Etcd, IsKeptOfTheLastTwoVersionsAndSomebodyElsesSnapshotsStay) {
    int upgrades = 0;
    for (const auto* version : {"v1.27.1+k3s1", "v1.28.1+k3s1", "v1.29.1+k3s1", "v1.30.1+k3s1"}) {
        ++upgrades;
        test::write_text(
            folder_ / "k3s",
            format("{}[ $1 = --version ] || echo etcd >{}/k3s-upgrade-agent-server-1-{}\n",
                   script_of(version), snapshots_.string(), upgrades));
        EXPECT_EQ(upgrade(version, {}, false).ending, Ending::succeeded);
    }
    EXPECT_THAT(snapshots(), ElementsAre("etcd-snapshot-s-1", "k3s-upgrade-agent-server-1-3",
                                         "k3s-upgrade-agent-server-1-4"));
}

TEST_F(Etcd, IsNamedWhereNothingIsRolledBack) {
    // As v1.20.8 does it.
    teach_k3s("echo etcd >on-demand-17");
    new_is_not_ready_ = true;
    limits_.health = std::chrono::seconds(2);
    auto record = new_record();
    record.server = true;
    const auto outcome = run(std::move(record));
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason,
                HasSubstr(format("`{} server --data-dir {} --cluster-reset "
                                 "--cluster-reset-restore-path={}`",
                                 places_.binary.string(), (folder_ / "data").string(),
                                 (snapshots_ / "on-demand-17").string())));
}

}  // namespace
}  // namespace kua::upgrade
