// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/rules.hpp"

#include <gmock/gmock.h>

namespace kua::plan {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Version version(std::string_view text) { return parse_version(text).value(); }

struct Case {
    std::string name;
    std::string from;
    std::string to;
    bool is_server = true;
    std::vector<ServerVersion> servers{};
    std::string refused{};  ///< Empty: allowed.
    std::string annotation{};
};

TEST(Rules, RefuseWhatMayNotFollow) {
    const std::vector<Case> cases = {
        {"a patch", "v1.30.4+k3s1", "v1.30.5+k3s1"},
        {"a k3s revision", "v1.30.4+k3s1", "v1.30.4+k3s2"},
        {"the same again", "v1.30.4+k3s1", "v1.30.4+k3s1"},
        {"the next minor", "v1.30.4+k3s1", "v1.31.0+k3s1"},
        {"a release after its candidate", "v1.31.0-rc2+k3s1", "v1.31.0+k3s1"},
        {"a lower patch",
         "v1.30.4+k3s1",
         "v1.30.3+k3s1",
         true,
         {},
         "v1.30.3+k3s1 is lower than v1.30.4+k3s1, which the node runs"},
        {"a lower k3s revision", "v1.30.4+k3s2", "v1.30.4+k3s1", true, {}, "is lower than"},
        {"a candidate after its release",
         "v1.31.0+k3s1",
         "v1.31.0-rc2+k3s1",
         true,
         {},
         "is lower than"},
        {"a skipped minor",
         "v1.29.9+k3s1",
         "v1.31.0+k3s1",
         true,
         {},
         "skips a minor version; upgrade to v1.30 first"},
        {"a skipped minor, allowed", "v1.29.9+k3s1", "v1.31.0+k3s1", true, {}, "", "true"},
        {"a skipped minor, not quite allowed",
         "v1.29.9+k3s1",
         "v1.31.0+k3s1",
         true,
         {},
         "skips a minor version",
         "yes"},
        {"an allowed skip is no allowed downgrade",
         "v1.31.0+k3s1",
         "v1.29.9+k3s1",
         true,
         {},
         "is lower than",
         "true"},
        {"another major", "v1.31.0+k3s1", "v2.0.0+k3s1", true, {}, "another major", "true"},
        {"an agent at its servers' version",
         "v1.30.4+k3s1",
         "v1.31.0+k3s1",
         false,
         {{"server-1", "v1.31.0+k3s1"}}},
        {"an agent below its servers",
         "v1.30.4+k3s1",
         "v1.30.5+k3s1",
         false,
         {{"server-1", "v1.31.0+k3s1"}}},
        {"an agent with a newer patch of the same minor",
         "v1.30.4+k3s1",
         "v1.31.2+k3s1",
         false,
         {{"server-1", "v1.31.0+k3s1"}}},
        {"an agent above one of its servers",
         "v1.30.4+k3s1",
         "v1.31.0+k3s1",
         false,
         {{"server-1", "v1.31.0+k3s1"}, {"server-2", "v1.30.4+k3s1"}},
         "a kubelet at v1.31.0+k3s1 would be newer than the API server of server-2 (v1.30.4+k3s1)"},
        {"a server above the others",
         "v1.30.4+k3s1",
         "v1.31.0+k3s1",
         true,
         {{"server-2", "v1.30.4+k3s1"}}},
        {"a server that says nothing readable",
         "v1.30.4+k3s1",
         "v1.31.0+k3s1",
         false,
         {{"server-1", ""}, {"server-2", "v1.31"}}},
    };
    for (const auto& test : cases) {
        Plan plan;
        if (!test.annotation.empty()) {
            plan.annotations["k3s-upgrade-agent/allow-skipped-minor"] = test.annotation;
        }
        const auto reason =
            refusal(plan, {version(test.from), version(test.to), test.is_server, test.servers});
        EXPECT_EQ(reason.has_value(), !test.refused.empty()) << test.name;
        EXPECT_THAT(reason.value_or(""), HasSubstr(test.refused)) << test.name;
    }
}

TEST(Rules, RefuseWhatNothingOrders) {
    for (const auto& [from, to, refused] : {
             std::tuple{"v1.30.4+k3s-98262b5d", "v1.30.5+k3s1", false},
             std::tuple{"v1.30.4+k3s-98262b5d", "v1.30.4+k3s1", true},
             std::tuple{"v1.30.4+k3s1", "v1.30.4+k3s-98262b5d", true},
             std::tuple{"v1.30.4+k3s-98262b5d", "v1.30.4+k3s-98262b5d", false},
             std::tuple{"v1.31.0-alpha.1+k3s1", "v1.31.0+k3s1", true},
             std::tuple{"v1.31.0-rc1+k3s1", "v1.31.0+k3s1", false},
         }) {
        const auto reason = refusal(Plan(), {version(from), version(to), true});
        EXPECT_EQ(reason.has_value(), refused) << from << " " << to;
        EXPECT_THAT(reason.value_or(""), HasSubstr(refused ? "nothing tells which of" : ""));
    }
}

TEST(Rules, RefuseWhatEtcdMayNotSurvive) {
    struct Step {
        std::string from;
        std::string to;
        bool refused;
    };
    for (const auto& [from, to, refused] : std::vector<Step>{
             {"v1.33.7+k3s1", "v1.34.1+k3s1", true},
             {"v1.33.7+k3s1", "v1.33.11+k3s1", true},
             {"v1.32.9+k3s1", "v1.33.11+k3s1", true},
             {"v1.33.8+k3s1", "v1.34.1+k3s1", false},
             {"v1.33.10+k3s1", "v1.33.11+k3s1", false},
             {"v1.33.7+k3s1", "v1.33.10+k3s1", false},
             {"v1.33.11+k3s1", "v1.34.1+k3s1", false},
             {"v1.34.1+k3s1", "v1.35.0+k3s1", false},
         }) {
        Move move{version(from), version(to), true};
        EXPECT_FALSE(refusal(Plan(), move)) << from << " " << to << " without etcd";
        move.embedded_etcd = true;
        EXPECT_EQ(refusal(Plan(), move).has_value(), refused) << from << " " << to;
        Plan plan;
        plan.annotations["k3s-upgrade-agent/allow-etcd-jump"] = "true";
        EXPECT_FALSE(refusal(plan, move)) << from << " " << to << " allowed";
    }
    EXPECT_THAT(
        *refusal(Plan(), {version("v1.33.7+k3s1"), version("v1.34.1+k3s1"), true, {}, true}),
        HasSubstr("upgrade to v1.33.8 or later of v1.33 first"));
}

TEST(Rules, RefuseAKubeletThatWouldEndWithoutCgroup2) {
    Move move{version("v1.34.1+k3s1"), version("v1.35.0+k3s1"), false, {{"s", "v1.35.0+k3s1"}}};
    EXPECT_FALSE(refusal(Plan(), move));
    move.cgroup_v1 = true;
    EXPECT_THAT(refusal(Plan(), move).value(), HasSubstr("fail-cgroupv1=false"));
    move.to = version("v1.34.2+k3s1");
    EXPECT_FALSE(refusal(Plan(), move));
}

TEST(Rules, KnowWhetherAnyServersVersionCanBeTold) {
    EXPECT_FALSE(any_known({}));
    EXPECT_FALSE(any_known({{"server-1", ""}, {"server-2", "unknown"}}));
    EXPECT_TRUE(any_known({{"server-1", ""}, {"server-2", "v1.31.0+k3s1"}}));
}

TEST(Rules, RefuseAnOlderBuild) {
    struct Build {
        std::string from;
        std::string to;
        bool refused;
    };
    for (const auto& [from, to, refused] : std::vector<Build>{
             {"2024-08-15T10:00:00Z", "2024-08-01T10:00:00Z", false},  // The month counts.
             {"2024-08-15T10:00:00Z", "2024-07-31T10:00:00Z", true},
             {"2024-08-15T10:00:00Z", "2023-12-31T10:00:00Z", true},
             {"2024-08-15T10:00:00Z", "2024-09-01T10:00:00Z", false},
             {"", "2024-08-01T10:00:00Z", false},
             {"2024-08-15T10:00:00Z", "", false},
             // What can't be read is no reason to refuse.
             {"unknown-date", "2024-08-01T10:00:00Z", false},
             {"2024-08-15T10:00:00Z", "0-not-a-date", false},
             {"9999999999", "2024-08-01T10:00:00Z", false},
         }) {
        EXPECT_EQ(older_build(Plan(), from, to).has_value(), refused) << from << " " << to;
        Plan plan;
        plan.annotations["k3s-upgrade-agent/allow-older-build"] = "true";
        EXPECT_FALSE(older_build(plan, from, to)) << from << " " << to;
    }
    EXPECT_THAT(older_build(Plan(), "2024-08-15T10:00:00Z", "2024-07-31T10:00:00Z").value(),
                HasSubstr("built in 2024-07, before the one that is installed, built in 2024-08; "
                          "annotate the Plan with k3s-upgrade-agent/allow-older-build=true"));
}

TEST(Rules, NameTheServersThatAreNotThereYet) {
    const std::vector<ServerVersion> servers = {
        {"server-1", "v1.31.0+k3s1"}, {"server-2", "v1.30.4+k3s1"}, {"server-3", ""}};
    EXPECT_THAT(servers_not_at(servers, version("v1.31.0+k3s1")),
                ElementsAre("server-2 at v1.30.4+k3s1", "server-3 at "));
    EXPECT_THAT(servers_not_at({}, version("v1.31.0+k3s1")), IsEmpty());
}

}  // namespace
}  // namespace kua::plan
