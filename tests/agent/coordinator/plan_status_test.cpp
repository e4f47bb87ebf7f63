// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/plan_status.hpp"

#include <gmock/gmock.h>

#include "agent/plan/hash.hpp"

namespace kua::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kLatest = "v1.31.4-k3s1";
// printf 'v1.31.4-k3s1system-upgrade' | sha224sum
constexpr auto kHash = "c5a1f5b354df7de6ba2ed731bd0fef1f6f33e1bd99fb004c987116a5";
const WallTime kNow = parse_rfc3339("2026-01-01T00:00:00Z");
const WallTime kLater = parse_rfc3339("2026-01-01T01:00:00Z");

Json plan_object(const Json& spec_patch = Json::object()) {
    Json spec = {{"concurrency", 1},
                 {"version", "v1.31.4+k3s1"},
                 {"serviceAccountName", "system-upgrade"},
                 {"nodeSelector", {{"matchLabels", {{"role", "db"}}}}},
                 {"upgrade", {{"image", "rancher/k3s-upgrade"}}}};
    if (!spec_patch.is_null()) {
        spec.merge_patch(spec_patch);
    }
    return {{"metadata", {{"name", "p"}}}, {"spec", std::move(spec)}};
}

NodeView node(const std::string& name, const std::string& label = "") {
    NodeView view{
        name, {{"role", "db"}, {"kubernetes.io/hostname", name}}, "v1.30.4+k3s1", true, false};
    view.announced = true;
    if (!label.empty()) {
        view.labels["plan.upgrade.cattle.io/p"] = label;
    }
    return view;
}

lock::Slot slot(const std::string& name, const std::string& phase, const std::string& detail = "",
                const std::string& hash = kHash) {
    return {"p", name,   phase, hash,  "v1.31.4+k3s1", "t",   "t",
            900, detail, false, false, false,          false, ""};
}

const Json* condition(const Json& status, const std::string& type) {
    for (const auto& each : status.at("conditions")) {
        if (each.at("type") == type) {
            return &each;
        }
    }
    return nullptr;
}

/// `True Complete`, `False JobFailed: server-1: …`
std::string said(const Json& status, const std::string& type) {
    const auto* found = condition(status, type);
    if (found == nullptr) {
        return "none";
    }
    auto text = string_at(*found, {"status"}) + " " + string_at(*found, {"reason"});
    const auto message = string_at(*found, {"message"});
    return message.empty() ? text : text + ": " + message;
}

Verdict judge_object(const Json& object, const std::vector<NodeView>& nodes,
                     const std::vector<lock::Slot>& slots, WallTime now = kNow) {
    const auto plan = plan::read_plan(object);
    Situation situation;
    for (const auto& slot : slots) {
        situation.holders.push_back({slot});
    }
    return judge(plan, resolve_from_spec(plan).value(), nodes, situation, now);
}

TEST(ResolveFromSpec, TakesTheVersionAsSucDoes) {
    const auto resolved = [](const Json& patch) {
        return resolve_from_spec(plan::read_plan(plan_object(patch)));
    };
    EXPECT_EQ(resolved({}).value().latest_version, kLatest);
    EXPECT_EQ(resolved({}).value().reason, "Version");
    EXPECT_EQ(resolved({{"version", "1.31.4+k3s1"}}).value().latest_version, "1.31.4-k3s1");
    EXPECT_FALSE(resolved({{"version", nullptr}, {"channel", "https://x"}}));
    EXPECT_EQ(resolved({{"channel", "https://x"}}).value().latest_version, kLatest);
    EXPECT_EQ(resolved({{"version", nullptr}}).value().reason, "Error");
    EXPECT_EQ(resolved({{"version", nullptr}}).value().latest_version, "");
}

TEST(Judge, SaysThatAPlanSelectsNoNode) {
    const auto object = plan_object({{"nodeSelector", {{"matchLabels", {{"role", "nothing"}}}}}});
    const auto verdict = judge_object(object, {node("a")}, {});
    EXPECT_EQ(said(verdict.status, "Complete"), "True Complete: no node matches spec.nodeSelector");
    EXPECT_THAT(verdict.notices, ::testing::Contains(Notice{"Normal", "Complete",
                                                            "no node matches spec.nodeSelector"}));
}

