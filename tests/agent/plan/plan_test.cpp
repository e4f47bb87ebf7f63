// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/plan.hpp"

#include <gmock/gmock.h>

#include <limits>

#include "tests/agent/support.hpp"

namespace kua::plan {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

Json good_spec() {
    return {{"concurrency", 1},
            {"version", "v1.31.4+k3s1"},
            {"serviceAccountName", "system-upgrade"},
            {"nodeSelector", {{"matchLabels", {{"role", "db"}}}}},
            {"upgrade", {{"image", "rancher/k3s-upgrade"}}}};
}

Plan with(const Json& merge_patch) {
    auto spec = good_spec();
    if (!merge_patch.is_null()) {
        spec.merge_patch(merge_patch);
    }
    return read_plan({{"metadata", {{"name", "p"}, {"namespace", "system-upgrade"}}},
                      {"spec", std::move(spec)}});
}

std::string problem_of(const Json& merge_patch) {
    const auto plan = with(merge_patch);
    return plan.problem ? plan.problem->reason + ": " + plan.problem->message : "";
}

TEST(Plan, IsReadWithAllItsFields) {
    const auto plan = read_plan(
        {{"metadata",
          {{"name", "server-plan"},
           {"namespace", "system-upgrade"},
           {"uid", "u"},
           {"resourceVersion", "7"},
           {"annotations", {{"a", "b"}}}}},
         {"spec",
          {{"concurrency", 3},
           {"channel", "https://update.k3s.io/v1-release/channels/stable"},
           {"serviceAccountName", "sa"},
           {"cordon", true},
           {"jobActiveDeadlineSecs", 60},
           {"window",
            {{"days", {"sat"}},
             {"startTime", "22:00"},
             {"endTime", "02:00"},
             {"timeZone", "Europe/Berlin"}}},
           {"exclusive", true},
           {"postCompleteDelay", "1m30s"},
           {"postCompleteLabels", {{"upgraded-to", "$(LATEST_VERSION)"}}},
           {"nodeSelector", {{"matchLabels", {{"role", "db"}}}}},
           {"prepare", {{"image", "rancher/k3s-upgrade"}, {"args", {"prepare", "other"}}}},
           {"drain", {{"force", true}, {"timeout", "5m"}}},
           {"upgrade", {{"image", "rancher/k3s-upgrade"}}}}},
         {"status",
          {{"latestVersion", "v1.31.4-k3s1"},
           {"latestHash", "h"},
           {"applying", {"a", "b"}},
           {"conditions", Json::array({{{"type", "Complete"}, {"status", "True"}}})}}}});
    EXPECT_FALSE(plan.problem) << plan.problem->message;
    EXPECT_EQ(plan.name, "server-plan");
    EXPECT_EQ(plan.ns, "system-upgrade");
    EXPECT_EQ(plan.uid, "u");
    EXPECT_EQ(plan.resource_version, "7");
    EXPECT_EQ(plan.annotations.at("a"), "b");
    EXPECT_EQ(plan.version, "");
    EXPECT_EQ(plan.channel, "https://update.k3s.io/v1-release/channels/stable");
    EXPECT_EQ(plan.concurrency, 3);
    EXPECT_EQ(plan.service_account_name, "sa");
    EXPECT_TRUE(plan.cordon);
    EXPECT_EQ(plan.deadline, Duration(seconds(60)));
    ASSERT_TRUE(plan.window);
    EXPECT_EQ(plan.window->text(), "Sat 22:00 to 02:00 Europe/Berlin");
    EXPECT_TRUE(plan.exclusive);
    EXPECT_EQ(plan.post_complete_delay, seconds(90));
    EXPECT_THAT(plan.post_complete_labels, ElementsAre(Pair("upgraded-to", "$(LATEST_VERSION)")));
    EXPECT_EQ(plan.prepare_plan, "other");
    ASSERT_TRUE(plan.drain);
    EXPECT_TRUE(plan.drain->force);
    EXPECT_EQ(plan.drain->timeout, minutes(5));
    EXPECT_EQ(plan.status_latest_version, "v1.31.4-k3s1");
    EXPECT_EQ(plan.status_latest_hash, "h");
    EXPECT_THAT(plan.status_applying, ElementsAre("a", "b"));
    EXPECT_TRUE(plan.status_complete);
}

TEST(Plan, TakesWhatHasNoMeaningWithoutAPod) {
    EXPECT_EQ(problem_of({{"tolerations", Json::array({{{"operator", "Exists"}}})},
                          {"imagePullSecrets", Json::array({{{"name", "x"}}})},
                          {"priorityClassName", "p"},
                          {"upgrade", {{"securityContext", {{"privileged", true}}}}}}),
              "");
}

TEST(Plan, ServesK3sUpgradeFromAnyRegistry) {
    for (const char* image :
         {"rancher/k3s-upgrade", "docker.io/rancher/k3s-upgrade",
          "rancher/k3s-upgrade:v1.31.4-k3s1", "localhost:5000/rancher/k3s-upgrade",
          "r.example.org:5000/mirror/rancher/k3s-upgrade:v1", "rancher/k3s-upgrade@sha256:abc",
          "docker.io/rancher/k3s-upgrade:v1@sha256:abc", "ghcr.io/k3s-io/k3s-upgrade",
          "k3s-io/k3s-upgrade:v1.31.4-k3s1", "r.example.org:5000/ghcr/k3s-io/k3s-upgrade:v1"}) {
        EXPECT_EQ(problem_of({{"upgrade", {{"image", image}}}}), "") << image;
    }
    for (const char* image :
         {"", "k3s-upgrade", "rancher/rke2-upgrade", "evilrancher/k3s-upgrade",
          "rancher/k3s-upgrades", "rancher/k3s-upgrade/x", "rancher/k3s-upgrade:v1/x", "bash",
          "docker.io/library/bash:5", "Rancher/k3s-upgrade", "ghcr.io/k3s-io/k3s",
          "ghcr.io/evilk3s-io/k3s-upgrade", "ghcr.io/k3s-upgrade"}) {
        EXPECT_THAT(problem_of({{"upgrade", {{"image", image}}}}), HasSubstr("Unsupported: "))
            << image;
    }
    EXPECT_THAT(problem_of({{"upgrade", nullptr}}), HasSubstr("Unsupported: "));
}

TEST(Plan, SaysWhatIsNotSupported) {
    struct Case {
        Json patch;
        std::string said;
    };
    const auto prepare = [](const Json& container) { return Json{{"prepare", container}}; };
    const std::string no_prepare = "Unsupported: spec.prepare: only image rancher/k3s-upgrade";
    const std::vector<Case> cases = {
        {{{"upgrade", {{"command", {"sh"}}}}}, "Unsupported: spec.upgrade.command and args"},
        {{{"upgrade", {{"args", {"-c"}}}}}, "Unsupported: spec.upgrade.command and args"},
        {prepare({{"image", "bash"}, {"args", {"prepare", "x"}}}), no_prepare},
        {prepare({{"image", "rancher/k3s-upgrade"}}), no_prepare},
        {prepare({{"image", "rancher/k3s-upgrade"}, {"args", {"prepare"}}}), no_prepare},
        {prepare({{"image", "rancher/k3s-upgrade"}, {"args", {"prepare", "a", "b"}}}), no_prepare},
        {prepare({{"image", "rancher/k3s-upgrade"}, {"args", {"wait", "a"}}}), no_prepare},
        {prepare(
             {{"image", "rancher/k3s-upgrade"}, {"args", {"prepare", "a"}}, {"command", {"sh"}}}),
         no_prepare},
        {{{"secrets", Json::array({{{"name", "s"}, {"path", "/s"}}})}},
         "Unsupported: spec.secrets \"s\""},
        {{{"postCompleteLabels", {{"node-role.kubernetes.io/db", "true"}}}},
         "Unsupported: spec.postCompleteLabels \"node-role.kubernetes.io/db\": Kubernetes"},
    };
    for (const auto& [patch, said] : cases) {
        EXPECT_THAT(problem_of(patch), HasSubstr(said)) << patch;
    }
    EXPECT_EQ(problem_of({{"secrets", Json::array({{{"name", "s"}, {"ignoreUpdates", true}}})}}),
              "");
}

TEST(Plan, SaysWhatIsWrong) {
    struct Case {
        Json patch;
        std::string said;
    };
    const auto drain = [](const Json& spec) { return Json{{"drain", spec}}; };
    const std::vector<Case> cases = {
        {{{"version", "v1.31"}}, "Error: spec.version: \"v1.31\" is not a k3s version"},
        {{{"version", "latest"}}, "Error: spec.version: \"latest\""},
        {{{"nodeSelector", {{"matchExpressions", Json::array({{{"key", "a"}}})}}}},
         "Error: spec.nodeSelector.matchExpressions[0].operator"},
        {{{"nodeSelector", "db"}}, "Error: spec.nodeSelector: must be"},
        {{{"window", {{"days", {"mon"}}, {"startTime", "25:00"}, {"endTime", "2"}}}},
         "Error: spec.window.startTime: must be a time of day"},
        {{{"window", "at night"}}, "Error: spec.window: must be a mapping"},
        {{{"postCompleteDelay", "-30s"}}, "Error: spec.postCompleteDelay: \"-30s\" is negative"},
        {{{"postCompleteDelay", "soon"}}, "Error: spec.postCompleteDelay: \"soon\""},
        {{{"postCompleteDelay", ""}}, "Error: spec.postCompleteDelay: \"\""},
        {{{"postCompleteDelay", 30}}, "Error: spec.postCompleteDelay: must be a duration"},
        {{{"postCompleteLabels", "a=b"}}, "Error: spec.postCompleteLabels: must be a mapping"},
        {{{"postCompleteLabels", {{"a", 1}}}},
         "Error: spec.postCompleteLabels: \"a\": must be a text, is 1"},
        {{{"postCompleteLabels", {{"a b", "c"}}}},
         "Error: spec.postCompleteLabels: \"a b\": a label's key may have only"},
        {{{"postCompleteLabels", {{"a", "$(LATEST_VERION)"}}}},
         "Error: spec.postCompleteLabels: \"a\": \"$(LATEST_VERION)\": a label's value may have"},
        {{{"postCompleteLabels", {{"a", "now-at-$(LATEST_HASH)-now"}}}},
         "Error: spec.postCompleteLabels: \"a\""},
        {{{"postCompleteLabels", {{"plan.upgrade.cattle.io/p", "a"}}}},
         "the Plan's own label is kept by the agent"},
        {{{"nodeSelector", {{"matchLabels", {{"role", "a b"}}}}}},
         "Error: spec.nodeSelector.matchLabels: \"a b\": a label's value"},
        {drain({{"deleteEmptydirData", true}, {"deleteLocalData", true}}),
         "Error: spec.drain cannot specify both deleteEmptydirData and deleteLocalData"},
        {drain({{"timeout", "soon"}}), "Error: spec.drain.timeout: \"soon\""},
        {drain({{"timeout", "-5m"}}), "Error: spec.drain.timeout: \"-5m\" is negative"},
        {drain({{"timeout", -1}}), "Error: spec.drain.timeout: -1 is negative"},
        {drain({{"timeout", 300}}),
         "Error: spec.drain.timeout: 300 is 300 nanoseconds to "
         "Kubernetes; write \"300s\""},
        {drain({{"timeout", 300000000}}),
         "Error: spec.drain.timeout: 300000000 is 300000000 nanoseconds to Kubernetes; write a "
         "duration such as \"5m\""},
        {drain({{"timeout", 999999999}}), "Error: spec.drain.timeout: 999999999 is"},
        {drain({{"timeout", "5ms"}}), "Error: spec.drain.timeout: \"5ms\" is less than a second"},
        {drain({{"timeout", "1ns"}}), "Error: spec.drain.timeout: \"1ns\" is less than a second"},
        {drain({{"timeout", "-1ns"}}), "Error: spec.drain.timeout: \"-1ns\" is negative"},
        {drain({{"timeout", true}}), "Error: spec.drain.timeout: must be a duration"},
        {drain({{"timeout", 1.5}}), "Error: spec.drain.timeout: must be a duration"},
        {drain({{"podSelector", {{"matchLabels", {{"a", 1}}}}}}),
         "Error: spec.drain.podSelector.matchLabels.a"},
    };
    for (const auto& [patch, said] : cases) {
        EXPECT_THAT(problem_of(patch), HasSubstr(said)) << patch;
    }
}

TEST(Plan, HasSucsDefaultsForDrain) {
    const auto spec = with({{"drain", Json::object()}}).drain.value();
    EXPECT_TRUE(spec.ignore_daemon_sets);
    EXPECT_TRUE(spec.delete_emptydir_data);
    EXPECT_FALSE(spec.force);
    EXPECT_FALSE(spec.disable_eviction);
    EXPECT_FALSE(spec.grace_period);
    EXPECT_EQ(spec.timeout, Duration::zero());
    EXPECT_EQ(spec.skip_wait_for_delete_timeout, 0);
    EXPECT_FALSE(spec.pod_selector);
}

TEST(Plan, ReadsEveryFieldOfDrain) {
    const auto spec = with({{"drain",
                             {{"timeout", 90000000000},
                              {"gracePeriod", 30},
                              {"deleteLocalData", false},
                              {"ignoreDaemonSets", false},
                              {"force", true},
                              {"disableEviction", true},
                              {"skipWaitForDeleteTimeout", 60},
                              {"podSelector", {{"matchLabels", {{"a", "b"}}}}}}}})
                          .drain.value();
    EXPECT_EQ(spec.timeout, seconds(90));
    EXPECT_EQ(spec.grace_period, 30);
    EXPECT_FALSE(spec.delete_emptydir_data);
    EXPECT_FALSE(spec.ignore_daemon_sets);
    EXPECT_TRUE(spec.force);
    EXPECT_TRUE(spec.disable_eviction);
    EXPECT_EQ(spec.skip_wait_for_delete_timeout, 60);
    ASSERT_TRUE(spec.pod_selector);
    EXPECT_TRUE(spec.pod_selector->matches({{"a", "b"}}));
    EXPECT_FALSE(with({{"drain", {{"gracePeriod", -1}}}}).drain->grace_period);
}

TEST(Plan, HasNoLimitForADrainWhoseTimeoutIsZero) {
    for (const Json& none : {Json(0), Json("0"), Json("0s")}) {
        const auto plan = with({{"drain", {{"timeout", none}}}});
        ASSERT_FALSE(plan.problem) << plan.problem->message;
        EXPECT_EQ(plan.drain->timeout, Duration(0)) << none;
    }
    EXPECT_EQ(with({{"drain", {{"timeout", 1000000000}}}}).drain->timeout, seconds(1));
    EXPECT_EQ(with({{"drain", {{"timeout", "1s"}}}}).drain->timeout, seconds(1));
}

TEST(Plan, BoundsNumbersThatNoClockCanHold) {
    const auto most = std::numeric_limits<std::int64_t>::max();
    const auto plan =
        with({{"jobActiveDeadlineSecs", most},
              {"postCompleteDelay", "2562047h"},
              {"drain", {{"gracePeriod", most}, {"skipWaitForDeleteTimeout", most}}}});
    EXPECT_FALSE(plan.problem);
    EXPECT_GT(plan.deadline.value(), hours(24));
    EXPECT_LE(plan.deadline.value(), hours(24 * 366 * 10));
    EXPECT_GT(plan.post_complete_delay, hours(24));
    EXPECT_LE(plan.post_complete_delay, hours(24 * 366 * 10));
    EXPECT_GT(plan.drain->grace_period.value(), 0);
    EXPECT_GT(plan.drain->skip_wait_for_delete_timeout, 0);
}

TEST(Plan, IsPausedWithoutConcurrency) {
    EXPECT_EQ(with({{"concurrency", nullptr}}).concurrency, 0);
    EXPECT_EQ(problem_of({{"concurrency", nullptr}}), "");
}

TEST(Plan, TakesNegativeNumbersAsSucDoes) {
    EXPECT_EQ(with({{"concurrency", -1}}).concurrency, 0);
    EXPECT_FALSE(with({{"jobActiveDeadlineSecs", -5}}).deadline) << "the default";
    EXPECT_EQ(with({{"jobActiveDeadlineSecs", 0}}).deadline, Duration(0)) << "none";
    EXPECT_FALSE(with({}).deadline);
    EXPECT_FALSE(
        with({{"jobActiveDeadlineSecs", std::numeric_limits<std::int64_t>::min()}}).deadline);
    EXPECT_EQ(problem_of({{"concurrency", -1}, {"jobActiveDeadlineSecs", -5}}), "");
}

TEST(Plan, HasANameThatALabelCanHold) {
    Json object = {
        {"metadata", {{"name", std::string(63, 'p')}}},
        {"spec", {{"version", "v1.31.4+k3s1"}, {"upgrade", {{"image", "rancher/k3s-upgrade"}}}}}};
    EXPECT_FALSE(read_plan(object).problem);
    object["metadata"]["name"] = std::string(64, 'p');
    const auto problem = read_plan(object).problem;
    ASSERT_TRUE(problem);
    EXPECT_EQ(problem->reason, "Error");
    EXPECT_THAT(problem->message, HasSubstr("metadata.name: "));
    EXPECT_THAT(problem->message, HasSubstr("has 64 characters; at most 63 are allowed"));
    EXPECT_THAT(problem->message, HasSubstr("shorter name"));
    object["spec"]["upgrade"]["image"] = "example.org/other";
    EXPECT_EQ(read_plan(object).problem->reason, "Unsupported") << "not for us, whatever its name";
}

TEST(Plan, IsServedAtAnyTimeByDefault) {
    const auto plan = with({{"exclusive", false}});
    EXPECT_FALSE(plan.window);
    EXPECT_FALSE(plan.exclusive);
    EXPECT_EQ(plan.post_complete_delay, Duration(0));
    EXPECT_TRUE(complete_labels(plan, "v1.31.4-k3s1", "abc").empty());
    EXPECT_EQ(problem_of({{"exclusive", false}, {"postCompleteLabels", Json::object()}}), "");
    EXPECT_EQ(problem_of({{"window", nullptr}, {"postCompleteDelay", "0"}}), "");
}

TEST(Plan, SaysWhichLabelsANodeGetsThatIsDone) {
    const auto plan = with({{"postCompleteLabels",
                             {{"example.org/version", "$(LATEST_VERSION)"},
                              {"hash", "$(LATEST_HASH)"},
                              {"both", "to.$(LATEST_VERSION)_$(LATEST_VERSION)"},
                              {"as-written", "yes"},
                              {"empty", ""}}}});
    ASSERT_FALSE(plan.problem) << plan.problem->message;
    const std::map<std::string, std::string> expected = {
        {"example.org/version", "v1.31.4-k3s1"},
        {"hash", "abc"},
        {"both", "to.v1.31.4-k3s1_v1.31.4-k3s1"},
        {"as-written", "yes"},
        {"empty", ""},
    };
    EXPECT_EQ(complete_labels(plan, "v1.31.4-k3s1", "abc"), expected);
}

TEST(Plan, NamesALabelThatTheVersionMakesInvalid) {
    const auto plan =
        with({{"version", nullptr},
              {"channel", "https://example.org/stable"},
              {"postCompleteLabels", {{"a", std::string(50, 'a') + "$(LATEST_VERSION)"}}}});
    ASSERT_FALSE(plan.problem) << plan.problem->message;
    EXPECT_EQ(complete_labels(plan, "v1.31.4-k3s1", "abc").at("a").size(), 62U);
    for (const char* version : {"v1.31.14-k3s1-rc1", "v1.31.4+k3s1"}) {
        const auto error = test::error_of([&] { complete_labels(plan, version, "abc"); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        EXPECT_THAT(error.what(), HasSubstr("spec.postCompleteLabels: \"a\": \"aaa"));
    }
}

TEST(Plan, NeverThrowsForWhatItIsGiven) {
    for (const char* text :
         {"null", "[]", "1", "\"x\"", "{}", R"({"metadata":1,"spec":2,"status":3})",
          R"({"metadata":{"name":1,"annotations":[1]},"spec":[]})",
          R"({"spec":{"concurrency":"2","version":3,"drain":[],"secrets":[1,"a"],
              "nodeSelector":7,"window":[1],"postCompleteDelay":{},"postCompleteLabels":[1],
              "exclusive":"yes","upgrade":{"image":1,"args":"x"},"prepare":"y"}})",
          R"({"spec":{"upgrade":{"image":"rancher/k3s-upgrade"},"drain":"x","prepare":null}})",
          R"({"status":{"conditions":{"a":1},"applying":{"a":1},"latestVersion":[]}})"}) {
        EXPECT_NO_THROW(read_plan(Json::parse(text))) << text;
    }
}

