// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/node_loop.hpp"

#include <atomic>
#include <thread>

#include "tests/agent/release/fake_source.hpp"
#include "tests/agent/release/scripts.hpp"
#include "tests/agent/upgrade/fixture.hpp"
#include "tests/lib/kube/fake_http_client.hpp"

namespace kua::upgrade {
namespace {

using test::error_of;
using test::FakeApi;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kPlans = "/apis/upgrade.cattle.io/v1/namespaces/system-upgrade/plans/";
// printf 'v1.31.4-k3s1system-upgrade' | sha224sum
constexpr auto kPlanHash = "c5a1f5b354df7de6ba2ed731bd0fef1f6f33e1bd99fb004c987116a5";
// printf '1.31.4-k3s1system-upgrade' | sha224sum
constexpr auto kHashWithoutV = "2bf9cbd02322e7f17082132efde431bdb52fb45aef3d746c81bae730";

class NodeLoopTest : public test::Host {
  protected:
    NodeLoopTest() {
        limits_.rollback = Rollback::always;  // A server, over a minor version.
        api_.edit(kNode, {{"metadata",
                           {{"labels",
                             {{"kubernetes.io/hostname", "server-1"},
                              {"node-role.kubernetes.io/control-plane", "true"}}}}}});
        set_nodes(1);
        auto source = std::make_unique<test::FakeSource>(kNew);
        source_ = source.get();
        std::vector<std::unique_ptr<release::Source>> sources;
        sources.push_back(std::move(source));
        staging_ = std::make_unique<release::Staging>(folder_ / "staging", std::move(sources),
                                                      signatures_, test::inspector_of_scripts());
    }

    ~NodeLoopTest() override { finish(); }

    /// How many Nodes the coordinator has counted. With others there are turns to be waited for,
    /// on a clock that stands still here.
    void set_nodes(std::int64_t count) {
        const lock::CoordinatorLease lease{"server-1", "t0", "t0", 45, count};
        api_.edit(kLock, {{"data", {{lock::kCoordinatorKey, to_json(lease).dump()}}}});
    }

    void add_plan(const Json& spec_patch = Json::object(),
                  const std::string& name = "server-plan") {
        Json spec = {{"concurrency", 1},
                     {"version", "v1.31.4+k3s1"},
                     {"cordon", true},
                     {"serviceAccountName", "system-upgrade"},
                     {"nodeSelector", Json::object()},
                     {"upgrade", {{"image", "rancher/k3s-upgrade"}}}};
        spec.merge_patch(spec_patch);
        api_.put(kPlans + name, {{"metadata", {{"name", name}, {"namespace", "system-upgrade"}}},
                                 {"spec", std::move(spec)}});
    }

    void start() {
        thread_ = std::jthread([this](const std::stop_token& stop) {
            Wakeup changed;
            const lock::View view(client_, "system-upgrade", "k3s-upgrade-agent", "server-1",
                                  {&changed});
            NodeLoop loop(tools_, {"server-1", limits_, ask_channel_, prefetch_, jitter_, lifted_},
                          finder_, *staging_, view, changed);
            loop_ = &loop;
            loop.run(stop);
        });
    }

    /// Stops the loop and waits for its end; what it had done is safe to look at then.
    void finish() {
        if (thread_.joinable()) {
            thread_.request_stop();
            thread_.join();
        }
    }

    /// Somebody has installed that version, and k3s runs it.
    void write_k3s(const std::string& version) {
        test::write_text(folder_ / "k3s", "#!/bin/sh\necho 'k3s version " + version + " (x)'\n");
        report_kubelet(version, true);
    }

    [[nodiscard]] Json status() const {
        const auto text = test::read_text(folder_ / "status.json");
        return text.empty() ? Json::object() : Json::parse(text);
    }

    bool becomes_upgraded(const std::string& hash = kPlanHash) {
        return api_.wait_until([=, this] { return label() == hash && !slot(); });
    }

    /// Waits until this host's status says so.
    bool says(const std::string& phase, const std::string& text) {
        return api_.wait_until([=, this] {
            return string_at(status(), {"phase"}) == phase &&
                   string_at(status(), {"message"}).find(text) != std::string::npos;
        });
    }

    /// Waits until this node has said something of itself in the lock.
    bool reports(const std::string& phase) {
        return api_.wait_until([=, this] {
            return slot_is([&](const lock::Slot& own) { return own.phase == phase; });
        });
    }

