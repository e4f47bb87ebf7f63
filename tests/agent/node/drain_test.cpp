// SPDX-License-Identifier: Apache-2.0
#include "agent/node/drain.hpp"

#include <gmock/gmock.h>

#include <atomic>
#include <latch>

#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"
#include "tests/fakes/fake_clock.hpp"

namespace kua::node {
namespace {

using plan::DrainSpec;
using std::chrono::minutes;
using std::chrono::seconds;
using test::error_of;
using test::FakeApi;
using test::FakeClock;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

Json pod(const Json& merge_patch = Json::object()) {
    Json made = {{"metadata",
                  {{"name", "web"},
                   {"namespace", "default"},
                   {"uid", "uid-web"},
                   {"ownerReferences",
                    Json::array({{{"kind", "ReplicaSet"}, {"name", "r"}, {"controller", true}}})}}},
                 {"spec", {{"nodeName", "server-1"}}},
                 {"status", {{"phase", "Running"}}}};
    made.merge_patch(merge_patch);
    return made;
}

Json owned_by(const std::string& kind, bool controller = true) {
    return {{"metadata",
             {{"ownerReferences",
               Json::array({{{"kind", kind}, {"name", "o"}, {"controller", controller}}})}}}};
}

Json merged(Json left, const Json& right) {
    left.merge_patch(right);
    return left;
}

const Json kUnmanaged = {{"metadata", {{"ownerReferences", nullptr}}}};
const Json kFinished = {{"status", {{"phase", "Succeeded"}}}};
const Json kFailedPod = {{"status", {{"phase", "Failed"}}}};
const Json kMirror = {{"metadata", {{"annotations", {{"kubernetes.io/config.mirror", "x"}}}}}};
const Json kEmptyDir = {
    {"spec",
     {{"volumes", Json::array({{{"name", "c"}, {"configMap", {{"name", "c"}}}},
                               {{"name", "d"}, {"emptyDir", Json::object()}}})}}}};
const Json kGoneDaemon = {
    {"metadata",
     {{"ownerReferences",
       Json::array({{{"kind", "DaemonSet"}, {"name", "gone"}, {"controller", true}}})}}}};
const Json kSucs = {{"metadata", {{"labels", {{"upgrade.cattle.io/controller", "suc"}}}}}};
const Json kTerminating = {{"metadata", {{"deletionTimestamp", "2026-01-01T00:00:00Z"}}}};

DrainSpec spec_with(const std::function<void(DrainSpec&)>& change) {
    DrainSpec spec;
    change(spec);
    return spec;
}

const WallTime kNow = parse_rfc3339("2026-01-01T00:01:00Z");

enum class Fate { leaves, stays, refuses };

TEST(SelectPods, FollowsKubectlsRules) {
    const DrainSpec usual;
    const auto force = spec_with([](DrainSpec& spec) { spec.force = true; });
    const auto strict = spec_with([](DrainSpec& spec) { spec.ignore_daemon_sets = false; });
    const auto keep_data = spec_with([](DrainSpec& spec) { spec.delete_emptydir_data = false; });
    const auto only_db = spec_with([](DrainSpec& spec) {
        spec.pod_selector = plan::Selector({{"matchLabels", {{"role", "db"}}}}, "f");
    });
    const auto skip_59 = spec_with([](DrainSpec& spec) { spec.skip_wait_for_delete_timeout = 59; });
    const auto skip_60 = spec_with([](DrainSpec& spec) { spec.skip_wait_for_delete_timeout = 60; });
    struct Case {
        std::string name;
        Json pod;
        DrainSpec spec;
        Fate expected;
    };
    const std::vector<Case> cases = {
        {"a ReplicaSet's", pod(), usual, Fate::leaves},
        {"a StatefulSet's", pod(owned_by("StatefulSet")), usual, Fate::leaves},
        {"a Job's", pod(owned_by("Job")), usual, Fate::leaves},
        {"one that is terminating", pod(kTerminating), usual, Fate::leaves},
        {"a mirror pod", pod(merged(kUnmanaged, kMirror)), usual, Fate::stays},
        {"a mirror pod, forced", pod(merged(kUnmanaged, kMirror)), force, Fate::stays},
        {"a DaemonSet's", pod(owned_by("DaemonSet")), usual, Fate::stays},
        {"a DaemonSet's, not to be ignored", pod(owned_by("DaemonSet")), strict, Fate::refuses},
        {"a DaemonSet's with an emptyDir", pod(merged(owned_by("DaemonSet"), kEmptyDir)), keep_data,
         Fate::stays},
        {"a DaemonSet's, finished", pod(merged(owned_by("DaemonSet"), kFinished)), strict,
         Fate::leaves},
        {"owned by a DaemonSet that does not control it", pod(owned_by("DaemonSet", false)), usual,
         Fate::refuses},
        {"an unmanaged one", pod(kUnmanaged), usual, Fate::refuses},
        {"an unmanaged one, forced", pod(kUnmanaged), force, Fate::leaves},
        {"an unmanaged one, finished", pod(merged(kUnmanaged, kFinished)), usual, Fate::leaves},
        {"an unmanaged one, failed", pod(merged(kUnmanaged, kFailedPod)), usual, Fate::leaves},
        {"with an emptyDir", pod(kEmptyDir), usual, Fate::leaves},
        {"with an emptyDir to be kept", pod(kEmptyDir), keep_data, Fate::refuses},
        {"with an emptyDir to be kept, finished", pod(merged(kEmptyDir, kFinished)), keep_data,
         Fate::leaves},
        {"with an emptyDir to be kept, forced", pod(kEmptyDir), spec_with([](DrainSpec& spec) {
             spec.delete_emptydir_data = false;
             spec.force = true;
         }),
         Fate::refuses},
        {"outside podSelector", pod(), only_db, Fate::stays},
        {"outside podSelector, unmanaged", pod(kUnmanaged), only_db, Fate::stays},
        {"inside podSelector", pod({{"metadata", {{"labels", {{"role", "db"}}}}}}), only_db,
         Fate::leaves},
        {"overdue for longer than is waited", pod(kTerminating), skip_59, Fate::stays},
        {"overdue for just that long", pod(kTerminating), skip_60, Fate::leaves},
        {"not terminating, with a limit to waiting", pod(), skip_59, Fate::leaves},
        {"overdue and unmanaged", pod(merged(kUnmanaged, kTerminating)), skip_59, Fate::stays},
        {"a DaemonSet's that is gone", pod(kGoneDaemon), usual, Fate::refuses},
        {"a DaemonSet's that is gone, forced", pod(kGoneDaemon), force, Fate::leaves},
        {"a DaemonSet's that is gone, finished", pod(merged(kGoneDaemon, kFinished)), usual,
         Fate::leaves},
        {"SUC's own", pod(kSucs), usual, Fate::stays},
        {"SUC's own, unmanaged", pod(merged(kUnmanaged, kSucs)), usual, Fate::stays},
        {"without a status", pod({{"status", nullptr}}), usual, Fate::leaves},
    };
    for (const auto& [name, one, spec, expected] : cases) {
        const auto selection = select_pods({one}, spec, kNow, {{"default", "gone"}});
        const auto fate = !selection.refused.empty() ? Fate::refuses
                          : selection.leave.empty()  ? Fate::stays
                                                     : Fate::leaves;
        EXPECT_EQ(fate, expected) << name;
        EXPECT_LE(selection.leave.size() + selection.refused.size(), 1U) << name;
    }
}

TEST(SelectPods, NamesEveryPodThatRefusesAndWhatToDo) {
    const auto selection =
        select_pods({pod(kUnmanaged), pod({{"metadata", {{"name", "ok"}, {"namespace", "x"}}}}),
                     merged(pod(kUnmanaged), {{"metadata", {{"name", "two"}}}})},
                    DrainSpec(), kNow);
    EXPECT_THAT(selection.refused,
                ElementsAre(AllOf(HasSubstr("default/web"), HasSubstr("spec.drain.force")),
                            HasSubstr("default/two")));
    ASSERT_EQ(selection.leave.size(), 1U);
    EXPECT_EQ(selection.leave[0].text(), "x/ok");
    EXPECT_EQ(selection.leave[0].uid, "uid-web");
}

class DrainTest : public ::testing::Test {
  protected:
    static std::string path(const std::string& name) {
        return "/api/v1/namespaces/default/pods/" + name;
    }