TEST(Plan, SelectsANodeAsSucDoes) {
    const auto plan = with({});
    struct Case {
        std::string name;
        Labels labels;
        bool expected;
    };
    const std::vector<Case> cases = {
        {"its labels and a hostname", {{"role", "db"}, {"kubernetes.io/hostname", "n"}}, true},
        {"no hostname", {{"role", "db"}}, false},
        {"other labels", {{"role", "web"}, {"kubernetes.io/hostname", "n"}}, false},
        {"disabled",
         {{"role", "db"},
          {"kubernetes.io/hostname", "n"},
          {"plan.upgrade.cattle.io/p", "disabled"}},
         false},
        {"disabled for another Plan",
         {{"role", "db"},
          {"kubernetes.io/hostname", "n"},
          {"plan.upgrade.cattle.io/q", "disabled"}},
         true},
        {"at some hash",
         {{"role", "db"}, {"kubernetes.io/hostname", "n"}, {"plan.upgrade.cattle.io/p", "abc"}},
         true},
    };
    for (const auto& [name, labels, expected] : cases) {
        EXPECT_EQ(selects(plan, labels), expected) << name;
    }
    const Labels host = {{"kubernetes.io/hostname", "n"}};
    EXPECT_FALSE(selects(with({{"nodeSelector", nullptr}}), host)) << "no selector selects nothing";
    EXPECT_TRUE(selects(with({{"nodeSelector", {{"matchLabels", nullptr}}}}), host))
        << "an empty one selects everything";
}

TEST(Plan, IsAppliedWhenTheNodeCarriesTheHash) {
    const auto plan = with({});
    EXPECT_EQ(label_of("p"), "plan.upgrade.cattle.io/p");
    EXPECT_TRUE(applied(plan, {{"plan.upgrade.cattle.io/p", "abc"}}, "abc"));
    EXPECT_FALSE(applied(plan, {{"plan.upgrade.cattle.io/p", "abc"}}, "abd"));
    EXPECT_FALSE(applied(plan, {}, "abc"));
}

}  // namespace
}  // namespace kua::plan