TEST(Judge, SaysHowFarAPlanIs) {
    struct Case {
        std::string name;
        Json spec;
        std::vector<NodeView> nodes;
        std::vector<lock::Slot> slots;
        std::string complete;
        Json applying;
    };
    const std::vector<Case> cases = {
        {"no nodes", {}, {}, {}, "True Complete: no node matches spec.nodeSelector", nullptr},
        {"all done", {}, {node("a", kHash), node("b", kHash)}, {}, "True Complete", nullptr},
        {"one to go", {}, {node("a", kHash), node("b")}, {}, "False SyncJob", nullptr},
        {"one at an older hash", {}, {node("a", "old")}, {}, "False SyncJob", nullptr},
        {"one is disabled",
         {},
         {node("a", kHash), node("b", "disabled")},
         {},
         "True Complete",
         nullptr},
        {"others are not meant",
         {},
         {node("a", kHash),
          {"b", {{"role", "web"}, {"kubernetes.io/hostname", "b"}}, "", true, false}},
         {},
         "True Complete",
         nullptr},
        {"two at work",
         {},
         {node("a"), node("b"), node("c")},
         {slot("c", "Draining"), slot("a", "Acquired")},
         "False SyncJob",
         {"a", "c"}},
        {"labelled, but the slot is not back",
         {},
         {node("a", kHash)},
         {slot("a", "Releasing")},
         "False SyncJob",
         {"a"}},
        {"one failed",
         {},
         {node("a"), node("b")},
         {slot("a", "Failed", "verify: not Ready")},
         "False JobFailed: a: verify: not Ready",
         {"a"}},
        {"one failed, another is blocked",
         {},
         {node("a"), node("b")},
         {slot("a", "Failed", "x"), slot("b", "Blocked", "y")},
         "False JobFailed: a: x; b: y",
         {"a"}},
        {"one is blocked",
         {},
         {node("a")},
         {slot("a", "Blocked", "404")},
         "False Blocked: a: 404",
         nullptr},
        {"one was blocked, about an older hash",
         {},
         {node("a")},
         {slot("a", "Blocked", "404", "old")},
         "False SyncJob",
         nullptr},
        {"one was blocked, and is done",
         {},
         {node("a", kHash)},
         {slot("a", "Blocked", "404")},
         "True Complete",
         nullptr},
        {"many are blocked",
         {},
         {node("a"), node("b"), node("c"), node("d"), node("e")},
         {slot("a", "Blocked", "x"), slot("b", "Blocked", "x"), slot("c", "Blocked", "x"),
          slot("d", "Blocked", "x"), slot("e", "Blocked", "x")},
         "False Blocked: a: x, b: x, c: x, and 2 more",
         nullptr},
        {"paused",
         {{"concurrency", 0}},
         {node("a"), node("b")},
         {},
         "False Paused: paused: spec.concurrency is 0; waiting are a, b",
         nullptr},
        {"paused, and done",
         {{"concurrency", 0}},
         {node("a", kHash)},
         {},
         "True Complete",
         nullptr},
        {"paused while one is at work, nobody waits",
         {{"concurrency", 0}},
         {node("a", kHash)},
         {slot("a", "Releasing")},
         "False SyncJob",
         {"a"}},
    };
    for (const auto& [name, spec, nodes, slots, complete, applying] : cases) {
        const auto verdict = judge_object(plan_object(spec), nodes, slots);
        EXPECT_EQ(said(verdict.status, "Complete"), complete) << name;
        EXPECT_EQ(said(verdict.status, "Validated"), "True PlanIsValid") << name;
        EXPECT_EQ(said(verdict.status, "LatestResolved"), "True Version") << name;
        EXPECT_EQ(verdict.status.value("applying", Json()), applying) << name;
        EXPECT_EQ(verdict.status.at("latestVersion"), kLatest) << name;
        EXPECT_EQ(verdict.status.at("latestHash"), kHash) << name;
        EXPECT_TRUE(verdict.changed) << name;
    }
}

TEST(Judge, SaysWhatIsWrongWithAPlan) {
    struct Case {
        std::string name;
        Json spec;
        std::string validated;
        std::string resolved;
    };
    for (const auto& [name, spec, validated, resolved] : std::vector<Case>{
             {"somebody else's",
              {{"upgrade", {{"image", "bash"}}}},
              "False Unsupported: spec.upgrade.image",
              "True Version"},
             {"invalid",
              {{"postCompleteDelay", "-1s"}},
              "False Error: spec.postCompleteDelay",
              "True Version"},
             {"no version",
              {{"version", nullptr}},
              "True PlanIsValid",
              "False Error: cannot resolve plan: missing channel and version"},
         }) {
        const auto verdict = judge_object(plan_object(spec), {node("a")}, {});
        EXPECT_THAT(said(verdict.status, "Validated"), HasSubstr(validated)) << name;
        EXPECT_THAT(said(verdict.status, "LatestResolved"), HasSubstr(resolved)) << name;
        EXPECT_THAT(said(verdict.status, "Complete"), HasSubstr("False NotReady")) << name;
        EXPECT_FALSE(verdict.status.contains("applying")) << name;
        EXPECT_FALSE(verdict.status.contains("latestHash")) << name;
    }
}