    void add(const std::string& name, const Json& merge_patch = Json::object()) {
        api_.put(path(name), merged(pod({{"metadata", {{"name", name}, {"uid", "uid-" + name}}}}),
                                    merge_patch));
    }

    Drained run(const DrainSpec& spec, Duration deadline = minutes(15)) {
        return Drain(client_, clock_, "server-1")
            .run(
                spec, deadline,
                [this](const PodsLeft& left) {
                    left_.push_back(left.count);
                    names_.push_back(left.names);
                    details_.push_back(left.problem);
                    if (on_progress_ && left.count > 0 && !api_.get(path("a")).is_null()) {
                        on_progress_();
                    }
                },
                stop_.get_token());
    }

    std::vector<std::string> write_texts() {
        std::vector<std::string> texts;
        for (const auto& write : api_.writes()) {
            texts.push_back(write.text());
        }
        return texts;
    }

    void answer_evictions(const http::Response& response, int times = 1'000'000) {
        // The hook is copied for each request.
        auto count = std::make_shared<int>(0);
        api_.before([=](const FakeApi::Seen& request) -> std::optional<http::Response> {
            if (request.method == "POST" && (*count)++ < times) {
                return response;
            }
            return std::nullopt;
        });
    }

    test::TempFolder folder_;
    FakeApi api_;
    FakeClock clock_;
    kube::Client client_{api_, test::write_kubeconfig(folder_),
                         [this] { return clock_.monotonic(); }};
    std::stop_source stop_;
    std::vector<std::size_t> left_;
    std::vector<std::string> details_;
    std::function<void()> on_progress_;
    std::vector<std::string> names_;
};

TEST_F(DrainTest, EvictsUntilNoneIsLeft) {
    add("a");
    add("b");
    add("daemon", owned_by("DaemonSet"));
    api_.put("/apis/apps/v1/namespaces/default/daemonsets/o", {{"metadata", {{"name", "o"}}}});
    api_.put(path("elsewhere"),
             pod({{"metadata", {{"name", "elsewhere"}}}, {"spec", {{"nodeName", "server-2"}}}}));
    run(DrainSpec());
    EXPECT_THAT(write_texts(), UnorderedElementsAre("POST " + path("a") + "/eviction",
                                                    "POST " + path("b") + "/eviction"));
    EXPECT_EQ(left_.back(), 0U);
    EXPECT_FALSE(api_.get(path("daemon")).is_null());
    EXPECT_FALSE(api_.get(path("elsewhere")).is_null());
    const auto eviction = api_.writes()[0].body;
    EXPECT_EQ(eviction.at("apiVersion"), "policy/v1");
    EXPECT_EQ(string_at(eviction, {"deleteOptions", "preconditions", "uid"}),
              "uid-" + string_at(eviction, {"metadata", "name"}));
    EXPECT_FALSE(eviction.at("deleteOptions").contains("gracePeriodSeconds"));
}

TEST_F(DrainTest, SaysWhatToDoWhereDaemonSetsMayNotBeRead) {
    add("daemon", owned_by("DaemonSet"));
    api_.before([](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.path.find("/daemonsets/") != std::string::npos) {
            return FakeApi::refuse(403, "not yours");
        }
        return std::nullopt;
    });
    const auto plan = [&] { return Drain(client_, clock_, "server-1").plan(DrainSpec(), {}); };
    const auto at_first = error_of(plan);
    EXPECT_EQ(at_first.kind(), ErrorKind::transient);
    EXPECT_TRUE(kube::is_passing(at_first.what())) << "a server that starts says the same";
    clock_.advance(kube::Refusals::kLasts);
    for (const auto& error : {error_of(plan), error_of([&] { run(DrainSpec()); })}) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        EXPECT_THAT(error.what(), AllOf(HasSubstr("not yours"), HasSubstr("apply deploy/")));
    }
}

