// SPDX-License-Identifier: Apache-2.0
// What decides that a new version does not work, and what becomes of it then.
#include "agent/upgrade/rollback.hpp"

#include "agent/upgrade/failure_event.hpp"
#include "tests/agent/upgrade/fixture.hpp"
#include "tests/lib/kube/fake_http_client.hpp"

namespace kua::upgrade {
namespace {

using test::error_of;
using test::FakeApi;
using test::FakeHttpClient;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(Policy, DecidesByRoleAndMinorVersion) {
    constexpr auto kPatch = "v1.30.9+k3s2";
    constexpr auto kMinor = "v1.31.0+k3s1";
    for (const auto& [rollback, is_server, to, rolls_back] : {
             std::tuple{Rollback::automatic, false, kPatch, true},
             std::tuple{Rollback::automatic, false, kMinor, true},
             std::tuple{Rollback::automatic, true, kPatch, true},
             std::tuple{Rollback::automatic, true, kMinor, false},
             std::tuple{Rollback::automatic, true, "v2.30.9+k3s2", false},
             std::tuple{Rollback::automatic, true, "", false},
             std::tuple{Rollback::always, true, kMinor, true},
             std::tuple{Rollback::always, false, kPatch, true},
             std::tuple{Rollback::never, true, kPatch, false},
             std::tuple{Rollback::never, false, kPatch, false},
         }) {
        EXPECT_EQ(!why_not_rolled_back(rollback, {is_server, is_server}, "v1.30.4+k3s1", to),
                  rolls_back)
            << static_cast<int>(rollback) << (is_server ? " server " : " agent ") << to;
    }
    EXPECT_THAT(*why_not_rolled_back(Rollback::automatic, {true}, "v1.30.4+k3s1", kMinor),
                AllOf(HasSubstr("v1.31.0+k3s1 may have migrated the data store"),
                      HasSubstr("rollback: auto")));
}

TEST(Policy, DecidesByEtcdsMinorVersionToo) {
    constexpr auto kOldEtcd = "v1.33.10+k3s1";
    constexpr auto kNewEtcd = "v1.33.11+k3s1";
    EXPECT_THAT(*why_not_rolled_back(Rollback::automatic, {true, true}, kOldEtcd, kNewEtcd),
                HasSubstr("another minor version of etcd"));
    EXPECT_FALSE(why_not_rolled_back(Rollback::automatic, {true, false}, kOldEtcd, kNewEtcd));
    EXPECT_FALSE(why_not_rolled_back(Rollback::automatic, {true, true}, "v1.33.8+k3s1", kOldEtcd));
    EXPECT_FALSE(why_not_rolled_back(Rollback::automatic, {false, true}, kOldEtcd, kNewEtcd));
}

TEST(LastLines, AreAsManyOfTheLastAsThereIsRoomFor) {
    const std::string longest(300, 'x');
    for (const auto& [lines, most, wanted] : {
             std::tuple{std::vector<std::string>{}, 100U, std::string("k3s: ")},
             std::tuple{std::vector<std::string>{"one", "two"}, 100U,
                        std::string("k3s: one | two")},
             std::tuple{std::vector<std::string>{"one", "two", "three"}, 16U,
                        std::string("k3s: two | three")},
             std::tuple{std::vector<std::string>{"a\x1b[31m\nb\xff"}, 100U,
                        std::string("k3s: a [31m b?")},
             std::tuple{std::vector<std::string>{longest}, 1000U,
                        "k3s: " + std::string(240, 'x') + "…"},
         }) {
        EXPECT_EQ(with_last_lines("k3s: ", lines, most), wanted);
    }
}

TEST(LastLines, SayWhyK3sEnded) {
    using Lines = std::vector<std::string>;
    const std::string klog = "E1127 12:00:00.000000    4711 server.go:294] \"no such gate\"";
    for (const auto& [lines, ended, wanted] : {
             std::tuple{Lines{}, true, std::string()},
             std::tuple{Lines{"level=info msg=\"Starting k3s\"", "Error: x"}, true, std::string()},
             std::tuple{Lines{"level=fatal msg=\"first\"", "level=fatal msg=\"second\"", "later"},
                        true, std::string("\"second\"")},
             std::tuple{Lines{"level=fatal msg=\"why\"", "level=fatal msg=\"context canceled\""},
                        true, std::string("\"why\"")},
             std::tuple{Lines{"level=fatal without more"}, true,
                        std::string("level=fatal without more")},
             std::tuple{Lines{"level=fatal msg=\"why\"", klog}, true, std::string("\"why\"")},
             std::tuple{Lines{klog, "Usage:"}, true, klog},
             // A kubelet that runs has many.
             std::tuple{Lines{klog, "Usage:"}, false, std::string()},
         }) {
        EXPECT_EQ(last_words(lines, ended), wanted);
    }
}

class RollbackTest : public test::Host {
  protected:
    RollbackTest() {
        prepare();
        tools_.last_lines = &last_lines_;
        limits_.health = std::chrono::seconds(1);
    }