TEST(Judge, ChangesNothingWhenNothingIsNew) {
    for (const auto& slots : std::vector<std::vector<lock::Slot>>{{},
                                                                  {slot("a", "Draining")},
                                                                  {slot("a", "Failed", "x")},
                                                                  {slot("a", "Blocked", "x")}}) {
        auto object = plan_object();
        const auto first = judge_object(object, {node("a")}, slots);
        object["status"] = first.status;
        const auto second = judge_object(object, {node("a")}, slots, kLater);
        EXPECT_FALSE(second.changed);
        EXPECT_EQ(second.status, first.status) << "times stay as well";
        EXPECT_THAT(second.notices, IsEmpty());
    }
}

TEST(Judge, ChangesTimesOnlyWhereSomethingElseChanges) {
    auto object = plan_object();
    object["status"] = judge_object(object, {node("a")}, {}).status;
    const auto blocked = judge_object(object, {node("a")}, {slot("a", "Blocked", "x")}, kLater);
    EXPECT_TRUE(blocked.changed);
    const auto* complete = condition(blocked.status, "Complete");
    EXPECT_EQ(complete->at("lastUpdateTime"), "2026-01-01T01:00:00Z");
    EXPECT_EQ(complete->at("lastTransitionTime"), "2026-01-01T00:00:00Z") << "False stays False";
    EXPECT_EQ(condition(blocked.status, "Validated")->at("lastUpdateTime"), "2026-01-01T00:00:00Z");
    object["status"] = blocked.status;
    const auto done = judge_object(object, {node("a", kHash)}, {}, kLater);
    EXPECT_EQ(condition(done.status, "Complete")->at("lastTransitionTime"), "2026-01-01T01:00:00Z");
    EXPECT_FALSE(condition(done.status, "Complete")->contains("message"));
}

TEST(Judge, KeepsWhatIsNotItsOwn) {
    auto object = plan_object();
    object["status"] = {{"other", 7},
                        {"applying", {"x"}},
                        {"conditions", Json::array({{{"type", "Theirs"}, {"status", "True"}}})}};
    const auto verdict = judge_object(object, {node("a")}, {});
    EXPECT_EQ(verdict.status.at("other"), 7);
    EXPECT_EQ(said(verdict.status, "Theirs"), "True ");
    EXPECT_FALSE(verdict.status.contains("applying"));
}

TEST(Judge, KeepsWhatWasResolvedWhileAChannelIsAway) {
    auto object = plan_object({{"version", nullptr}, {"channel", "https://x"}});
    object["status"] = {{"latestVersion", kLatest}, {"latestHash", kHash}};
    const auto verdict =
        judge(plan::read_plan(object), {"", "Error", "channel is away"}, {node("a")}, {}, kNow);
    EXPECT_EQ(verdict.status.at("latestVersion"), kLatest);
    EXPECT_EQ(verdict.status.at("latestHash"), kHash);
    EXPECT_EQ(said(verdict.status, "LatestResolved"), "False Error: channel is away");
}

TEST(Judge, SurvivesAStatusThatIsNone) {
    for (const Json& status : std::vector<Json>{nullptr,
                                                "text",
                                                Json::array({1}),
                                                {{"conditions", "text"}},
                                                {{"conditions", {1, "x", nullptr}}}}) {
        auto object = plan_object();
        object["status"] = status;
        EXPECT_NO_THROW(judge_object(object, {node("a")}, {})) << status;
    }
}

std::vector<std::string> reasons(const Verdict& verdict) {
    std::vector<std::string> found;
    for (const auto& notice : verdict.notices) {
        found.push_back(notice.type + " " + notice.reason);
    }
    return found;
}