TEST_F(DrainTest, SpeaksTheEvictionVersionThatTheServerNames) {
    add("a");
    api_.before([](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.path == "/api/v1") {
            return FakeApi::answer(200, {{"resources", Json::array({{{"name", "pods/eviction"},
                                                                     {"group", "policy"},
                                                                     {"version", "v1beta1"}}})}});
        }
        return std::nullopt;
    });
    run(DrainSpec());
    EXPECT_EQ(api_.writes()[0].body.at("apiVersion"), "policy/v1beta1");
}

TEST_F(DrainTest, DeletesWhereEvictionIsDisabledAndPassesTheGracePeriodOn) {
    add("a");
    DrainSpec spec;
    spec.disable_eviction = true;
    spec.grace_period = 0;
    run(spec);
    EXPECT_THAT(write_texts(), ElementsAre("DELETE " + path("a")));
    EXPECT_EQ(api_.writes()[0].body.at("gracePeriodSeconds"), 0);
}

TEST_F(DrainTest, RefusesBeforeAnythingIsEvicted) {
    add("a");
    add("lonely", kUnmanaged);
    const auto error = error_of([&] { run(DrainSpec()); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("default/lonely is managed by no controller"));
    EXPECT_THAT(write_texts(), IsEmpty());
}

TEST_F(DrainTest, PlansWithoutTouchingAnything) {
    add("a");
    add("lonely", kUnmanaged);
    const auto selection = Drain(client_, clock_, "server-1").plan(DrainSpec(), {});
    EXPECT_EQ(selection.leave.size(), 1U);
    EXPECT_EQ(selection.refused.size(), 1U);
    EXPECT_THAT(write_texts(), IsEmpty());
}

TEST_F(DrainTest, TriesAgainWhatADisruptionBudgetBlocks) {
    add("a");
    answer_evictions({429, {{"Retry-After", "0"}}, R"({"message":"would violate the budget"})", ""},
                     2);
    on_progress_ = [this] { clock_.advance(seconds(20)); };
    run(DrainSpec());
    EXPECT_EQ(write_texts().size(), 3U);
    EXPECT_THAT(details_, ::testing::Contains(HasSubstr("default/a: would violate the budget")));
}

TEST_F(DrainTest, BoundsHowOftenItTriesWhateverTheServerSays) {
    add("a");
    // "At once" must not become a storm, nor "next year" the end of trying.
    for (const char* after : {"0", "31536000"}) {
        add("a");
        answer_evictions({429, {{"Retry-After", after}}, R"({"message":"not now"})", ""}, 1);
        left_.clear();
        const auto before = write_texts().size();
        on_progress_ = [&] {
            EXPECT_LE(write_texts().size(), before + 1) << "at once, after " << after;
            clock_.advance(left_.size() < 3 ? Duration(10) : minutes(1));
            // News of the pod ends the pause in real time.
            api_.edit(path("a"),
                      {{"metadata", {{"labels", {{"n", std::to_string(left_.size())}}}}}});
        };
        run(DrainSpec());
        EXPECT_EQ(write_texts().size(), before + 2) << after;
    }
}

TEST_F(DrainTest, SaysWhatIsLeftWhenItsTimeIsOver) {
    add("a");
    answer_evictions({429, {{"Retry-After", "0"}}, R"({"message":"not now"})", ""});
    on_progress_ = [this] { clock_.advance(seconds(20)); };
    DrainSpec spec;
    spec.timeout = minutes(1);
    const auto drained = run(spec);
    EXPECT_EQ(drained.ended, Drained::By::timeout);
    EXPECT_EQ(names_.front(), "default/a");
    EXPECT_THAT(drained.left, AllOf(HasSubstr("not done after 1m"), HasSubstr("default/a"),
                                    HasSubstr("not now")));
}

TEST_F(DrainTest, EndsWithTheUpgradesDeadlineWhenThatIsSooner) {
    add("a");
    answer_evictions({429, {{"Retry-After", "0"}}, R"({"message":"not now"})", ""});
    on_progress_ = [this] { clock_.advance(seconds(20)); };
    DrainSpec spec;
    spec.timeout = minutes(10);
    const auto drained = run(spec, seconds(30));
    EXPECT_EQ(drained.ended, Drained::By::deadline);
    EXPECT_THAT(drained.left, AllOf(HasSubstr("not done after 30s"), HasSubstr("default/a")));
}

TEST_F(DrainTest, GivesUpWhenItMayNotEvict) {
    add("a");
    answer_evictions(FakeApi::refuse(403, "forbidden"));
    on_progress_ = [this] { clock_.advance(seconds(20)); };
    const auto drained = run(DrainSpec());
    EXPECT_EQ(drained.ended, Drained::By::refused);
    EXPECT_THAT(drained.left, HasSubstr("evicting default/a: 403 forbidden"));
    EXPECT_EQ(write_texts().size(), 3U);
    EXPECT_THAT(details_, ::testing::Contains(HasSubstr("403 forbidden")));
}

TEST_F(DrainTest, IsNotUndoneByOneRefusal) {
    add("a");
    answer_evictions(FakeApi::refuse(403, "a webhook says no"), 2);
    on_progress_ = [this] { clock_.advance(seconds(20)); };
    EXPECT_EQ(run(DrainSpec()).ended, Drained::By::no_pods);
    EXPECT_EQ(write_texts().size(), 3U);
}

/// NodeRestriction and, from 1.32 on, the node authorizer refuse a node what is about a pod that is
/// not bound to it, or not any more.
TEST_F(DrainTest, LooksAtAPodThatItMayNotEvictAndTakesOneThatMovedForGone) {
    for (const bool may_look : {true, false}) {
        left_.clear();
        add("a");
        add("b");
        bool moved = false;
        api_.before([&](const FakeApi::Seen& request) -> std::optional<http::Response> {
            if (request.path == path("a") + "/eviction") {
                moved = true;
                return FakeApi::refuse(403, "node is not bound to pod");
            }
            if (request.path == path("a") && moved) {
                return may_look
                           ? FakeApi::answer(200, merged(api_.get(path("a")),
                                                         {{"spec", {{"nodeName", "another"}}}}))
                           : FakeApi::refuse(403, "no relationship found");
            }
            return std::nullopt;
        });
        // The watch hears of it later than the eviction does.
        on_progress_ = [&] {
            clock_.advance(seconds(20));
            if (left_.size() > 5) {
                api_.remove(path("a"));
            }
        };
        EXPECT_EQ(run(DrainSpec()).ended, Drained::By::no_pods) << may_look;
    }
}

TEST_F(DrainTest, DoesNotTakeANewPodForTheOldOne) {
    add("a");
    answer_evictions(FakeApi::refuse(409, "uid differs"), 1);
    on_progress_ = [this] {
        clock_.advance(seconds(1));
        if (left_.size() == 1) {
            // A StatefulSet's pod came back under its name, with another UID.
            api_.edit(path("a"), {{"metadata", {{"uid", "uid-new"}}}});
        }
    };
    run(DrainSpec());
    // As with kubectl, the new one is none of this drain's.
    EXPECT_EQ(string_at(api_.get(path("a")), {"metadata", "uid"}), "uid-new");
    EXPECT_EQ(api_.writes().size(), 1U);
}

http::Response held_by_budget() {
    return FakeApi::answer(
        429, {{"message", "Cannot evict pod as it would violate the pod's disruption budget."},
              {"details",
               {{"causes", Json::array({{{"reason", "DisruptionBudget"},
                                         {"message",
                                          "The disruption budget guard needs 1 healthy "
                                          "pods and has 1 currently"}}})}}}});
}

http::Response several_budgets() {
    return FakeApi::refuse(500,
                           "This pod has more than one PodDisruptionBudget, which the eviction "
                           "subresource does not support.");
}

TEST_F(DrainTest, NamesTheBudgetThatHoldsAPod) {
    add("a");
    answer_evictions(held_by_budget(), 1);
    on_progress_ = [this] { clock_.advance(seconds(20)); };
    run(DrainSpec());
    EXPECT_THAT(details_, ::testing::Contains(HasSubstr("default/a: Cannot evict")));
    EXPECT_THAT(details_, ::testing::Contains(HasSubstr("disruption budget guard needs 1")));
}

TEST_F(DrainTest, SaysAtOnceThatNoWaitingHelpsAgainstSeveralBudgets) {
    add("a");
    answer_evictions(several_budgets());
    const auto error = error_of([&] { run(DrainSpec()); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("default/a: more than one PodDisruptionBudget"));
}

TEST_F(DrainTest, TriesAgainWhatTheServerStumbledOver) {
    add("a");
    answer_evictions(FakeApi::refuse(500, "etcd is away"), 2);
    on_progress_ = [this] { clock_.advance(seconds(20)); };
    run(DrainSpec());
    EXPECT_EQ(write_texts().size(), 3U);
}

TEST_F(DrainTest, WaitsForPodsOfATerminatingNamespace) {
    add("a");
    add("deleted", kTerminating);
    answer_evictions(FakeApi::answer(
        403, {{"message", "namespace default is being terminated"},
              {"details", {{"causes", Json::array({{{"reason", "NamespaceTerminating"}}})}}}}));
    on_progress_ = [this] {
        clock_.advance(seconds(20));
        if (left_.size() == 3) {
            api_.remove(path("a"));
            api_.remove(path("deleted"));
        } else {
            api_.edit(path("a"),
                      {{"metadata", {{"labels", {{"n", std::to_string(left_.size())}}}}}});
        }
    };
    run(DrainSpec());
    const auto asked = write_texts();
    EXPECT_EQ(std::count(asked.begin(), asked.end(), "POST " + path("a") + "/eviction"), 3);
    EXPECT_EQ(std::count(asked.begin(), asked.end(), "POST " + path("deleted") + "/eviction"), 1);
}

TEST_F(DrainTest, LeavesAlonePodsThatComeLater) {
    add("a");
    answer_evictions(held_by_budget(), 1);
    on_progress_ = [this] {
        clock_.advance(seconds(20));
        add("late", kUnmanaged);
    };
    run(DrainSpec());
    EXPECT_FALSE(api_.get(path("late")).is_null());
}

TEST_F(DrainTest, AsksForAFewPodsAtOnceAndForAllInTheEnd) {
    for (int number = 0; number < 30; ++number) {
        add("pod-" + std::to_string(number));
    }
    auto at_once = std::make_shared<std::atomic<int>>(0);
    auto most = std::make_shared<std::atomic<int>>(0);
    auto together = std::make_shared<std::latch>(8);
    auto first = std::make_shared<std::atomic<int>>(0);
    api_.before([=](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.method == "POST") {
            const auto now = ++*at_once;
            auto seen = most->load();
            while (now > seen && !most->compare_exchange_weak(seen, now)) {
            }
            if ((*first)++ < 8) {
                together->arrive_and_wait();  // Only eight at once get past this.
            }
            --*at_once;
        }
        return std::nullopt;
    });
    run(DrainSpec());
    EXPECT_EQ(write_texts().size(), 30U);
    EXPECT_EQ(most->load(), 8);
}

TEST_F(DrainTest, TriesOutWhatABudgetHolds) {
    add("a");
    add("b");
    Drain drain(client_, clock_, "server-1");
    const auto pods = drain.plan(DrainSpec(), {}).leave;
    EXPECT_THAT(drain.held_by_budgets(pods, {}), IsEmpty());
    answer_evictions(held_by_budget(), 1);
    EXPECT_THAT(drain.held_by_budgets(pods, {}),
                ElementsAre(AllOf(HasSubstr("default/"), HasSubstr("disruption budget guard"))));
    EXPECT_FALSE(api_.get(path("a")).is_null());
    EXPECT_FALSE(api_.get(path("b")).is_null());
    answer_evictions(several_budgets());
    EXPECT_EQ(error_of([&] { (void)drain.held_by_budgets(pods, {}); }).kind(), ErrorKind::invalid);
}

TEST_F(DrainTest, EndsWithWhatProgressThrows) {
    add("a");
    answer_evictions({429, {}, R"({"message":"not now"})", ""});
    on_progress_ = [] { throw Error(ErrorKind::lost_lease, "lost"); };
    EXPECT_EQ(error_of([&] { run(DrainSpec()); }).kind(), ErrorKind::lost_lease);
}

TEST_F(DrainTest, Stops) {
    add("a");
    answer_evictions({429, {}, R"({"message":"not now"})", ""});
    on_progress_ = [this] { stop_.request_stop(); };
    EXPECT_EQ(error_of([&] { run(DrainSpec()); }).kind(), ErrorKind::stopped);
}

}  // namespace
}  // namespace kua::node
