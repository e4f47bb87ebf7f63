// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/coordinator.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "agent/coordinator/conditions.hpp"
#include "agent/plan/marks.hpp"
#include "lib/log/log.hpp"
#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"
#include "tests/fakes/fake_clock.hpp"
#include "tests/lib/kube/fake_http_client.hpp"

namespace kua::coordinator {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using test::FakeApi;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr auto kLock = "/api/v1/namespaces/system-upgrade/configmaps/k3s-upgrade-agent";
constexpr auto kPlans = "/apis/upgrade.cattle.io/v1/namespaces/system-upgrade/plans/";
constexpr auto kEvents = "/api/v1/namespaces/system-upgrade/events";
constexpr auto kSuc =
    "/apis/coordination.k8s.io/v1/namespaces/system-upgrade/leases/system-upgrade-controller";
constexpr auto kStable = "https://update.example.org/stable";
// printf 'v1.31.4-k3s1system-upgrade' | sha224sum
constexpr auto kHash = "c5a1f5b354df7de6ba2ed731bd0fef1f6f33e1bd99fb004c987116a5";

class CoordinatorTest : public ::testing::Test {
  protected:
    CoordinatorTest() {
        api_.put(kLock, {{"metadata", {{"name", "k3s-upgrade-agent"}}}, {"data", Json::object()}});
        add_node("server-1", {{"node-role.kubernetes.io/control-plane", "true"}});
        log::set_sink([this](log::Level level, std::string_view message, const log::Fields&) {
            const std::lock_guard guard(mutex_);
            if (level >= log::Level::info) {
                logged_.emplace_back(message);
            }
        });
    }

    ~CoordinatorTest() override {
        finish();
        log::set_sink({});
    }

    static std::string node_path(const std::string& name) { return "/api/v1/nodes/" + name; }