TEST(Judge, GivesNoticeOfTransitionsOnly) {
    auto object = plan_object();
    const auto step = [&](const std::vector<NodeView>& nodes,
                          const std::vector<lock::Slot>& slots) {
        const auto verdict = judge_object(object, nodes, slots);
        object["status"] = verdict.status;
        return verdict;
    };
    EXPECT_THAT(reasons(step({node("a")}, {})), ElementsAre("Normal Validated", "Normal Resolved"));
    EXPECT_THAT(reasons(step({node("a")}, {})), IsEmpty());
    const auto synced = step({node("a"), node("b")}, {slot("a", "Acquired")});
    EXPECT_THAT(reasons(synced), ElementsAre("Normal SyncJob"));
    EXPECT_EQ(synced.notices[0].message,
              std::string("Jobs synced for version v1.31.4-k3s1 on Nodes a. Hash: ") + kHash);
    EXPECT_THAT(reasons(step({node("a"), node("b")}, {slot("a", "Draining")})), IsEmpty());
    EXPECT_THAT(reasons(step({node("a", kHash), node("b")}, {})), IsEmpty());
    EXPECT_THAT(reasons(step({node("a", kHash), node("b")}, {})), IsEmpty());
    EXPECT_THAT(reasons(step({node("a", kHash), node("b")}, {slot("b", "Failed", "x")})),
                ElementsAre("Normal SyncJob"));
    EXPECT_THAT(reasons(step({node("a", kHash), node("b")}, {slot("b", "Failed", "x")})),
                IsEmpty());
    const auto complete = step({node("a", kHash), node("b", kHash)}, {});
    EXPECT_THAT(reasons(complete), ElementsAre("Normal Complete"));
    EXPECT_EQ(complete.notices[0].message,
              std::string("Jobs complete for version v1.31.4-k3s1. Hash: ") + kHash);
    EXPECT_THAT(reasons(step({node("a", kHash), node("b", kHash)}, {})), IsEmpty());
    object["spec"]["version"] = "v1.31.5+k3s1";
    EXPECT_THAT(reasons(step({node("a", kHash)}, {})), ElementsAre("Normal Resolved"));
    object["spec"]["postCompleteDelay"] = "-1s";
    const auto invalid = step({node("a", kHash)}, {});
    ASSERT_THAT(reasons(invalid), ElementsAre("Warning ValidateFailed"));
    EXPECT_THAT(invalid.notices[0].message,
                HasSubstr("Failed to validate plan: spec.postCompleteDelay"));
    EXPECT_THAT(reasons(step({node("a", kHash)}, {})), IsEmpty());
}

TEST(Judge, GivesNoticeOnceOfWhatLasts) {
    const auto plan = plan::read_plan(plan_object());
    Situation situation;
    situation.holders = {{slot("a", "Failed", "verify: not Ready")}, {slot("b", "Draining"), true}};
    const auto first =
        judge(plan, *resolve_from_spec(plan), {node("a"), node("b")}, situation, kNow);
    ASSERT_EQ(first.lasting.size(), 2U);
    EXPECT_EQ(first.lasting[0].notice,
              (Notice{"Warning", "JobFailed", "Job failed on Node a: verify: not Ready"}));
    EXPECT_EQ(first.lasting[1].notice,
              (Notice{"Warning", "HolderSilent",
                      "b fell silent while Draining; its slot is free again"}));
    EXPECT_FALSE(first.lasting[0].said || first.lasting[1].said);
    auto object = plan_object();
    object["status"] = first.status;
    const auto second = judge(plan::read_plan(object), *resolve_from_spec(plan),
                              {node("a"), node("b")}, situation, kLater);
    EXPECT_TRUE(second.lasting[0].said && second.lasting[1].said) << "by the coordinator before";
    EXPECT_EQ(second.lasting[0].key, first.lasting[0].key);
    situation.holders[1].slot.renewed = "later";
    const auto third = judge(plan::read_plan(object), *resolve_from_spec(plan),
                             {node("a"), node("b")}, situation, kLater);
    EXPECT_NE(third.lasting[1].key, first.lasting[1].key) << "it had returned meanwhile";
}

TEST(Judge, TellsOfNodesThatAreDone) {
    auto object = plan_object();
    object["status"] = {{"applying", {"a"}}};
    const auto verdict = judge_object(object, {node("a", kHash), node("b", kHash), node("c")}, {});
    ASSERT_EQ(verdict.lasting.size(), 2U);
    EXPECT_EQ(verdict.lasting[0].notice,
              (Notice{"Normal", "JobComplete", "Job completed on Node a"}));
    EXPECT_FALSE(verdict.lasting[0].said) << "it was at work";
    EXPECT_TRUE(verdict.lasting[1].said) << "done long ago";
    EXPECT_NE(verdict.lasting[0].key, verdict.lasting[1].key);
}

