// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/waiting.hpp"

#include <gmock/gmock.h>

namespace kua::coordinator {
namespace {

constexpr auto kHash = "hash";
constexpr auto kOld = "v1.30.4+k3s1";
constexpr auto kNew = "v1.31.4+k3s1";
const Resolution kVersion{"v1.31.4-k3s1", "Version", ""};
const Resolution kChannel{"v1.31.4-k3s1", "Channel", ""};

constexpr auto kSince = "2026-01-05T03:50:00Z";

plan::Plan make_plan(const Json& spec_patch = Json::object()) {
    Json spec = {{"concurrency", 1},
                 {"version", kNew},
                 {"nodeSelector", {{"matchLabels", {{"role", "db"}}}}},
                 {"upgrade", {{"image", "rancher/k3s-upgrade"}}}};
    spec.merge_patch(spec_patch);
    return plan::read_plan({{"metadata", {{"name", "p"}}}, {"spec", spec}});
}

const Json kPrepare = {
    {"prepare", {{"image", "rancher/k3s-upgrade"}, {"args", {"prepare", "server-plan"}}}}};

NodeView agent(const std::string& name, const std::string& version = kOld, bool ready = true) {
    return {name, {{"role", "db"}, {"kubernetes.io/hostname", name}}, version, ready, false, kSince,
            true};
}

NodeView done(const std::string& name) {
    auto node = agent(name, kNew);
    node.labels["plan.upgrade.cattle.io/p"] = kHash;
    return node;
}

NodeView server(const std::string& name, const std::string& version) {
    return {name, {{"kubernetes.io/hostname", name}}, version, true, true, kSince, true};
}

Holder holder(const std::string& node, const std::string& phase, const std::string& detail = "",
              bool silent = false) {
    return {{"p", node, phase, kHash, kNew, "t", "t", 900, detail, false, false, false, false, ""},
            silent};
}

/// `Reason: message` of each.
std::vector<std::string> lines(const plan::Plan& plan, const Resolution& resolution,
                               const std::vector<NodeView>& nodes, const Situation& situation) {
    std::vector<std::string> found;
    for (const auto& [reason, message] :
         reasons(plan, resolution, nodes, progress_of(plan, kHash, nodes, situation.holders),
                 situation)) {
        found.push_back(reason + ": " + message);
    }
    return found;
}

struct Case {
    std::string name;
    plan::Plan plan;
    Resolution resolution;
    std::vector<NodeView> nodes;
    Situation situation;
    std::vector<std::string> lines;
};

void expect_lines(const std::vector<Case>& cases) {
    for (const auto& [name, plan, resolution, nodes, situation, wanted] : cases) {
        ASSERT_FALSE(plan.problem) << name << ": " << plan.problem->message;
        EXPECT_EQ(lines(plan, resolution, nodes, situation), wanted) << name;
    }
}

TEST(Reasons, TellOfTheNodesThemselves) {
    expect_lines({
        {"nothing to do", make_plan(), kVersion, {done("a")}, {}, {}},
        {"somebody's turn", make_plan(), kVersion, {agent("a")}, {}, {}},
        {"at work",
         make_plan(),
         kVersion,
         {agent("a")},
         {.holders = {holder("a", "Draining")}},
         {}},
        {"failed",
         make_plan(),
         kVersion,
         {agent("a")},
         {.holders = {holder("a", "Failed", "verify: not Ready")}},
         {"JobFailed: a: verify: not Ready"}},
        {"silent",
         make_plan(),
         kVersion,
         {agent("a")},
         {.holders = {holder("a", "Draining", "2 pods left", true)}},
         {"Silent: a fell silent while Draining; its slot is free again"}},
        {"silent after all was done",
         make_plan(),
         kVersion,
         {done("a")},
         {.holders = {holder("a", "Releasing", "", true)}},
         {"Silent: a fell silent while Releasing; its slot is free again"}},
        {"blocked",
         make_plan(),
         kVersion,
         {agent("b"), agent("a")},
         {.holders = {holder("b", "Blocked", "no space"), holder("a", "Blocked", "404")}},
         {"Blocked: a: 404, b: no space"}},
        {"not Ready",
         make_plan(),
         kVersion,
         {agent("a", kOld, false), agent("b", kOld, false), agent("c")},
         {.holders = {holder("b", "Restarting")}},
         {"SyncJob: not Ready: a since 2026-01-05T03:50:00Z"}},
        {"paused",
         make_plan({{"concurrency", 0}}),
         kVersion,
         {agent("a"), agent("b"), agent("c"), agent("d"), agent("e")},
         {},
         {"Paused: paused: spec.concurrency is 0; waiting are a, b, c, and 2 more"}},
        {"paused, and nobody waits",
         make_plan({{"concurrency", 0}}),
         kVersion,
         {agent("a")},
         {.holders = {holder("a", "Draining")}},
         {}},
    });
}

TEST(Reasons, TellOfAChannelThatGoesBack) {
    expect_lines({
        {"one is ahead",
         make_plan(),
         kChannel,
         {agent("a", "v1.31.5+k3s1")},
         {},
         {"Waiting: holding a at v1.31.5+k3s1: the channel names v1.31.4+k3s1, and no node is "
          "downgraded"}},
        {"one is ahead and says so itself, another is not",
         make_plan({{"concurrency", 0}}),
         kChannel,
         {agent("a", "v1.32.1+k3s1"), agent("b")},
         {.holders = {holder("a", "Blocked", "refused: a downgrade")}},
         {"Waiting: holding a at v1.32.1+k3s1: the channel names v1.31.4+k3s1, and no node is "
          "downgraded",
          "Paused: paused: spec.concurrency is 0; waiting are b"}},
        {"at the version, without the label", make_plan(), kChannel, {agent("a", kNew)}, {}, {}},
        {"a version, which the node itself refuses",
         make_plan(),
         kVersion,
         {agent("a", "v1.32.1+k3s1")},
         {.holders = {holder("a", "Blocked", "refused: a downgrade")}},
         {"Blocked: a: refused: a downgrade"}},
        {"a node that has not reported", make_plan(), kChannel, {agent("a", "")}, {}, {}},
    });
}

TEST(Reasons, TellWhatAPlanWaitsFor) {
    const auto at = parse_rfc3339("2026-01-03T08:00:00Z");
    expect_lines({
        {"prepare: servers",
         make_plan(kPrepare),
         kVersion,
         {agent("a"), server("server-1", kNew), server("server-2", kOld), server("server-3", kOld)},
         {},
         {"Waiting: waiting for 2 of 3 servers (server-2 at v1.30.4+k3s1, server-3 at "
          "v1.30.4+k3s1)"}},
        {"prepare: the other Plan",
         make_plan(kPrepare),
         kVersion,
         {agent("a"), server("server-1", kOld)},
         {.prepare = {true, {"server-1"}}},
         {"Waiting: waiting for the Plan server-plan, which is being applied on server-1"}},
        {"prepare: no such Plan",
         make_plan(kPrepare),
         kVersion,
         {agent("a")},
         {.prepare = {false, {}}},
         {"Waiting: waiting for the Plan server-plan that spec.prepare names: it does not exist"}},
        {"prepare: in a circle",
         make_plan(kPrepare),
         kVersion,
         {agent("a"), server("server-1", kOld)},
         {.prepare = {true, {}, {"p", "server-plan"}}},
         {"Waiting: the Plans p, server-plan wait for each other (spec.prepare): none of them can "
          "begin; take spec.prepare out of one"}},
        {"prepare: done", make_plan(kPrepare), kVersion, {agent("a"), server("s", kNew)}, {}, {}},
        {"prepare: nobody waits",
         make_plan(kPrepare),
         kVersion,
         {done("a"), server("s", kOld)},
         {},
         {}},
        {"window",
         make_plan(),
         kVersion,
         {agent("a")},
         {.shut = ShutWindow{"sa 08:00-16:00 UTC", at}},
         {"Waiting: waiting for spec.window (sa 08:00-16:00 UTC) to open at 2026-01-03T08:00:00Z"}},
        {"window that never opens",
         make_plan(),
         kVersion,
         {agent("a")},
         {.shut = ShutWindow{"no day", std::nullopt}},
         {"Waiting: waiting for spec.window (no day) to open, which it does not within two weeks"}},
        {"window, and nobody waits",
         make_plan(),
         kVersion,
         {agent("a")},
         {.holders = {holder("a", "Draining")}, .shut = ShutWindow{"w", at}},
         {}},
        {"exclusive",
         make_plan(),
         kVersion,
         {agent("a")},
         {.exclusive = {"x"}},
         {"Waiting: waiting for exclusive Plan x"}},
    });
}

TEST(Reasons, NameNodesThatNobodyServes) {
    auto silent = agent("b");
    silent.announced = false;
    auto finished = done("c");
    finished.announced = false;
    auto left = done("d");
    left.left_cordoned = "p";
    auto left_by_another = done("e");
    left_by_another.left_cordoned = "q";
    auto held_up = holder("a", "Draining", "2 pods left: default/web-0, default/web-1");
    held_up.slot.waits = true;
    expect_lines({
        {"no agent",
         make_plan(),
         kVersion,
         {agent("a"), silent, finished},
         {},
         {"SyncJob: no agent has announced itself on: b"}},
        {"a slot that is not taken",
         make_plan(),
         kVersion,
         {agent("a"), silent, agent("f", kOld, false)},
         {.untaken = true},
         {std::string("SyncJob: not Ready: f since ") + kSince,
          "SyncJob: no agent has announced itself on: b",
          "SyncJob: a slot is free, and for minutes none of these has taken it: a; see "
          "`k3s-upgrade-agent status` there"}},
        {"a cordon that was there before",
         make_plan(),
         kVersion,
         {done("c"), left, left_by_another},
         {},
         {"SyncJob: d: left cordoned: it was cordoned before this upgrade; kubectl uncordon d"}},
        {"a drain that takes long",
         make_plan(),
         kVersion,
         {agent("a")},
         {.holders = {held_up}},
         {"SyncJob: a (Draining, 2 pods left: default/web-0, default/web-1)"}},
    });
}

TEST(Untaken, IsAFreeSlotThatNothingKeepsANodeFrom) {
    const auto untaken = [](const plan::Plan& plan, const std::vector<NodeView>& nodes,
                            const Situation& situation) {
        const auto progress = progress_of(plan, kHash, nodes, situation.holders);
        return is_untaken(plan, nodes, progress,
                          reasons(plan, kVersion, nodes, progress, situation));
    };
    auto silent = agent("b");
    silent.announced = false;
    EXPECT_TRUE(untaken(make_plan(), {agent("a"), silent, done("c")}, {}));
    EXPECT_TRUE(untaken(make_plan(), {agent("a")}, {.untaken = true})) << "and stays so";
    EXPECT_FALSE(untaken(make_plan(), {silent, agent("d", kOld, false), done("c")}, {}));
    EXPECT_FALSE(
        untaken(make_plan(), {agent("a"), agent("b")}, {.holders = {holder("b", "Draining")}}));
    EXPECT_FALSE(untaken(make_plan({{"concurrency", 0}}), {agent("a")}, {}));
    EXPECT_FALSE(untaken(make_plan(), {agent("a")}, {.exclusive = {"x"}}));
}

TEST(ExclusiveBeside, AreOtherExclusivePlansAtWork) {
    const auto slot = [](const std::string& plan, const std::string& phase, bool exclusive) {
        return lock::Slot{plan, "a", phase,     kHash, kNew,  "t",   "t",
                          900,  "",  exclusive, false, false, false, ""};
    };
    lock::Lock lock;
    lock.slots = {{"p.a", slot("p", "Draining", true)},     {"z.a", slot("z", "Draining", true)},
                  {"z.b", slot("z", "Cordoning", true)},    {"f.a", slot("f", "Failed", true)},
                  {"b.a", slot("b", "Blocked", true)},      {"n.a", slot("n", "Draining", false)},
                  {"silent.a", slot("s", "Draining", true)}};
    const auto beside = exclusive_beside(
        lock, "p", [](const std::string& key, const lock::Slot&) { return key != "z.b"; });
    EXPECT_EQ(beside, (std::vector<std::string>{"z"}));
    EXPECT_EQ(exclusive_beside({}, "p", [](const auto&, const auto&) { return false; }),
              std::vector<std::string>());
}

TEST(Reasons, ComeMostUrgentFirst) {
    const auto plan = make_plan([] {
        auto spec = kPrepare;
        spec["concurrency"] = 0;
        return spec;
    }());
    const Situation situation{.holders = {holder("a", "Blocked", "404"), holder("b", "Failed", "x"),
                                          holder("c", "Draining", "", true)},
                              .exclusive = {"x"},
                              .shut = ShutWindow{"w", parse_rfc3339("2026-01-03T08:00:00Z")}};
    std::vector<std::string> order;
    const std::vector<NodeView> nodes = {agent("a"), agent("b"), agent("c", kOld, false),
                                         agent("d", "v1.32.1+k3s1"), server("s", kOld)};
    for (const auto& [reason, message] :
         reasons(plan, kChannel, nodes, progress_of(plan, kHash, nodes, situation.holders),
                 situation)) {
        order.push_back(reason + " " + message.substr(0, 12));
    }
    EXPECT_EQ(order, (std::vector<std::string>{
                         "JobFailed b: x", "Silent c fell silen", "Blocked a: 404",
                         "Waiting holding d at", "Paused paused: spec", "Waiting waiting for ",
                         "Waiting waiting for ", "Waiting waiting for ", "SyncJob not Ready: c"}));
}

}  // namespace
}  // namespace kua::coordinator