    AskChannel ask_channel_;
    Prefetch prefetch_ = Prefetch::in_window;
    Duration jitter_{0};
    Lifted lifted_ = Lifted::stop;
    test::FakeSource* source_ = nullptr;
    const release::Signatures signatures_;
    std::unique_ptr<release::Staging> staging_;
    k3s::Finder finder_{units_,
                        {"", "", folder_ / "data"},
                        [](const std::filesystem::path& binary) {
                            return test::inspector_of_scripts().version(binary, {});
                        },
                        folder_ / "k3s.json"};
    std::atomic<NodeLoop*> loop_ = nullptr;  ///< While the thread runs.
    std::jthread thread_;
};

TEST_F(NodeLoopTest, UpgradesAsAPlanWants) {
    add_pod();
    add_plan({{"drain", Json::object()}});
    start();
    ASSERT_TRUE(becomes_upgraded());
    finish();
    EXPECT_EQ(binary(), kNew);
    EXPECT_EQ(kubelet(), kNewVersion);
    EXPECT_FALSE(cordoned());
    EXPECT_TRUE(api_.get(kPod).is_null());
    EXPECT_EQ(units_.restarted.size(), 1U);
}

TEST_F(NodeLoopTest, LabelsWithTheHashOfTheVersionAsThePlanSpellsIt) {
    // SUC and the coordinator hash the text of spec.version; a node must not hash another one.
    add_plan({{"version", "1.31.4+k3s1"}});
    start();
    EXPECT_TRUE(becomes_upgraded(kHashWithoutV)) << label();
}

TEST_F(NodeLoopTest, OnlyLabelsANodeThatRunsTheReleaseAlready) {
    test::write_text(folder_ / "k3s", kNew);
    report_kubelet(kNewVersion, true);
    add_plan();
    start();
    ASSERT_TRUE(becomes_upgraded());
    finish();
    EXPECT_TRUE(units_.restarted.empty());
    EXPECT_EQ(source_->fetches, 0);
    EXPECT_THAT(effects_, Not(Contains(HasSubstr("cordon"))));
}

TEST_F(NodeLoopTest, RefusesADowngradeBeforeAnythingIsTouched) {
    add_plan({{"version", "v1.29.9+k3s1"}});
    start();
    ASSERT_TRUE(reports("Blocked"));
    finish();
    EXPECT_THAT(slot()->detail, HasSubstr("v1.29.9+k3s1 is lower than v1.30.4+k3s1"));
    EXPECT_EQ(source_->fetches, 0);
    EXPECT_THAT(effects_, Not(Contains(HasSubstr("cordon"))));
}

TEST_F(NodeLoopTest, ReportsASourceThatHasNotGotIt) {
    source_->on_checksum = [] { throw Error(ErrorKind::invalid, "answers 404"); };
    add_plan();
    start();
    ASSERT_TRUE(reports("Blocked"));
    finish();
    EXPECT_THAT(slot()->detail, HasSubstr("answers 404"));
    EXPECT_THAT(effects_, Not(Contains(HasSubstr("cordon"))));
}

TEST_F(NodeLoopTest, TakesNoSlotForAPodThatWouldRefuseTheDrain) {
    add_pod(false);
    add_plan({{"drain", Json::object()}});
    start();
    ASSERT_TRUE(reports("Blocked"));
    finish();
    EXPECT_THAT(slot()->detail, HasSubstr("can't be drained: default/web"));
    EXPECT_FALSE(cordoned());
}

TEST_F(NodeLoopTest, WaitsUncordonedWhileABudgetWouldHoldTheDrain) {
    std::atomic<bool> held = true;
    on_request_ = [&](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.method == "POST" && held) {
            EXPECT_TRUE(request.query.contains("dryRun"));
            return FakeApi::answer(
                429, {{"message", "Cannot evict pod"},
                      {"details",
                       {{"causes", Json::array({{{"reason", "DisruptionBudget"},
                                                 {"message", "The disruption budget guard"}}})}}}});
        }
        return std::nullopt;
    };
    add_pod();
    add_plan({{"drain", Json::object()}});
    start();
    ASSERT_TRUE(says("Waiting", "default/web: Cannot evict pod The disruption budget guard"));
    EXPECT_FALSE(slot());
    clock_.advance(std::chrono::minutes(2));
    loop_.load()->try_again();
    ASSERT_TRUE(reports("Blocked"));
    EXPECT_THAT(slot()->detail, HasSubstr("The disruption budget guard"));
    EXPECT_FALSE(cordoned());
    held = false;
    clock_.advance(std::chrono::minutes(2));
    loop_.load()->try_again();
    ASSERT_TRUE(becomes_upgraded());
    finish();
}

TEST_F(NodeLoopTest, WaitsForASlotAndTakesItWhenItIsGivenBack) {
    const lock::Slot other{"server-plan", "server-2", "Draining", kPlanHash, kNewVersion,
                           "t0",          "t0",       900,        ""};
    api_.edit(kLock, {{"data", {{"server-plan.server-2", to_json(other).dump()}}}});
    add_plan();
    start();
    // Fetched beforehand, and nothing else.
    ASSERT_TRUE(api_.wait_until([this] {
        return std::filesystem::exists(folder_ / "staging" / kNewVersion / "verified.json");
    }));
    EXPECT_EQ(label(), "");
    EXPECT_FALSE(cordoned());
    api_.edit(kLock, {{"data", {{"server-plan.server-2", nullptr}}}});
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, TakesTheSlotThatARaisedConcurrencyGives) {
    lock::Slot other;
    other.plan = "server-plan";
    other.node = "agent-1";
    other.phase = "Draining";
    other.hash = kPlanHash;
    other.ttl_seconds = 86400;
    api_.edit(kLock, {{"data", {{"server-plan.agent-1", to_json(other).dump()}}}});
    add_plan();
    start();
    ASSERT_TRUE(says("Waiting", "1 of 1 slots held"));
    add_plan({{"concurrency", 2}});
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, DecidesOnWhatIsThereWhenTheSlotIsTaken) {
    const lock::Slot other{"server-plan", "server-2", "Draining", kPlanHash, kNewVersion,
                           "t0",          "t0",       900,        ""};
    api_.edit(kLock, {{"data", {{"server-plan.server-2", to_json(other).dump()}}}});
    add_plan();
    start();
    ASSERT_TRUE(says("Waiting", "for a slot"));
    // Meanwhile somebody installs the version by hand.
    test::write_text(folder_ / "k3s.tmp", kNew);
    std::filesystem::permissions(folder_ / "k3s.tmp", std::filesystem::perms(0755));
    std::filesystem::rename(folder_ / "k3s.tmp", folder_ / "k3s");
    report_kubelet(kNewVersion, true);
    api_.edit(kLock, {{"data", {{"server-plan.server-2", nullptr}}}});
    ASSERT_TRUE(becomes_upgraded());
    finish();
    EXPECT_TRUE(units_.restarted.empty());
    EXPECT_THAT(effects_, Not(Contains(HasSubstr("cordon"))));
}

TEST_F(NodeLoopTest, SaysThatK3sIsStoppedHereWhileNobodyAnswers) {
    finder_.remember(finder_.find());
    auto& unit = units_.units.at("k3s.service");
    unit.active_state = "inactive";
    unit.sub_state = "dead";
    on_request_ = [](const FakeApi::Seen&) { return FakeApi::refuse(503, "not now"); };
    start();
    EXPECT_TRUE(says("Waiting", "; k3s.service is inactive (dead), result success"));
}

TEST_F(NodeLoopTest, TakesNoSlotForANodeThatIsNotReady) {
    report_kubelet(kOldVersion, false);
    api_.edit(kNode, {{"metadata", {{"annotations", {{"something", "happens"}}}}}});
    add_plan();
    start();
    ASSERT_TRUE(says("Waiting", "the node is not Ready"));
    EXPECT_FALSE(slot());
    EXPECT_EQ(source_->fetches, 0);
    clock_.advance(std::chrono::minutes(2));
    loop_.load()->try_again();
    ASSERT_TRUE(reports("Blocked"));
    EXPECT_THAT(slot()->detail, HasSubstr("the node is not Ready"));
    report_kubelet(kOldVersion, true);
    clock_.advance(std::chrono::minutes(1));
    loop_.load()->try_again();
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, ReachesANodeThatItHasBrokenItself) {
    const lock::Slot own{
        "server-plan", "server-1", "Failed", "of another version", "v1.31.3+k3s1", "t0",
        "t0",          900,        ""};
    api_.edit(kLock, {{"data", {{"server-plan.server-1", to_json(own).dump()}}}});
    report_kubelet(kOldVersion, false);
    add_plan();
    start();
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, TouchesNothingWhereTheProgramIsNotWhatTheNodeRuns) {
    test::write_text(folder_ / "k3s", "#!/bin/sh\necho 'k3s version v1.29.1+k3s1 (x)'\n");
    add_plan();
    start();
    ASSERT_TRUE(reports("Blocked"));
    EXPECT_THAT(slot()->detail, HasSubstr("is v1.29.1+k3s1, but the Node reports v1.30.4+k3s1"));
    EXPECT_FALSE(cordoned());
}

TEST_F(NodeLoopTest, SaysWhereNothingCanBeCompared) {
    report_kubelet("v1.30", true);
    add_plan();
    start();
    ASSERT_TRUE(reports("Blocked"));
    EXPECT_THAT(slot()->detail, HasSubstr("reports \"v1.30\", which is no version of k3s's"));
}

TEST_F(NodeLoopTest, RefusesAnOlderBuildOfANewerVersion) {
    const auto built = [](const std::string& version, const std::string& date) {
        return "#!/bin/sh\n[ \"$1\" = --version ] && echo 'k3s version " + version +
               " (x)' || echo 'clientVersion: {buildDate: \"" + date + "\"}'\n";
    };
    test::write_text(folder_ / "k3s", built(kOldVersion, "2024-10-05T00:00:00Z"));
    source_->content = built(kNewVersion, "2024-09-05T00:00:00Z");
    add_plan();
    start();
    ASSERT_TRUE(reports("Blocked"));
    EXPECT_THAT(slot()->detail, HasSubstr("allow-older-build=true"));
    EXPECT_FALSE(cordoned());
}

/// An agent, in a cluster where no control-plane Node can be seen.
class WithoutServers : public NodeLoopTest {
  protected:
    WithoutServers() {
        api_.edit(kNode, {{"metadata",
                           {{"labels", {{"node-role.kubernetes.io/control-plane", nullptr}}}}}});
        units_.units.clear();
        units_.add("k3s-agent.service", {(folder_ / "k3s").string(), "agent"});
    }