    /// The new version is up, and gone again a moment later.
    void crash_new() {
        units_.on_wait_unsettled = [this](const std::string& name) {
            if (binary() == kNew) {
                units_.units.at(name).active_state = "activating";
                units_.units.at(name).sub_state = "auto-restart";
            }
        };
        units_.on_restart = [this](const std::string& name) {
            units_.units.at(name).active_state = "active";
            return start_k3s(name);
        };
    }

    [[nodiscard]] node::Record server_record() const {
        auto record = new_record();
        record.server = true;
        return record;
    }

    /// The bodies of the Events that were made.
    [[nodiscard]] std::vector<Json> events() const {
        std::vector<Json> found;
        for (const auto& request : api_.writes()) {
            if (request.path == "/api/v1/namespaces/system-upgrade/events") {
                found.push_back(request.body);
            }
        }
        return found;
    }

    [[nodiscard]] std::filesystem::path kept() const { return release::kept(places_, kOldVersion); }

    const LastLines last_lines_ = [this](const std::string& unit, WallTime since) {
        EXPECT_EQ(unit, "k3s.service");
        EXPECT_LE(since, clock_.wall());
        EXPECT_EQ(binary(), kNew) << "what the old version says is of no interest";
        return std::vector<std::string>{"starting", "level=fatal msg=\"no such flag\""};
    };

    /// `phase: Failed` and everything in place for a person to look at.
    void expect_stopped() const {
        EXPECT_EQ(binary(), kNew);
        EXPECT_EQ(label(), "");
        EXPECT_FALSE(cordoned());
        EXPECT_THAT(units_.restarted, SizeIs(1));
        EXPECT_EQ(test::read_text(kept()), kOld);
        ASSERT_TRUE(slot());
        EXPECT_EQ(slot()->phase, "Failed");
        EXPECT_THAT(slot()->detail,
                    AllOf(HasSubstr("nothing was rolled back: "), HasSubstr(kept().string()),
                          HasSubstr("`k3s-upgrade-agent release`")));
        EXPECT_FALSE(std::filesystem::exists(folder_ / "journal.json"));
    }
};

TEST_F(RollbackTest, FollowsACrashThatComesAfterTheStart) {
    crash_new();
    const auto outcome = run();
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason,
                AllOf(HasSubstr("verify: did not stay up for 30s"),
                      HasSubstr("k3s.service is activating (auto-restart)"),
                      HasSubstr("; k3s said: \"no such flag\""),
                      EndsWith("; rolled back to v1.30.4+k3s1, uncordoned; when it is "
                               "mended: `k3s-upgrade-agent release`")));
    expect_rolled_back();
}

TEST_F(RollbackTest, FollowsAReadyzThatIsNotOk) {
    on_request_ = [this](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.path != "/readyz") {
            return std::nullopt;
        }
        EXPECT_EQ(binary(), kNew);
        return http::Response{500, {}, "[+]ping ok\n[-]etcd failed: reason withheld\n", {}};
    };
    limits_.rollback = Rollback::always;
    const auto outcome = run(server_record());
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason, HasSubstr("failing checks: etcd"));
    expect_rolled_back();
}

TEST_F(RollbackTest, AsksItsOwnEtcdWhereThereIsNoApiServer) {
    auto record = server_record();
    record.etcd_member = true;
    record.no_api_server = true;
    limits_.health = std::chrono::seconds(10);
    FakeHttpClient this_host;
    this_host.then_text(503, R"({"health":"false"})").then_text(200, R"({"health":"true"})");
    tools_.this_host = &this_host;
    EXPECT_EQ(run(record).ending, Ending::succeeded);
    EXPECT_THAT(this_host.requests(), SizeIs(2));
    for (const auto& request : api_.requests()) {
        EXPECT_NE(request.path, "/readyz") << "another server would have answered";
    }
}

TEST_F(RollbackTest, FollowsAnEtcdThatIsNotHealthy) {
    auto record = server_record();
    record.etcd_member = true;
    record.no_api_server = true;
    limits_.health = std::chrono::seconds(10);
    FakeHttpClient this_host;
    for (int i = 0; i < 1000; ++i) {
        this_host.then_text(503, R"({"health":"false","reason":"RAFT NO LEADER"})");
    }
    tools_.this_host = &this_host;
    limits_.rollback = Rollback::always;
    const auto outcome = run(record);
    EXPECT_EQ(outcome.ending, Ending::failed);
    EXPECT_THAT(outcome.reason, HasSubstr("RAFT NO LEADER"));
    expect_rolled_back();
}

TEST_F(RollbackTest, AsksForReadyzOnServersOnly) {
    EXPECT_EQ(run().ending, Ending::succeeded);
    for (const auto& request : api_.requests()) {
        EXPECT_NE(request.path, "/readyz");
    }
}