TEST(Judge, TellsOfAChannelThatIsAwayWhateverItSaidBefore) {
    const auto object = plan_object({{"version", nullptr}, {"channel", "https://x"}});
    const auto plan = plan::read_plan(object);
    const auto known = judge(plan, {kLatest, "Channel", "nobody answers"}, {node("a")}, {}, kNow);
    EXPECT_EQ(said(known.status, "LatestResolved"), "True Channel");
    ASSERT_EQ(known.lasting.size(), 1U);
    EXPECT_EQ(known.lasting[0].notice,
              (Notice{"Warning", "ResolveFailed",
                      "Failed to resolve latest version from Spec.Channel: nobody answers"}));
    const auto unknown = judge(plan, {"", "Error", "nobody answers"}, {node("a")}, {}, kNow);
    EXPECT_THAT(reasons(unknown), ElementsAre("Normal Validated", "Warning ResolveFailed"));
    EXPECT_EQ(unknown.notices[1].message, known.lasting[0].notice.message);
    EXPECT_THAT(unknown.lasting, IsEmpty());
}

TEST(Judge, LeavesTheVersionOfSomebodyElsesPlanAloneWhenItHasAChannel) {
    const auto plan = plan::read_plan(plan_object(
        {{"version", nullptr}, {"channel", "https://x"}, {"upgrade", {{"image", "bash"}}}}));
    const auto verdict = judge(plan, {}, {node("a")}, {}, kNow);
    EXPECT_EQ(said(verdict.status, "LatestResolved"), "none");
    EXPECT_THAT(said(verdict.status, "Validated"), HasSubstr("False Unsupported"));
    EXPECT_THAT(reasons(verdict), ElementsAre("Warning ValidateFailed"));
}

TEST(Judge, GivesSucsNoticeWhenAPlanBeginsToWait) {
    auto object = plan_object();
    const auto step = [&](const Situation& situation) {
        const auto plan = plan::read_plan(object);
        const auto verdict = judge(plan, *resolve_from_spec(plan), {node("a")}, situation, kNow);
        object["status"] = verdict.status;
        return verdict;
    };
    Situation shut;
    shut.shut = ShutWindow{"sa 08:00-16:00 UTC", kLater};
    const auto first = step(shut);
    EXPECT_THAT(reasons(first),
                ElementsAre("Normal Validated", "Normal Resolved", "Normal Waiting"));
    EXPECT_EQ(first.notices[2].message,
              std::string("Waiting for start of Spec.Window to sync Jobs for version "
                          "v1.31.4-k3s1. Hash: ") +
                  kHash);
    EXPECT_THAT(reasons(step(shut)), IsEmpty());
    EXPECT_THAT(reasons(step({})), IsEmpty());
    Situation other;
    other.exclusive = {"x"};
    const auto second = step(other);
    EXPECT_THAT(reasons(second), ElementsAre("Normal Waiting"));
    EXPECT_EQ(second.notices[0].message, "waiting for exclusive Plan x");
}

TEST(Judge, BoundsItsMessage) {
    const std::string long_text(5000, 'x');
    const auto verdict =
        judge_object(plan_object(), {node("a"), node("b")},
                     {slot("a", "Failed", long_text), slot("b", "Blocked", long_text)});
    EXPECT_LT(said(verdict.status, "Complete").size(), 1100U);
}

TEST(ResolvedBefore, TakesOnlyAChannelsWord) {
    const auto before = [](const Json& status) {
        auto object = plan_object({{"version", nullptr}, {"channel", "https://x"}});
        object["status"] = status;
        return resolved_before(plan::read_plan(object));
    };
    const auto conditions = [](const char* status, const char* reason) {
        return Json::array({{{"type", "LatestResolved"}, {"status", status}, {"reason", reason}}});
    };
    EXPECT_EQ(before({{"latestVersion", kLatest}, {"conditions", conditions("True", "Channel")}}),
              plan::parse_version(kLatest));
    EXPECT_FALSE(
        before({{"latestVersion", kLatest}, {"conditions", conditions("True", "Version")}}));
    EXPECT_FALSE(
        before({{"latestVersion", kLatest}, {"conditions", conditions("False", "Error")}}));
    EXPECT_FALSE(before({{"latestVersion", "x"}, {"conditions", conditions("True", "Channel")}}));
    EXPECT_FALSE(before({{"latestVersion", kLatest}}));
    EXPECT_FALSE(before(nullptr));
}

}  // namespace
}  // namespace kua::coordinator