    /// What the API server says of itself.
    void set_server(const std::string& version) {
        api_.put("/version", {{"gitVersion", version}});
        add_plan(
            {{"prepare", {{"image", "rancher/k3s-upgrade"}, {"args", {"prepare", "servers"}}}}});
        add_plan({{"nodeSelector", {{"matchLabels", {{"no", "node"}}}}}}, "servers");
    }
};

TEST_F(WithoutServers, GoesByTheApiServersOwnVersion) {
    set_server("v1.30.4+k3s1");
    start();
    ASSERT_TRUE(says("Waiting", "for 1 of 1 servers (the API server at v1.30.4+k3s1)"));
    EXPECT_FALSE(slot());
    api_.put("/version", {{"gitVersion", kNewVersion}});
    clock_.advance(std::chrono::minutes(2));
    loop_.load()->try_again();
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(WithoutServers, WaitsWhereNothingCanBeKnown) {
    api_.put("/version", {{"gitVersion", "unknown"}});
    add_plan();
    start();
    ASSERT_TRUE(says("Waiting", "until the version of any server is known"));
    EXPECT_FALSE(slot());
}

TEST_F(NodeLoopTest, LetsTheOthersGoFirstWhoseTurnIsBefore) {
    set_nodes(100'000);
    add_plan();
    start();
    ASSERT_TRUE(says("Waiting", "for its turn"));
    EXPECT_FALSE(slot());
    clock_.advance(std::chrono::seconds(10));
    api_.edit(kNode, {{"metadata", {{"annotations", {{"something", "happens"}}}}}});
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, GivesBackASlotThatNobodyRemembersTaking) {
    // An agent that died between the write in the lock and the one in its journal.
    take_slot();
    start();
    EXPECT_TRUE(api_.wait_until([this] { return !slot(); }));
}

TEST_F(NodeLoopTest, DoesNotTryAgainWhatHasFailedWhenTheDataStoreIsBroughtBack) {
    // The copy is from when the slot was held: it knows nothing of the failure.
    node::LastResult failed;
    failed.plan = "server-plan";
    failed.version = kNewVersion;
    failed.hash = kPlanHash;
    failed.result = "Failed";
    failed.message = "verify: not Ready";
    slots_.take({"server-plan", "server-1", kPlanHash, 1}, kNewVersion, {});
    clock_.advance(std::chrono::minutes(1));
    failed.finished = to_rfc3339(clock_.wall());
    report_.finished(failed);
    add_plan();
    start();
    ASSERT_TRUE(reports("Failed"));
    ASSERT_TRUE(says("Failed", "verify: not Ready"));
    EXPECT_EQ(slot()->detail, "verify: not Ready");
    EXPECT_EQ(source_->fetches, 0);
    // Released: it is tried again, and a slot of that attempt is not from before the failure.
    clock_.advance(std::chrono::minutes(1));
    slots_.give_back("server-plan", {});
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, WaitsForTheWindow) {
    // The fake clock stands at midnight, on a Thursday.
    add_plan({{"window", {{"days", {"thu"}}, {"startTime", "22:00"}, {"endTime", "23:00"}}}});
    start();
    ASSERT_TRUE(says("Waiting", "which opens at 2026-01-01T22:00:00Z"));
    EXPECT_FALSE(slot());
    EXPECT_EQ(source_->fetches, 0);
    clock_.advance(std::chrono::hours(22));
    api_.edit(kNode, {{"metadata", {{"annotations", {{"something", "happens"}}}}}});
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, TakesNoSlotWhenTheWindowHasClosedWhileItWasFetching) {
    source_->on_half = [this] { clock_.advance(std::chrono::hours(2)); };
    add_plan(
        {{"window", {{"days", {"thu", "fri"}}, {"startTime", "00:00"}, {"endTime", "01:00"}}}});
    start();
    ASSERT_TRUE(says("Waiting", "which opens at 2026-01-02T00:00:00Z"));
    EXPECT_EQ(source_->fetches, 1);
    EXPECT_FALSE(slot());
}

TEST_F(NodeLoopTest, FetchesBeforeTheWindowWhereItMay) {
    prefetch_ = Prefetch::always;
    add_plan({{"window", {{"days", {"thu"}}, {"startTime", "22:00"}, {"endTime", "23:00"}}}});
    start();
    ASSERT_TRUE(api_.wait_until([this] { return staging_->has({1, 31, 4, 0, 1}); }));
    ASSERT_TRUE(says("Waiting", "which opens at 2026-01-01T22:00:00Z"));
    EXPECT_FALSE(slot());
    EXPECT_FALSE(cordoned());
    clock_.advance(std::chrono::hours(22));
    api_.edit(kNode, {{"metadata", {{"annotations", {{"something", "happens"}}}}}});
    EXPECT_TRUE(becomes_upgraded());
    EXPECT_EQ(source_->fetches, 1);
}

TEST_F(NodeLoopTest, KeepsNoReleaseThatNoPlanWantsAnyMore) {
    prefetch_ = Prefetch::always;
    add_plan({{"window", {{"days", {"thu"}}, {"startTime", "22:00"}, {"endTime", "23:00"}}}});
    start();
    ASSERT_TRUE(api_.wait_until([this] { return staging_->has({1, 31, 4, 0, 1}); }));
    api_.remove(kPlans + std::string("server-plan"));
    ASSERT_TRUE(says("Idle", "no Plans"));
    EXPECT_TRUE(std::filesystem::is_empty(folder_ / "staging"));
}

TEST_F(NodeLoopTest, FetchesOnlyWithASlotWhereItIsToldSo) {
    prefetch_ = Prefetch::never;
    bool held = false;
    source_->on_half = [&] { held = slot() && !cordoned(); };
    add_plan();
    start();
    EXPECT_TRUE(becomes_upgraded());
    EXPECT_TRUE(held);
    EXPECT_EQ(source_->fetches, 1);
}

TEST_F(NodeLoopTest, GivesTheSlotBackThatItCouldNotFetchWith) {
    prefetch_ = Prefetch::never;
    source_->on_half = [] { throw Error(ErrorKind::transient, "connection reset"); };
    add_plan();
    start();
    ASSERT_TRUE(reports("Blocked"));
    EXPECT_THAT(slot()->detail, HasSubstr("connection reset"));
    EXPECT_FALSE(cordoned());
}

TEST_F(NodeLoopTest, BeginsToFetchAtARandomMoment) {
    jitter_ = std::chrono::hours(24 * 365);
    add_plan();
    start();
    ASSERT_TRUE(says("Waiting", "(download.jitter)"));
    EXPECT_EQ(source_->fetches, 0);
    clock_.advance(jitter_);
    api_.edit(kNode, {{"metadata", {{"annotations", {{"something", "happens"}}}}}});
    EXPECT_TRUE(becomes_upgraded());
}

/// k3s loads whatever lies there when it starts.
class ImagesTest : public NodeLoopTest {
  protected:
    ImagesTest() {
        source_->images = "layers";
        std::filesystem::create_directories(folder());
        test::write_text(folder() / kOldImages, "old layers");
    }

    /// k3s's.
    [[nodiscard]] std::filesystem::path folder() const {
        return folder_ / "data" / "agent" / "images";
    }

    [[nodiscard]] std::vector<std::string> images() const {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(folder())) {
            names.push_back(entry.path().filename().string());
        }
        std::sort(names.begin(), names.end());
        return names;
    }

    static constexpr auto kOldImages = "k3s-airgap-images-amd64.tar.zst";
    static constexpr auto kNewImages = "k3s-airgap-images-amd64.v1.31.4+k3s1.tar.zst";
};

TEST_F(ImagesTest, AreThereWhenTheNewVersionStartsAndTheOldOnesGoAfterItIsHealthy) {
    std::vector<std::string> at_start;
    on_start_ = [&] { at_start = images(); };
    add_plan();
    start();
    ASSERT_TRUE(becomes_upgraded());
    ASSERT_TRUE(says("Idle", "nothing to do"));
    EXPECT_THAT(at_start, ::testing::ElementsAre(kOldImages, kNewImages));
    EXPECT_THAT(images(), ::testing::ElementsAre(kNewImages));
    EXPECT_EQ(test::read_text(folder() / kNewImages), "layers");
}

TEST_F(ImagesTest, GoAgainWhenTheNewVersionDoesNotStart) {
    new_does_not_start_ = true;
    add_plan();
    start();
    ASSERT_TRUE(reports("Failed"));
    ASSERT_TRUE(says("Failed", "restart"));
    EXPECT_THAT(images(), ::testing::ElementsAre(kOldImages));
}

TEST_F(NodeLoopTest, TriesAgainAtOnceWhenSomethingOutsideHasChanged) {
    source_->on_checksum = [] { throw Error(ErrorKind::invalid, "no bundle"); };
    add_plan();
    start();
    ASSERT_TRUE(reports("Blocked"));
    source_->on_checksum = nullptr;
    loop_.load()->try_again();
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, SetsThePlansLabelsWithItsOwn) {
    add_plan({{"postCompleteLabels",
               {{"example.com/version", "$(LATEST_VERSION)"}, {"example.com/done", "yes"}}}});
    start();
    ASSERT_TRUE(becomes_upgraded());
    const auto labels = kube::labels_of(api_.get(kNode));
    EXPECT_EQ(labels.at("example.com/version"), "v1.31.4-k3s1");
    EXPECT_EQ(labels.at("example.com/done"), "yes");
}

TEST_F(NodeLoopTest, TriesTheLabelsBeforeAnythingIsTouched) {
    on_request_ = [](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.method == "PATCH" && request.path == kNode &&
            request.query.contains("dryRun")) {
            return http::Response{
                403, {}, R"({"message":"is not allowed to modify labels"})", FakeApi::kServer};
        }
        return std::nullopt;
    };
    add_plan({{"postCompleteLabels", {{"example.com/x", "y"}}}});
    start();
    ASSERT_TRUE(reports("Blocked"));
    EXPECT_THAT(slot()->detail, HasSubstr("spec.postCompleteLabels"));
    EXPECT_THAT(slot()->detail, HasSubstr("not allowed to modify labels"));
    EXPECT_EQ(source_->fetches, 0);
}

TEST_F(NodeLoopTest, AsksItsOwnEtcdWhereTheNodeIsNoControlPlane) {
    // Nothing on this host says --disable-apiserver: k3s's labels do.
    api_.edit(kNode, {{"metadata",
                       {{"labels",
                         {{"node-role.kubernetes.io/control-plane", nullptr},
                          {"node-role.kubernetes.io/etcd", "true"}}}}}});
    test::FakeHttpClient this_host;
    this_host.then_text(200, R"({"health":"true"})");
    tools_.this_host = &this_host;
    add_plan();
    start();
    ASSERT_TRUE(becomes_upgraded());
    finish();
    EXPECT_EQ(this_host.requests().size(), 1U);
    for (const auto& request : api_.requests()) {
        EXPECT_NE(request.path, "/readyz");
    }
}

TEST_F(NodeLoopTest, TouchesNothingWhereSucIsAlive) {
    const auto lease = [this](const std::string& renewed) {
        api_.put(
            "/apis/coordination.k8s.io/v1/namespaces/system-upgrade/leases/"
            "system-upgrade-controller",
            {{"spec",
              {{"holderIdentity", "suc-1"},
               {"leaseDurationSeconds", 15},
               {"renewTime", renewed}}}});
    };
    lease("t0");
    add_plan();
    start();
    ASSERT_TRUE(says("Waiting", "system-upgrade-controller"));
    EXPECT_FALSE(slot());
    // Nobody renews it any more.
    clock_.advance(std::chrono::seconds(16));
    api_.edit(kNode, {{"metadata", {{"annotations", {{"something", "happens"}}}}}});
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, BlocksNoPlanWhileTheApiServerMayBeStarting) {
    on_request_ = [](const FakeApi::Seen& request) -> std::optional<http::Response> {
        return request.path.find("/leases/") != std::string::npos
                   ? std::optional(FakeApi::refuse(403, "leases is forbidden"))
                   : std::nullopt;
    };
    add_plan();
    start();
    ASSERT_TRUE(says("Waiting", "it may still be loading its RBAC rules after a start"));
    EXPECT_FALSE(slot()) << "nothing is reported to others";
    // Where that lasts, SUC is taken to be absent.
    clock_.advance(kube::Refusals::kLasts);
    loop_.load()->try_again();
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, ReportsAConflictOfPlansInsteadOfFightingItOut) {
    add_plan();
    add_plan({{"version", "v1.31.5+k3s1"}}, "zealous");
    start();
    ASSERT_TRUE(reports("Blocked"));
    EXPECT_THAT(slot()->detail, HasSubstr("zealous (v1.31.5+k3s1)"));
    EXPECT_EQ(source_->fetches, 0);
    api_.remove(std::string(kPlans) + "zealous");
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, HoldsWhatRunsWhenTheChannelNamesAnOlderVersion) {
    write_k3s("v1.31.9+k3s1");
    add_plan({{"version", nullptr}, {"channel", "https://update.k3s.io/stable"}});
    api_.edit(std::string(kPlans) + "server-plan",
              {{"status", {{"latestVersion", "v1.31.4-k3s1"}}}});
    start();
    EXPECT_TRUE(says("Waiting", "holding v1.31.9+k3s1: the channel names v1.31.4+k3s1"));
    EXPECT_FALSE(slot()) << "nobody has to do anything about it";
    EXPECT_EQ(source_->fetches, 0);
}

TEST_F(NodeLoopTest, BelievesThePlansStatusOnlyWhenTheChannelSaysTheSame) {
    std::string channel_says = "v1.31.5+k3s1";
    ask_channel_ = [&](const plan::Plan&, const std::stop_token&) {
        return *plan::parse_version(channel_says);
    };
    add_plan({{"version", nullptr}, {"channel", "https://update.k3s.io/stable"}});
    api_.edit(std::string(kPlans) + "server-plan",
              {{"status", {{"latestVersion", "v1.31.4-k3s1"}}}});
    start();
    ASSERT_TRUE(reports("Blocked"));
    EXPECT_THAT(slot()->detail, HasSubstr("says v1.31.4+k3s1, but its channel"));
    finish();
    EXPECT_EQ(source_->fetches, 0);
    channel_says = kNewVersion;
    start();
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, UndoesADrainWhosePlanIsDeleted) {
    add_pod();
    on_request_ = [](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.path.ends_with("/eviction")) {
            return http::Response{429, {}, "{}", FakeApi::kServer};
        }
        return std::nullopt;
    };
    add_plan({{"drain", Json::object()}});
    start();
    ASSERT_TRUE(api_.wait_until([this] { return cordoned(); }));
    api_.remove(std::string(kPlans) + "server-plan");
    int looks = 0;
    ASSERT_TRUE(api_.wait_until([&] {
        // The drain looks around when one of its pods changes.
        api_.edit(kPod, {{"metadata", {{"annotations", {{"look", std::to_string(++looks)}}}}}});
        return result() == "Undone";
    }));
    EXPECT_TRUE(api_.wait_until([this] { return !slot(); }));
    EXPECT_FALSE(cordoned());
    EXPECT_TRUE(units_.restarted.empty());
}

