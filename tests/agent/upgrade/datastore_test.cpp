// SPDX-License-Identifier: Apache-2.0
// What becomes of a server's data store, and of the k3s that is stopped for its copy.
#include "tests/agent/upgrade/fixture.hpp"

namespace kua::upgrade {
namespace {

using test::error_of;
using test::FakeApi;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

TEST_F(Datastore, IsKeptForTwoUpgrades) {
    for (const auto* text : {"first", "second", "third"}) {
        units_.on_stop = [this, text](const std::string& name) {
            units_.units.at(name).main_pid = 0;
            write_db(text);
            return systemd::JobResult{"done"};
        };
        test::write_text(folder_ / "k3s", kOld);
        report_kubelet(kOldVersion, true);
        take_slot();
        EXPECT_EQ(run().ending, Ending::succeeded);
    }
    EXPECT_THAT(copies(), ElementsAre("second", "third"));
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

class Etcd : public Datastore {
  protected:
    Etcd() {
        datastore_ = "etcd";
        units_.on_stop = nullptr;
    }

    /// The k3s that runs makes snapshots, or does not.
    void teach_k3s(const std::string& save) {
        test::write_text(folder_ / "k3s", format("#!/bin/sh\ncase $2 in save) {};; esac\n", save));
        std::filesystem::permissions(folder_ / "k3s", std::filesystem::perms(0755));
        std::filesystem::remove(places_.previous);
        std::filesystem::remove(places_.next);
    }
};

TEST_F(Etcd, IsSavedBeforeTheCordonAndK3sIsNotStopped) {
    teach_k3s("echo Snapshot k3s-upgrade-agent-server-1-17 saved.");
    std::string saved;
    on_request_ = [&](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (effect_of(request) == "cordon") {
            saved = journal_.read()->copy;
        }
        return std::nullopt;
    };
    EXPECT_EQ(run().ending, Ending::succeeded);
    EXPECT_EQ(saved, "k3s-upgrade-agent-server-1-17");
    EXPECT_THAT(units_.stopped, IsEmpty());
}

TEST_F(Etcd, ThatCannotBeSavedKeepsTheNodeAsItIs) {
    teach_k3s("echo disk full >&2; exit 1");
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::undone);
    EXPECT_THAT(outcome.reason, HasSubstr("`k3s etcd-snapshot save` failed"));
    EXPECT_THAT(effects_, ElementsAre("undo: give back")) << "it was never cordoned";
}

TEST_F(Etcd, IsNamedWhereNothingIsRolledBack) {
    teach_k3s("echo Snapshot k3s-upgrade-agent-server-1-17 saved.");
    new_is_not_ready_ = true;
    limits_.health = std::chrono::seconds(2);
    auto record = new_record();
    record.server = true;
    const auto outcome = run(std::move(record));
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason, AllOf(HasSubstr("--cluster-reset-restore-path="),
                                      HasSubstr("k3s-upgrade-agent-server-1-17")));
}

}  // namespace
}  // namespace kua::upgrade