TEST_F(RollbackTest, TellsInAnEventWhatK3sSaidLast) {
    new_does_not_start_ = true;
    EXPECT_EQ(run().ending, Ending::failed);
    ASSERT_THAT(events(), SizeIs(1));
    const auto event = events().front();
    EXPECT_EQ(event.at("reason"), "JobFailed");
    EXPECT_EQ(event.at("type"), "Warning");
    EXPECT_EQ(event.at("involvedObject").at("kind"), "Plan");
    EXPECT_EQ(event.at("involvedObject").at("name"), "server-plan");
    EXPECT_EQ(event.at("message"),
              "The last lines of k3s.service on Node server-1 at v1.31.4+k3s1: starting | "
              "level=fatal msg=\"no such flag\"");
    expect_rolled_back();
}

TEST_F(RollbackTest, GoesOnWithoutTheEvent) {
    new_does_not_start_ = true;
    on_request_ = [](const FakeApi::Seen& request) -> std::optional<http::Response> {
        return request.path.ends_with("/events") ? std::optional(FakeApi::refuse(403, "forbidden"))
                                                 : std::nullopt;
    };
    EXPECT_EQ(run().ending, Ending::failed);
    expect_rolled_back();
}

TEST_F(RollbackTest, StopsOnAServerOverAMinorVersion) {
    new_is_not_ready_ = true;
    EXPECT_EQ(run(server_record()).ending, Ending::failed);
    expect_stopped();
    EXPECT_THAT(effects_, ElementsAre("cordon: cordon", "restart: restart k3s.service",
                                      "uncordon-previous: uncordon", "report-failure: tell",
                                      "report-failure: report failure"));
    EXPECT_THAT(events(), SizeIs(1));
    EXPECT_EQ(result(), "Failed");
}

TEST_F(RollbackTest, StopsWhereverThePolicySaysNever) {
    limits_.rollback = Rollback::never;
    crash_new();
    EXPECT_EQ(run().ending, Ending::failed);
    expect_stopped();
}

TEST_F(RollbackTest, RollsAServerBackOverAMinorWhereThePolicySaysAlways) {
    limits_.rollback = Rollback::always;
    new_is_not_ready_ = true;
    EXPECT_EQ(run(server_record()).ending, Ending::failed);
    expect_rolled_back();
}

TEST_F(RollbackTest, GoesOnStoppingAfterAnInterruption) {
    // At each of the two steps that are left, and whatever the policy says by then.
    for (const char* effect : {"uncordon", "report failure"}) {
        SCOPED_TRACE(effect);
        test::write_text(folder_ / "k3s", kOld);
        api_.put(kLock, {{"metadata", {{"name", "k3s-upgrade-agent"}}}});
        report_kubelet(kOldVersion, true);
        prepare();
        units_.restarted.clear();
        new_is_not_ready_ = true;
        stop_ = std::stop_source();
        on_request_ = [&](const FakeApi::Seen& request) -> std::optional<http::Response> {
            if (effect_of(request) == effect) {
                stop_.request_stop();
                return FakeApi::refuse(503, "not now");
            }
            return std::nullopt;
        };
        limits_.rollback = Rollback::automatic;
        EXPECT_EQ(error_of([&] { run(server_record()); }).kind(), ErrorKind::stopped);
        on_request_ = nullptr;
        stop_ = std::stop_source();
        limits_.rollback = Rollback::always;
        EXPECT_EQ(resume().value().ending, Ending::failed);
        expect_stopped();
    }
}

TEST_F(RollbackTest, CanBeTriedAgainAfterAStopAndThenTidiesUp) {
    new_is_not_ready_ = true;
    run(server_record());
    expect_stopped();
    // Mended, and released; the Node had not got as far as the new version.
    new_is_not_ready_ = false;
    report_kubelet(kOldVersion, true);
    slots_.give_back("server-plan", {});
    prepare();
    EXPECT_EQ(run(server_record()).ending, Ending::succeeded);
    expect_upgraded();
    EXPECT_FALSE(std::filesystem::exists(kept()));
}

TEST_F(RollbackTest, GoesBackToWhatTheNodeRanWhenASecondTryFailsToo) {
    new_is_not_ready_ = true;
    run(server_record());
    expect_stopped();
    report_kubelet(kOldVersion, true);
    slots_.give_back("server-plan", {});
    prepare();
    limits_.rollback = Rollback::always;
    EXPECT_EQ(run(server_record()).ending, Ending::failed);
    expect_rolled_back();
}

TEST_F(RollbackTest, KeepsTheOldBinaryThroughAnotherStop) {
    new_is_not_ready_ = true;
    run(server_record());
    report_kubelet(kOldVersion, true);
    slots_.give_back("server-plan", {});
    prepare();
    units_.restarted.clear();
    EXPECT_EQ(run(server_record()).ending, Ending::failed);
    expect_stopped();
}

}  // namespace
}  // namespace kua::upgrade