TEST_F(NodeLoopTest, LeavesANodeAloneThatIsNotMeant) {
    add_plan({{"nodeSelector", {{"matchLabels", {{"role", "db"}}}}}}, "a-other");
    add_plan({{"upgrade", {{"image", "bash"}}}}, "b-foreign");
    add_plan({{"concurrency", 0}}, "c-paused");
    add_plan({{"concurrency", -1}}, "d-broken");
    add_plan();
    start();
    ASSERT_TRUE(becomes_upgraded()) << "and the one that is meant is not held up by them";
    finish();
    const auto labels = kube::labels_of(api_.get(kNode));
    for (const char* name : {"a-other", "b-foreign", "c-paused", "d-broken"}) {
        EXPECT_FALSE(labels.contains(plan::label_of(name))) << name;
    }
    EXPECT_EQ(units_.restarted.size(), 1U);
}

TEST_F(NodeLoopTest, LeavesACordonThatCameWhileItWasFetching) {
    source_->on_half = [this] { api_.edit(kNode, {{"spec", {{"unschedulable", true}}}}); };
    add_plan();
    start();
    ASSERT_TRUE(becomes_upgraded());
    finish();
    EXPECT_TRUE(cordoned());
}

TEST_F(NodeLoopTest, DoesNotTryAgainWhatFailedUntilThePlanChanges) {
    new_does_not_start_ = true;
    add_plan();
    start();
    ASSERT_TRUE(reports("Failed"));
    // Something happens, and happens again: a failure stays one.
    api_.edit(kNode, {{"metadata", {{"labels", {{"some", "label"}}}}}});
    api_.edit(kPlans + std::string("server-plan"), {{"metadata", {{"labels", {{"a", "b"}}}}}});
    add_plan({{"version", "v1.31.4+k3s1"}, {"serviceAccountName", "another"}});
    ASSERT_TRUE(api_.wait_until(
        [this] { return slot_is([](const lock::Slot& own) { return own.hash != kPlanHash; }); }));
    ASSERT_TRUE(reports("Failed"));
    finish();
    EXPECT_EQ(units_.restarted.size(), 4U) << "forward and back, once for each hash";
    EXPECT_FALSE(cordoned());
}

