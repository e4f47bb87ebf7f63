// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/candidates.hpp"

#include <gmock/gmock.h>

namespace kua::upgrade {
namespace {

using ::testing::HasSubstr;

// printf 'v1.31.4-k3s1' | sha224sum
constexpr auto kHash = "5a900e09a92b89712d8d8273b054c22d05ea5ebc7ea63534c0052e26";

Json spec_of(const Json& merge_patch) {
    Json spec = {{"concurrency", 1},
                 {"version", "v1.31.4+k3s1"},
                 {"nodeSelector", Json::object()},
                 {"upgrade", {{"image", "rancher/k3s-upgrade"}}}};
    spec.merge_patch(merge_patch);
    return spec;
}

Plans plans_of(const std::vector<std::pair<std::string, Json>>& specs, const Json& status = {}) {
    kube::Snapshot snapshot;
    for (const auto& [name, patch] : specs) {
        snapshot.objects[name] = {{"metadata", {{"name", name}, {"namespace", "system-upgrade"}}},
                                  {"spec", spec_of(patch)},
                                  {"status", status}};
    }
    return read_plans(snapshot);
}

const plan::Labels& node() {
    static const plan::Labels labels{{"kubernetes.io/hostname", "server-1"}};
    return labels;
}

TEST(Candidates, ComeByName) {
    const auto wanted =
        candidates(plans_of({{"b", Json::object()}, {"a", Json::object()}}), node());
    ASSERT_EQ(wanted.size(), 2U);
    EXPECT_EQ(wanted[0].plan.name, "a");
    EXPECT_EQ(wanted[1].plan.name, "b");
    EXPECT_EQ(wanted[0].version.text(), "v1.31.4+k3s1");
    EXPECT_EQ(wanted[0].hash, kHash);
    EXPECT_NE(wanted[0].key(), wanted[1].key());
}

TEST(Candidates, LeaveOutWhatIsApplied) {
    auto labels = node();
    labels["plan.upgrade.cattle.io/a"] = kHash;
    EXPECT_TRUE(candidates(plans_of({{"a", Json::object()}}), labels).empty());
}

TEST(Candidates, LeaveOutWhatIsSomebodyElses) {
    const auto plans = plans_of({{"a", {{"upgrade", {{"image", "bash"}}}}}});
    EXPECT_TRUE(candidates(plans, node()).empty());
    EXPECT_EQ(unusable_plan(plans, node()), std::nullopt);
}

TEST(Candidates, TakeAChannelsAnswerFromTheStatus) {
    const Json channel = {{"version", nullptr}, {"channel", "https://example.org/stable"}};
    EXPECT_TRUE(candidates(plans_of({{"a", channel}}), node()).empty());
    const auto wanted =
        candidates(plans_of({{"a", channel}}, {{"latestVersion", "v1.31.4-k3s1"}}), node());
    ASSERT_EQ(wanted.size(), 1U);
    EXPECT_EQ(wanted[0].hash, kHash);
}

TEST(UnusablePlan, SaysWhy) {
    EXPECT_EQ(unusable_plan(plans_of({{"a", Json::object()}}), node()), std::nullopt);
    const auto why = [](const Json& patch) {
        return unusable_plan(plans_of({{"a", patch}}), node()).value_or("");
    };
    EXPECT_EQ(why({{"version", nullptr}}),
              "Plan a: cannot resolve plan: missing channel and version");
    EXPECT_EQ(why({{"version", nullptr}, {"channel", "https://example.org/stable"}}),
              "Plan a: its channel is not resolved yet");
    EXPECT_THAT(why({{"version", "latest"}}), HasSubstr("Plan a: spec.version: \"latest\""));
    EXPECT_EQ(why({{"version", nullptr}, {"nodeSelector", {{"matchLabels", {{"a", "b"}}}}}}), "")
        << "it selects other nodes";
}

TEST(Conflict, IsBetweenPlansThatPullTheNodeToDifferentVersions) {
    const auto running = *plan::parse_version("v1.30.4+k3s1");
    const auto conflict_among = [&](const std::vector<std::pair<std::string, Json>>& specs) {
        return conflict_of(candidates(plans_of(specs), node()), running);
    };
    const auto conflict = conflict_among({{"a", {{"version", "v1.31.4+k3s1"}}},
                                          {"b", {{"version", "v1.31.5+k3s1"}}},
                                          {"reached", {{"version", "v1.30.4+k3s1"}}},
                                          {"passed", {{"version", "v1.30.1+k3s1"}}}});
    ASSERT_TRUE(conflict);
    EXPECT_EQ(conflict->plans, (std::set<std::string>{"a", "b"}));
    EXPECT_THAT(conflict->text, HasSubstr("a (v1.31.4+k3s1), b (v1.31.5+k3s1)"));

    EXPECT_FALSE(conflict_among(
        {{"a", {{"version", "v1.31.4+k3s1"}}}, {"b", {{"version", "v1.31.4+k3s1"}}}}))
        << "the same version";
    EXPECT_FALSE(conflict_among({{"a", {{"version", "v1.31.4+k3s1"}}},
                                 {"b", {{"version", "v1.31.5+k3s1"}, {"concurrency", 0}}}}))
        << "one of them is paused";
    EXPECT_FALSE(conflict_among(
        {{"a", {{"version", "v1.31.4+k3s1"}}}, {"b", {{"version", "v1.30.4+k3s1"}}}}))
        << "one of them is where the node is";
}

}  // namespace
}  // namespace kua::upgrade