    void add_node(const std::string& name, Json labels = Json::object()) {
        labels["kubernetes.io/hostname"] = name;
        api_.put(node_path(name),
                 {{"metadata",
                   {{"name", name},
                    {"labels", std::move(labels)},
                    {"annotations", {{plan::kAgent, "0.1.0, since 2026-01-01T00:00:00Z"}}}}},
                  {"status",
                   {{"nodeInfo", {{"kubeletVersion", "v1.30.4+k3s1"}}},
                    {"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})}}}});
    }

    void add_plan(const std::string& name, const Json& spec_patch = Json::object()) {
        Json spec = {{"concurrency", 1},
                     {"version", "v1.31.4+k3s1"},
                     {"serviceAccountName", "system-upgrade"},
                     {"nodeSelector", Json::object()},
                     {"upgrade", {{"image", "rancher/k3s-upgrade"}}}};
        spec.merge_patch(spec_patch);
        api_.put(kPlans + name, {{"metadata", {{"name", name}, {"namespace", "system-upgrade"}}},
                                 {"spec", std::move(spec)}});
    }

    void add_channel_plan(const std::string& name) {
        add_plan(name, {{"version", nullptr}, {"channel", kStable}});
    }

    void channel_says(const std::string& version) {
        web_.then_text(302, "", {{"Location", "/tag/" + version}});
    }

    void put_slot(const std::string& node, const std::string& phase, const std::string& plan = "p",
                  const std::string& detail = "why") {
        const lock::Slot slot{plan, node,   phase, kHash, "v1.31.4+k3s1", "t",   "t",
                              900,  detail, false, false, false,          false, ""};
        api_.edit(kLock, {{"data", {{lock::slot_key(plan, node), to_json(slot).dump()}}}});
    }

    void renew_suc(const std::string& time) {
        api_.put(
            kSuc,
            {{"metadata", {{"name", "system-upgrade-controller"}}},
             {"spec",
              {{"holderIdentity", "suc-0"}, {"leaseDurationSeconds", 45}, {"renewTime", time}}}});
    }

    void start() {
        thread_ = std::jthread([this](const std::stop_token& stop) {
            lock::Rival rival(client_, clock_, "system-upgrade");
            ClusterId cluster_id(client_, clock_);
            const lock::View view(client_, "system-upgrade", "k3s-upgrade-agent", "server-1",
                                  {&changed_});
            Coordinator coordinator({client_, web_, clock_, slots_, rival, cluster_id}, {}, view,
                                    changed_, [](bool) {});
            coordinator.run(stop);
        });
    }

    void finish() {
        if (thread_.joinable()) {
            thread_.request_stop();
            thread_.join();
        }
    }

    /// Time passes, and the coordinator wakes.
    void after(Duration duration) {
        clock_.advance(duration);
        changed_.ring();
    }

    [[nodiscard]] std::optional<lock::CoordinatorLease> lease() const {
        return lock::read_lock(api_.get(kLock)).coordinator;
    }

    [[nodiscard]] Json status(const std::string& plan) const {
        return api_.get(kPlans + plan).value("status", Json::object());
    }

    /// `Waiting: waiting for …`
    [[nodiscard]] std::string complete(const std::string& plan) const {
        const auto now = status(plan);
        const Conditions conditions(now, {});
        return conditions.field("Complete", "reason") + ": " +
               conditions.field("Complete", "message");
    }

    /// `JobFailed: Job failed on …` of every Event so far.
    [[nodiscard]] std::vector<std::string> events() const {
        std::vector<std::string> found;
        for (const auto& request : api_.requests()) {
            if (request.text() == std::string("POST ") + kEvents) {
                found.push_back(string_at(request.body, {"reason"}) + ": " +
                                string_at(request.body, {"message"}));
            }
        }
        return found;
    }

    [[nodiscard]] std::vector<std::string> logged() const {
        const std::lock_guard guard(mutex_);
        return logged_;
    }

    [[nodiscard]] long count_events(const std::string& reason) const {
        const auto all = events();
        return std::count_if(all.begin(), all.end(), [&](const std::string& event) {
            return event.starts_with(reason + ": ");
        });
    }

    void wait_until(const std::function<bool()>& condition) {
        EXPECT_TRUE(api_.wait_until(condition));
    }

    /// For what leaves no trace in the API that one could wait for.
    static void spin_until(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + seconds(20);
        while (!condition() && std::chrono::steady_clock::now() < end) {
            std::this_thread::yield();
        }
        EXPECT_TRUE(condition());
    }

    /// Waits until the coordinator has seen everything that was changed before: a renewal is the
    /// last thing of a turn that one can see, and the first of the next.
    void wait_for_renewals(int number = 2) {
        for (int i = 0; i < number; ++i) {
            const auto before = lease()->renewed;
            after(seconds(15));
            wait_until([&] { return lease() && lease()->renewed != before; });
        }
    }

    test::TempFolder folder_;
    FakeApi api_;
    test::FakeClock clock_;
    test::FakeHttpClient web_;
    kube::Client client_{api_, test::write_kubeconfig(folder_),
                         [this] { return clock_.monotonic(); }};
    lock::Slots slots_{client_, clock_, {"system-upgrade", "k3s-upgrade-agent", "server-1"}};
    Wakeup changed_;
    mutable std::mutex mutex_;
    std::vector<std::string> logged_;
    std::jthread thread_;
};

TEST_F(CoordinatorTest, WritesStatusAndEventsAndGivesTheRoleBack) {
    add_plan("p");
    add_node("agent-1");
    start();
    wait_until([&] { return count_events("Resolved") == 1; });
    EXPECT_EQ(status("p").at("latestVersion"), "v1.31.4-k3s1");
    EXPECT_EQ(status("p").at("latestHash"), kHash);
    EXPECT_EQ(complete("p"), "SyncJob: ");
    EXPECT_THAT(events(),
                ElementsAre("Validated: Plan is valid",
                            "Resolved: Resolved latest version from Spec.Version: v1.31.4-k3s1"));
    wait_until([&] { return lease()->nodes == 2; });
    put_slot("agent-1", "Draining");
    wait_until([&] { return count_events("SyncJob") == 1; });
    EXPECT_EQ(status("p").at("applying"), Json({"agent-1"}));
    api_.edit(node_path("agent-1"),
              {{"metadata", {{"labels", {{"plan.upgrade.cattle.io/p", kHash}}}}}});
    api_.edit(node_path("server-1"),
              {{"metadata", {{"labels", {{"plan.upgrade.cattle.io/p", kHash}}}}}});
    api_.edit(kLock, {{"data", {{"p.agent-1", nullptr}}}});
    wait_until([&] { return count_events("Complete") == 1; });
    wait_until([&] { return count_events("JobComplete") == 2; });
    EXPECT_THAT(events(), Contains("JobComplete: Job completed on Node agent-1"));
    EXPECT_FALSE(status("p").contains("applying"));
    finish();
    EXPECT_FALSE(lease());
}

TEST_F(CoordinatorTest, WritesAnewWhereADataStoreFromBeforeWasBroughtBack) {
    add_plan("p");
    PlanWriter writer(client_, clock_, "server-1");
    const auto before = plan::read_plan(api_.get(kPlans + std::string("p")));
    Verdict verdict;
    verdict.changed = true;
    verdict.status = {{"latestVersion", "v1.31.4-k3s1"}};
    ASSERT_TRUE(writer.has_news(before, verdict));
    writer.write(before, verdict, {});
    EXPECT_FALSE(writer.has_news(before, verdict)) << "the watch is behind";
    clock_.advance(std::chrono::minutes(1));
    EXPECT_TRUE(writer.has_news(before, verdict));
}

TEST_F(CoordinatorTest, IsNoneOnANodeThatIsNoServer) {
    add_node("server-1");
    add_plan("p");
    start();
    api_.edit(kLock, {{"data", {{"x", "y"}}}});
    changed_.ring();
    finish();
    EXPECT_THAT(api_.writes(), IsEmpty());
}

TEST_F(CoordinatorTest, CostsNothingButItsRenewalsWhileNothingHappens) {
    add_plan("p");
    start();
    wait_until([&] { return count_events("Resolved") == 1 && lease()->nodes == 1; });
    wait_for_renewals();
    const auto before = api_.requests().size();
    wait_for_renewals(4);
    const auto all = api_.requests();
    for (auto i = before; i < all.size(); ++i) {
        EXPECT_EQ(all[i].path, kLock) << all[i].text();
    }
}

TEST_F(CoordinatorTest, TakesOverAndKeepsWhatTheChannelSaidBeforeWhileItIsAway) {
    add_channel_plan("p");
    api_.edit(
        std::string(kPlans) + "p",
        {{"status",
          {{"latestVersion", "v1.31.4-k3s1"},
           {"latestHash", kHash},
           {"conditions",
            Json::array(
                {{{"type", "LatestResolved"}, {"status", "True"}, {"reason", "Channel"}}})}}}});
    const lock::CoordinatorLease dead{"server-2", "t", "t", 45, 3};
    api_.edit(kLock, {{"data", {{"coordinator", to_json(dead).dump()}}}});
    web_.then_fail();
    start();
    // Time passes only once the lease was seen.
    spin_until(
        [&] { return slots_.remaining(lock::kCoordinatorKey, seconds(45)) > Duration::zero(); });
    after(seconds(46));
    wait_until([&] { return count_events("ResolveFailed") == 1; });
    EXPECT_EQ(lease()->holder, "server-1");
    EXPECT_EQ(status("p").at("latestVersion"), "v1.31.4-k3s1");
    EXPECT_EQ(complete("p"), "SyncJob: ");
    EXPECT_EQ(Conditions(status("p"), {}).field("LatestResolved", "status"), "True");
}

TEST_F(CoordinatorTest, RenewsItsLeaseWhileAChannelHangs) {
    add_channel_plan("p");
    add_plan("q");
    start();
    wait_until([&] { return count_events("Resolved") == 1; });
    EXPECT_THAT(status("p"), IsEmpty()) << "nobody knows its version yet";
    spin_until([&] { return web_.requests().size() == 1; });
    wait_for_renewals(6);
    EXPECT_EQ(lease()->holder, "server-1");
    EXPECT_EQ(web_.requests().size(), 1U);
}

TEST_F(CoordinatorTest, ActsOnAChannelsChangeOnlyWhenItIsConfirmed) {
    add_channel_plan("p");
    channel_says("v1.31.4+k3s1");
    start();
    wait_until([&] { return status("p").value("latestVersion", "") == "v1.31.4-k3s1"; });
    channel_says("v1.31.5+k3s1");
    after(minutes(15));
    spin_until([&] { return web_.requests().size() == 2; });
    wait_for_renewals(1);
    EXPECT_EQ(status("p").at("latestVersion"), "v1.31.4-k3s1");
    channel_says("v1.31.5+k3s1");
    after(minutes(1));
    wait_until([&] { return status("p").value("latestVersion", "") == "v1.31.5-k3s1"; });
    EXPECT_EQ(web_.requests().size(), 3U);
}

TEST_F(CoordinatorTest, TellsAChannelWhichClusterAsksAsSucDoes) {
    api_.put("/api/v1/namespaces/kube-system",
             {{"metadata", {{"name", "kube-system"}, {"uid", "b7c4"}}}});
    add_channel_plan("p");
    channel_says("v1.31.4+k3s1");
    start();
    wait_until([&] { return status("p").value("latestVersion", "") == "v1.31.4-k3s1"; });
    EXPECT_EQ(web_.requests().front().headers.at("X-SUC-Cluster-ID"), "b7c4");
}

TEST_F(CoordinatorTest, AsksAChannelAllTheSameWhereItMayNotReadTheNamespace) {
    api_.before([](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.path != "/api/v1/namespaces/kube-system") {
            return std::nullopt;
        }
        return FakeApi::refuse(403, "namespaces \"kube-system\" is forbidden");
    });
    add_channel_plan("p");
    channel_says("v1.31.4+k3s1");
    start();
    wait_until([&] { return status("p").value("latestVersion", "") == "v1.31.4-k3s1"; });
    EXPECT_FALSE(web_.requests().front().headers.contains("X-SUC-Cluster-ID"));
    EXPECT_THAT(logged(), Not(Contains(HasSubstr("apply deploy/")))) << "nothing lasts yet";
}

TEST_F(CoordinatorTest, DropsAHolderWhoseNodeIsGone) {
    add_plan("p");
    add_node("agent-1");
    put_slot("agent-1", "Draining");
    put_slot("agent-2", "Failed");
    put_slot("agent-3", "Blocked", "deleted-plan");
    start();
    wait_until([&] { return count_events("HolderGone") == 1; });
    const auto lock = lock::read_lock(api_.get(kLock));
    EXPECT_EQ(lock.slots.size(), 1U);
    EXPECT_TRUE(lock.slots.contains("p.agent-1"));
    EXPECT_THAT(events(), Contains("HolderGone: agent-2 is not a Node of this cluster any more; "
                                   "its slot (Failed) was dropped from the lock"));
    EXPECT_THAT(logged(), Contains(HasSubstr("agent-3 is not a Node")));
    api_.remove(node_path("agent-1"));
    wait_until([&] { return count_events("HolderGone") == 2; });
    EXPECT_THAT(lock::read_lock(api_.get(kLock)).slots, IsEmpty());
}

TEST_F(CoordinatorTest, KeepsAHolderThatOnlyTheWatchDoesNotKnowYet) {
    add_plan("p");
    add_node("agent-1");
    put_slot("agent-1", "Draining");
    api_.before([](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.path != "/api/v1/nodes" || request.query.contains("fieldSelector")) {
            return std::nullopt;
        }
        return FakeApi::answer(
            200, {{"metadata", {{"resourceVersion", "1000000"}}}, {"items", Json::array()}});
    });
    start();
    wait_until([&] {
        const auto seen = api_.requests();
        return std::any_of(seen.begin(), seen.end(), [](const FakeApi::Seen& request) {
            return request.text() == "GET /api/v1/nodes/agent-1";
        });
    });
    wait_for_renewals();
    EXPECT_TRUE(lock::read_lock(api_.get(kLock)).slots.contains("p.agent-1"));
}

TEST_F(CoordinatorTest, TellsOnceOfAHolderThatFellSilentUntilItReturns) {
    add_plan("p");
    add_node("agent-1");
    put_slot("agent-1", "Draining");
    start();
    wait_until([&] { return status("p").contains("applying"); });
    after(minutes(15));
    wait_until([&] { return count_events("HolderSilent") == 1; });
    EXPECT_EQ(complete("p"), "Silent: agent-1 fell silent while Draining; its slot is free again");
    EXPECT_FALSE(status("p").contains("applying"));
    wait_for_renewals();
    EXPECT_EQ(count_events("HolderSilent"), 1);
    const lock::Slot back{"p", "agent-1", "Swapping", kHash, "v1",  "t",   "later",
                          900, "",        false,      false, false, false, ""};
    api_.edit(kLock, {{"data", {{"p.agent-1", to_json(back).dump()}}}});
    wait_until([&] { return complete("p") == "SyncJob: "; });
    EXPECT_EQ(status("p").at("applying"), Json({"agent-1"}));
}

TEST_F(CoordinatorTest, TellsOnceOfAFailure) {
    add_plan("p");
    add_node("agent-1");
    put_slot("agent-1", "Failed");
    start();
    wait_until([&] { return count_events("JobFailed") == 1; });
    EXPECT_THAT(events(), Contains("JobFailed: Job failed on Node agent-1: why"));
    add_node("agent-2");
    put_slot("agent-2", "Blocked");
    wait_until([&] { return complete("p") == "JobFailed: agent-1: why; agent-2: why"; });
    finish();
    start();
    wait_until([&] { return lease().has_value(); });
    put_slot("agent-2", "Failed", "p", "verify");
    wait_until([&] { return count_events("JobFailed") == 2; });
    EXPECT_THAT(events(), Contains("JobFailed: Job failed on Node agent-2: verify"));
}

TEST_F(CoordinatorTest, TellsOnceOfWhatItCannotReadInTheLock) {
    add_plan("p");
    api_.edit(kLock, {{"data", {{"p.agent-1", "{broken"}}}});
    start();
    wait_until([&] { return count_events("Resolved") == 1; });
    wait_for_renewals();
    const auto lines = logged();
    EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                            [](const std::string& line) {
                                return line.find("p.agent-1 holds something") != std::string::npos;
                            }),
              1);
}

TEST_F(CoordinatorTest, WaitsForServersAndSaysSo) {
    add_plan("server-plan",
             {{"nodeSelector",
               {{"matchExpressions", Json::array({{{"key", "node-role.kubernetes.io/control-plane"},
                                                   {"operator", "Exists"}}})}}}});
    add_plan("p", {{"nodeSelector", {{"matchLabels", {{"kubernetes.io/hostname", "agent-1"}}}}},
                   {"prepare",
                    {{"image", "rancher/k3s-upgrade"}, {"args", {"prepare", "server-plan"}}}}});
    add_node("agent-1");
    start();
    wait_until([&] {
        return complete("p") == "Waiting: waiting for 1 of 1 servers (server-1 at v1.30.4+k3s1)";
    });
    put_slot("server-1", "Draining", "server-plan");
    wait_until([&] {
        return complete("p") ==
               "Waiting: waiting for the Plan server-plan, which is being applied on server-1";
    });
    EXPECT_EQ(count_events("Waiting"), 1);
    api_.edit(node_path("server-1"),
              {{"status", {{"nodeInfo", {{"kubeletVersion", "v1.31.4+k3s1"}}}}}});
    api_.edit(kLock, {{"data", {{"server-plan.server-1", nullptr}}}});
    wait_until([&] { return complete("p") == "SyncJob: "; });
}

TEST_F(CoordinatorTest, TellsOfASlotThatNobodyTakes) {
    add_plan("p");
    start();
    wait_until([&] { return complete("p") == "SyncJob: "; });
    after(minutes(9));
    EXPECT_EQ(complete("p"), "SyncJob: ");
    after(minutes(2));
    wait_until([&] {
        return complete("p").find("a slot is free, and for minutes none of these has taken it: ") !=
               std::string::npos;
    });
    put_slot("server-1", "Draining");
    wait_until([&] { return complete("p") == "SyncJob: "; });
}

TEST_F(CoordinatorTest, WritesTheOtherPlansWhereOneIsRefused) {
    std::atomic<bool> refused = true;
    api_.before([&](const FakeApi::Seen& request) -> std::optional<http::Response> {
        return refused && request.path == kPlans + std::string("a/status")
                   ? std::optional(FakeApi::refuse(403, "a policy says no"))
                   : std::nullopt;
    });
    add_plan("a");
    add_plan("p");
    start();
    wait_until([&] { return complete("p") == "SyncJob: "; });
    after(seconds(1));
    const auto told = [this] {
        const auto lines = logged();
        return std::ranges::count_if(lines, [](const std::string& line) {
            return line.find("a policy says no") != std::string::npos;
        });
    };
    wait_until([&] { return told() == 1; });
    after(minutes(1));
    refused = false;
    after(minutes(1));
    wait_until([&] { return complete("a") == "SyncJob: "; });
    EXPECT_EQ(told(), 1);
}

TEST_F(CoordinatorTest, TellsOfAHolderThatFellSilentInANewTryAsOfAFailure) {
    lock::Slot slot;
    slot.plan = "p";
    slot.node = "server-1";
    slot.phase = "Draining";
    slot.hash = kHash;
    slot.ttl_seconds = 900;
    slot.retried = lock::Failure{"verify: not Ready", {}};
    add_plan("p");
    start();
    api_.edit(kLock, {{"data", {{"p.server-1", to_json(slot).dump()}}}});
    wait_until([&] { return status("p").contains("applying"); });
    after(minutes(16));
    wait_until([&] {
        return complete("p").starts_with(
                   "JobFailed: server-1: verify: not Ready; tried again, and "
                   "fell silent while Draining: ") &&
               complete("p").ends_with("release --node server-1 --force`");
    });
}

TEST_F(CoordinatorTest, SaysThatTwoPlansWaitForEachOther) {
    const auto prepare = [](const std::string& plan) {
        return Json{{"prepare", {{"image", "rancher/k3s-upgrade"}, {"args", {"prepare", plan}}}}};
    };
    add_plan("p", prepare("q"));
    add_plan("q", prepare("p"));
    start();
    wait_until([&] {
        return complete("p").find("the Plans p, q wait for each other") != std::string::npos &&
               complete("q").find("the Plans p, q wait for each other") != std::string::npos;
    });
}

TEST_F(CoordinatorTest, WaitsForItsWindowAndForAnotherExclusivePlan) {
    // The clock stands at 00:00 on a Thursday.
    const Json window = {{"days", {"thu"}}, {"startTime", "01:00"}, {"endTime", "02:00"}};
    add_plan("p", {{"exclusive", true}, {"window", window}});
    add_plan("q", {{"exclusive", true}});
    start();
    wait_until([&] {
        return complete("p").starts_with("Waiting: waiting for spec.window (") &&
               complete("p").ends_with(" to open at 2026-01-01T01:00:00Z") &&
               complete("q") == "SyncJob: " && count_events("Waiting") == 1;
    });
    EXPECT_THAT(events(), Contains(HasSubstr("Waiting: Waiting for start of Spec.Window")));
    lock::Slot slot;
    slot.plan = "q";
    slot.node = "server-1";
    slot.phase = "Draining";
    slot.hash = kHash;
    slot.exclusive = true;
    slot.ttl_seconds = 86400;
    api_.edit(kLock, {{"data", {{"q.server-1", to_json(slot).dump()}}}});
    wait_until([&] { return complete("p").ends_with("; waiting for exclusive Plan q"); });
    after(minutes(60));
    wait_until([&] { return complete("p") == "Waiting: waiting for exclusive Plan q"; });
    api_.edit(kLock, {{"data", {{"q.server-1", nullptr}}}});
    wait_until([&] { return complete("p") == "SyncJob: "; });
    after(minutes(61));
    wait_until([&] { return complete("p").starts_with("Waiting: waiting for spec.window ("); });
}

TEST_F(CoordinatorTest, WritesNothingWhileSystemUpgradeControllerIsAlive) {
    std::atomic<int> looks = 0;
    api_.after([&](const FakeApi::Seen& request) { looks += request.path == kSuc ? 1 : 0; });
    renew_suc("1");
    add_plan("p");
    add_plan("q");
    put_slot("agent-9", "Draining");
    start();
    // Whether it is alive is not known yet.
    wait_until([&] {
        const auto seen = api_.requests();
        return std::any_of(seen.begin(), seen.end(),
                           [](const FakeApi::Seen& request) { return request.path == kSuc; });
    });
    EXPECT_THAT(events(), IsEmpty());
    for (const char* time : {"2", "3", "4", "5"}) {
        renew_suc(time);
        wait_for_renewals(1);
    }
    wait_until([&] { return count_events("SystemUpgradeControllerAlive") == 2; });
    EXPECT_EQ(events().size(), 2U);
    EXPECT_THAT(status("p"), IsEmpty());
    EXPECT_THAT(status("q"), IsEmpty());
    EXPECT_TRUE(lock::read_lock(api_.get(kLock)).slots.contains("p.agent-9"));
    const auto lines = logged();
    EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                            [](const std::string& line) {
                                return line.find("this agent writes nothing meanwhile") !=
                                       std::string::npos;
                            }),
              1);
    api_.remove(kSuc);
    wait_for_renewals(4);
    wait_until([&] { return count_events("HolderGone") == 1; });
    EXPECT_EQ(status("p").at("latestHash"), kHash);
}

}  // namespace
}  // namespace kua::coordinator