TEST_F(NodeLoopTest, TriesAFailureAgainInItsOwnSlotWhenThePlanChanges) {
    new_does_not_start_ = true;
    on_request_ = [this](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (effect_of(request) == "report failure") {
            clock_.advance(std::chrono::seconds(2));  // It takes a moment, and is over after that.
        }
        return std::nullopt;
    };
    add_plan();
    start();
    ASSERT_TRUE(reports("Failed"));
    const auto failed = slot()->acquired;
    // Whoever pauses a rollout that fails, or opens its window, has mended nothing.
    add_plan({{"concurrency", 0}});
    ASSERT_TRUE(says("Paused", "concurrency"));
    add_plan({{"concurrency", 5}});
    ASSERT_TRUE(says("Failed", "restart"));
    EXPECT_EQ(slot()->acquired, failed);
    EXPECT_EQ(units_.restarted.size(), 2U);
    add_plan({{"jobActiveDeadlineSecs", 1800}});
    ASSERT_TRUE(api_.wait_until(
        [&] { return slot_is([&](const lock::Slot& own) { return own.acquired != failed; }); }));
    ASSERT_TRUE(reports("Failed"));
    new_does_not_start_ = false;
    add_plan({{"drain", {{"force", true}}}});
    ASSERT_TRUE(becomes_upgraded());
    finish();
    EXPECT_EQ(units_.restarted.size(), 5U) << "twice forward and back, and forward again";
    EXPECT_EQ(
        std::ranges::count_if(
            effects_, [](const std::string& effect) { return effect.ends_with("give back"); }),
        1)
        << "until it succeeded, no other node could go on with what had failed here";
}

TEST_F(NodeLoopTest, ForgetsNoFailureWhileThePlanIsInvalid) {
    new_does_not_start_ = true;
    add_plan();
    start();
    ASSERT_TRUE(reports("Failed"));
    const auto failed = slot()->acquired;
    add_plan({{"drain", {{"timeout", "5mm"}}}});
    ASSERT_TRUE(says("Blocked", "spec.drain.timeout"));
    EXPECT_TRUE(slot_is([&](const lock::Slot& own) { return own.acquired == failed; }));
    add_plan({{"concurrency", 0}});
    ASSERT_TRUE(says("Paused", "concurrency"));
    EXPECT_TRUE(slot_is([&](const lock::Slot& own) { return own.acquired == failed; }));
    EXPECT_EQ(units_.restarted.size(), 2U);
}

TEST_F(NodeLoopTest, IsNotDoneWhereItWasLeftAtTheNewVersionAndThePlanChanges) {
    limits_.rollback = Rollback::automatic;
    limits_.health = std::chrono::seconds(1);
    new_is_not_ready_ = true;
    add_plan();
    start();
    ASSERT_TRUE(reports("Failed"));
    // A k3s that crashes again and again is Ready for as long as nobody misses its heartbeat.
    report_kubelet(kNewVersion, true);
    add_plan({{"concurrency", 0}, {"jobActiveDeadlineSecs", 1800}});
    ASSERT_TRUE(says("Paused", "concurrency"));
    add_plan({{"jobActiveDeadlineSecs", 1800}});
    ASSERT_TRUE(says("Failed", "nothing was rolled back"));
    EXPECT_EQ(label(), "");
    EXPECT_TRUE(slot_is([](const lock::Slot& own) { return own.phase == "Failed"; }));
    api_.edit(kLock, {{"data", {{"server-plan.server-1", nullptr}}}});
    EXPECT_TRUE(api_.wait_until([this] { return label() == kPlanHash; }));
    finish();
    EXPECT_EQ(units_.restarted.size(), 1U);
}

TEST_F(NodeLoopTest, TriesAgainAtOnceWhenThePlanChanges) {
    add_pod(false);
    add_plan({{"drain", Json::object()}});
    start();
    ASSERT_TRUE(reports("Blocked"));
    // Its pause would not pass: the clock stands still.
    add_plan({{"drain", {{"force", true}}}});
    ASSERT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, ForgetsNoFailureThatTheLockDoesNotTake) {
    new_does_not_start_ = true;
    on_request_ = [](const FakeApi::Seen& request) -> std::optional<http::Response> {
        return effect_of(request) == "report failure"
                   ? std::optional(FakeApi::refuse(422,
                                                   "data: Too long: must have at most 1048576 "
                                                   "characters"))
                   : std::nullopt;
    };
    add_plan();
    start();
    ASSERT_TRUE(says("Failed", "restart: "));
    api_.edit(kNode, {{"metadata", {{"labels", {{"some", "label"}}}}}});
    ASSERT_TRUE(api_.wait_until([this] { return !journal_.read(); }));
    ASSERT_TRUE(says("Failed", "restart: "));
    finish();
    EXPECT_EQ(units_.restarted.size(), 2U);
}

TEST_F(NodeLoopTest, LabelsANodeThatWasRefusedItsLabelWithoutASlot) {
    std::atomic<bool> refused = true;
    on_request_ = [&](const FakeApi::Seen& request) -> std::optional<http::Response> {
        return effect_of(request) == "label" && refused
                   ? std::optional(FakeApi::refuse(403, "a policy says no"))
                   : std::nullopt;
    };
    add_plan();
    start();
    ASSERT_TRUE(says("Blocked", "a policy says no"));
    ASSERT_TRUE(reports("Blocked"));
    EXPECT_EQ(binary(), kNew);
    refused = false;
    api_.wait_until([this] { return loop_.load() != nullptr; });
    loop_.load()->try_again();
    ASSERT_TRUE(becomes_upgraded());
    finish();
    EXPECT_EQ(units_.restarted.size(), 1U);
}

TEST_F(NodeLoopTest, AsksNotAtEveryTurnForWhatIsRefused) {
    std::atomic<int> asked = 0;
    on_request_ = [&](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (effect_of(request) != "uncordon") {
            return std::nullopt;
        }
        ++asked;
        return FakeApi::refuse(403, "a policy says no");
    };
    node::OwnNode(client_, "server-1").cordon("server-plan", {});
    start();
    ASSERT_TRUE(says("Idle", "no Plans"));
    add_plan({{"concurrency", 0}});
    ASSERT_TRUE(says("Paused", "concurrency"));
    EXPECT_EQ(asked, 1);
    clock_.advance(std::chrono::minutes(1));
    api_.remove(kPlans + std::string("server-plan"));
    EXPECT_TRUE(api_.wait_until([&] { return asked == 2; }));
}

TEST_F(NodeLoopTest, AnnouncesItselfOnItsNodeOnce) {
    start();
    ASSERT_TRUE(api_.wait_until([this] {
        const auto annotations = kube::annotations_of(api_.get(kNode));
        const auto said = annotations.find(plan::kAgent);
        return said != annotations.end() && said->second.starts_with(KUA_VERSION ", since 2026-");
    }));
    ASSERT_TRUE(says("Idle", "no Plans"));
    api_.edit(kNode, {{"metadata", {{"labels", {{"some", "label"}}}}}});
    add_plan({{"nodeSelector", {{"matchLabels", {{"no", "such"}}}}}});
    ASSERT_TRUE(says("Idle", "nothing to do"));
    finish();
    EXPECT_EQ(std::ranges::count(effects_, "-: annotate"), 1);
}

TEST_F(NodeLoopTest, WaitsForAJobOfSucs) {
    api_.put(kPod, {{"metadata",
                     {{"name", "apply-server-plan"},
                      {"namespace", "system-upgrade"},
                      {"labels", {{"upgrade.cattle.io/plan", "server-plan"}}}}},
                    {"spec", {{"nodeName", "server-1"}}},
                    {"status", {{"phase", "Running"}}}});
    add_plan();
    start();
    ASSERT_TRUE(says("Waiting",
                     "a Job of system-upgrade-controller is at work on this node: "
                     "system-upgrade/apply-server-plan (Plan server-plan)"));
    EXPECT_EQ(source_->fetches, 0);
    api_.edit(kPod, {{"status", {{"phase", "Succeeded"}}}});
    clock_.advance(std::chrono::minutes(1));
    api_.wait_until([this] { return loop_.load() != nullptr; });
    loop_.load()->try_again();
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, TriesAgainWhenItsFailedSlotIsReleased) {
    new_does_not_start_ = true;
    add_plan();
    start();
    ASSERT_TRUE(reports("Failed"));
    new_does_not_start_ = false;
    api_.edit(kLock, {{"data", {{"server-plan.server-1", nullptr}}}});
    ASSERT_TRUE(becomes_upgraded());
    finish();
    EXPECT_EQ(units_.restarted.size(), 3U) << "forward and back, and forward again";
    EXPECT_EQ(binary(), kNew);
    EXPECT_FALSE(cordoned());
}

TEST_F(NodeLoopTest, RemovesItsReportWhenThePlanIsGone) {
    add_plan({{"version", "v1.29.9+k3s1"}});
    start();
    ASSERT_TRUE(reports("Blocked"));
    api_.remove(kPlans + std::string("server-plan"));
    EXPECT_TRUE(api_.wait_until([this] { return !slot(); }));
}

TEST_F(NodeLoopTest, WaitsForThePlanThatPrepareNames) {
    api_.edit(kNode,
              {{"metadata", {{"labels", {{"node-role.kubernetes.io/control-plane", nullptr}}}}}});
    units_.units.clear();
    units_.add("k3s-agent.service", {(folder_ / "k3s").string(), "agent"});
    const auto server = [](const char* version) {
        return Json{{"metadata",
                     {{"name", "server-2"},
                      {"labels", {{"node-role.kubernetes.io/control-plane", "true"}}}}},
                    {"status", {{"nodeInfo", {{"kubeletVersion", version}}}}}};
    };
    api_.put("/api/v1/nodes/server-2", server(kNewVersion));
    api_.put(kPlans + std::string("other"),
             {{"metadata", {{"name", "other"}, {"namespace", "system-upgrade"}}},
              {"status", {{"applying", {"server-2"}}}}});
    add_plan({{"prepare", {{"image", "rancher/k3s-upgrade"}, {"args", {"prepare", "other"}}}}});
    start();
    ASSERT_TRUE(api_.wait_until([this] {
        for (const auto& request : api_.requests()) {
            if (request.text() == std::string("GET ") + kNode) {
                return true;
            }
        }
        return false;
    }));
    EXPECT_EQ(label(), "");
    api_.edit(kPlans + std::string("other"), {{"status", {{"applying", nullptr}}}});
    EXPECT_TRUE(becomes_upgraded());
}

TEST_F(NodeLoopTest, RepairsFirstWhatTheJournalTellsOf) {
    prepare();
    auto record = new_record();
    record.step = "cordon";
    journal_.begin(record);
    node::OwnNode(client_, "server-1").cordon("server-plan", {});
    start();
    EXPECT_TRUE(api_.wait_until([this] { return !slot() && !cordoned(); }));
    finish();
    expect_as_it_was();
}

TEST_F(NodeLoopTest, BringsTheNodeBackWhoseJournalNobodyCanRead) {
    for (const auto* text : {"", "{", "null", R"({"format":99,"step":"swap","plan":"p"})"}) {
        SCOPED_TRACE(text);
        test::write_text(places_.next, "half of a binary");
        finder_.remember(finder_.find());
        units_.units.at("k3s.service").active_state = "inactive";
        units_.on_wait_settled = [this](const std::string& name) {
            units_.units.at(name).active_state = "active";
        };
        node::OwnNode(client_, "server-1").cordon("server-plan", {});
        take_slot();
        test::write_text(journal_.path(), text);
        start();
        EXPECT_TRUE(api_.wait_until([this] { return !slot() && !cordoned(); }));
        EXPECT_TRUE(says("Idle", "no Plans"));
        finish();
        expect_as_it_was();
        EXPECT_EQ(test::read_text(folder_ / "journal.json.broken"), text);
        EXPECT_EQ(std::exchange(units_.restarted, {}), std::vector<std::string>{"k3s.service"});
    }
}

TEST_F(NodeLoopTest, LiftsACordonOfItsOwnThatNoJournalTellsOf) {
    node::OwnNode(client_, "server-1").cordon("server-plan", {});
    start();
    EXPECT_TRUE(api_.wait_until([this] { return !cordoned(); }));
}

TEST_F(NodeLoopTest, LeavesACordonOfSomebodyElse) {
    api_.edit(kNode, {{"spec", {{"unschedulable", true}}}});
    add_plan();
    start();
    EXPECT_TRUE(becomes_upgraded());
    EXPECT_TRUE(cordoned());
}

class LiftedCordonTest : public NodeLoopTest {
  protected:
    /// Waits for the cordon, with pods that can't be evicted until `let_go_`, and lifts it.
    void uncordon_while_draining() {
        add_pod();
        on_request_ = [this](const FakeApi::Seen& request) -> std::optional<http::Response> {
            return request.path.ends_with("/eviction") && !let_go_
                       ? std::optional(http::Response{429, {}, "{}", FakeApi::kServer})
                       : std::nullopt;
        };
        add_plan({{"drain", Json::object()}});
        start();
        ASSERT_TRUE(api_.wait_until([this] { return cordoned(); }));
        api_.edit(kNode, {{"spec", {{"unschedulable", nullptr}}}});
    }

    /// The drain looks around when one of its pods changes.
    bool becomes(const std::function<bool()>& condition) {
        return api_.wait_until([&] {
            api_.edit(kPod,
                      {{"metadata", {{"annotations", {{"look", std::to_string(++looks_)}}}}}});
            return condition();
        });
    }

    std::atomic<bool> let_go_ = false;
    int looks_ = 0;
};

TEST_F(LiftedCordonTest, EndsTheUpgrade) {
    uncordon_while_draining();
    EXPECT_TRUE(becomes([this] { return result() == "Undone"; }));
    EXPECT_TRUE(says("Blocked", "somebody has uncordoned the node"));
    EXPECT_FALSE(cordoned());
    EXPECT_TRUE(units_.restarted.empty());
    EXPECT_EQ(binary(), kOld);
}

TEST_F(LiftedCordonTest, IsCordonedAgainWhereItIsToldSo) {
    lifted_ = Lifted::again;
    uncordon_while_draining();
    EXPECT_TRUE(becomes([this] { return cordoned(); }));
    let_go_ = true;
    clock_.advance(std::chrono::minutes(1));
    EXPECT_TRUE(becomes_upgraded());
    EXPECT_FALSE(cordoned());
}

}  // namespace
}  // namespace kua::upgrade
