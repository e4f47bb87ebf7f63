// SPDX-License-Identifier: Apache-2.0
// Where a text stands with it, an expectation can be made again: `printf %s
// 'v1.31.4-k3s1system-upgrade<text>' | sha224sum`, with that text, which is what SUC adds to its
// digest for those fields.
#include "agent/plan/hash.hpp"

#include <gtest/gtest.h>

namespace kua::plan {
namespace {

constexpr auto kDigest = "upgrade.cattle.io/digest";

Plan plan_with(const std::string& digest) {
    return read_plan(
        {{"metadata", {{"name", "server-plan"}, {"annotations", {{kDigest, digest}}}}},
         {"spec",
          {{"serviceAccountName", "system-upgrade"},
           {"concurrency", 2},
           {"cordon", true},
           {"exclusive", false},
           {"channel", "  padded "},
           {"nodeSelector", {{"matchLabels", {{"c", "d"}, {"a", "b"}, {"e", ""}}}}},
           {"tolerations", Json::array()},
           {"prepare", {{"image", "rancher/k3s-upgrade"}, {"args", {"prepare", "server-plan"}}}},
           {"drain",
            {{"force", false},
             {"ignoreDaemonSets", false},
             {"gracePeriod", 0},
             {"skipWaitForDeleteTimeout", 0},
             {"timeout", "90s"},
             {"podSelector", {{"matchLabels", Json::object()}}}}},
           {"jobActiveDeadlineSecs", 0},
           {"postCompleteDelay", "90s"},
           {"postCompleteLabels", Json::object()},
           {"window",
            {{"days", {"sat", "sun"}},
             {"startTime", "22:00"},
             {"endTime", "02:00"},
             {"timeZone", ""}}},
           {"secrets", Json::array({{{"name", "s"}, {"path", "/s"}, {"ignoreUpdates", true}}})},
           {"upgrade", {{"image", "rancher/k3s-upgrade"}}}}}});
}

std::string hash(const std::string& digest) {
    return latest_hash(plan_with(digest), "v1.31.4-k3s1");
}

// printf 'v1.31.4-k3s1system-upgrade' | sha224sum
const std::string kPlain = "c5a1f5b354df7de6ba2ed731bd0fef1f6f33e1bd99fb004c987116a5";

TEST(Hash, IsOverVersionAndServiceAccount) {
    EXPECT_EQ(hash(""), kPlain);
    auto plan = plan_with("");
    EXPECT_EQ(latest_hash(plan, "1.31.4-k3s1"),
              "2bf9cbd02322e7f17082132efde431bdb52fb45aef3d746c81bae730");
    plan.service_account_name.clear();
    EXPECT_EQ(latest_hash(plan, "v1.31.4-k3s1"),
              "5a900e09a92b89712d8d8273b054c22d05ea5ebc7ea63534c0052e26");
    EXPECT_EQ(latest_hash(plan, ""), "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f");
}

TEST(Hash, FollowsTheDigestAnnotationAsSucDoes) {
    struct Case {
        std::string name;
        std::string digest;
        std::string text;
        std::string expected;
    };
    const std::vector<Case> cases = {
        {"a text", "spec.upgrade.image", "rancher/k3s-upgrade",
         "624e8c54c3ce28bbbac58e4ddc79aa93b776251782b9888d0af44460"},
        {"two fields, no separator between", "spec.upgrade.image,spec.cordon",
         "rancher/k3s-upgradetrue", "5f3db20655438c08a69a619cc424f70ef136fe2ee5baee7e5c06789e"},
        {"a number", "spec.concurrency", "2",
         "9131db78a0de4cf8e4bc90f90e21637d575019e49882991ef95e11bb"},
        {"a map in fmt's form, its keys in order", "spec.nodeSelector",
         "map[matchLabels:map[a:b c:d e:]]",
         "c3f28b95dd2b7649b215e466bfda78fc7dcd6038eb200200a769b246"},
        {"nothing there", "spec.nothing.at.all", "", kPlain},
        {"through a text", "spec.upgrade.image.tag", "", kPlain},
        {"an entry with a space is another field", " spec.cordon", "", kPlain},
        {"two commas", "spec.cordon,,spec.cordon", "truetrue",
         "48b27634f3d8760ae0c677a66d3262bf6a039c6d279a8645a00c97df"},
        // wrangler's convert.ToString: of a list the first, without white space around it.
        {"of a list the first", "spec.prepare.args", "prepare",
         "108f935a85167b58bf6a6516ced9ce060f0ff2dea9a03903518e9e4f"},
        // wrangler's data.GetValue goes through maps only (its GetValueFromAny would take numbers).
        {"an item by its number", "spec.prepare.args.1", "", kPlain},
        {"something within an item", "spec.secrets.0.name", "", kPlain},
        {"an item by no number", "spec.prepare.args.first", "", kPlain},
        {"an empty list", "spec.tolerations", "", kPlain},
        {"of a list of maps the first", "spec.secrets", "map[ignoreUpdates:true name:s path:/s]",
         "8d2cac28f2d26720aa6565ed0be720567e1c457f8ae0d6e53176713d"},
        {"a padded text", "spec.channel", "padded",
         "df8ed82db8b2113259a13ab51a42e2ba15f4b12fd00edd0cd4796957"},
        // SUC's structs leave a plain false, 0, empty text, list or map of labels out (omitempty).
        {"a false that Go leaves out", "spec.exclusive", "", kPlain},
        {"a false that Go leaves out, further in", "spec.drain.force", "", kPlain},
        {"no labels", "spec.postCompleteLabels", "", kPlain},
        {"an empty selector is there", "spec.drain.podSelector", "map[]",
         "f9913e2c463ca57a2e960380f90614279590d79c09f4afe67e0b34cb"},
        {"what is a pointer in Go is kept",
         "spec.drain.ignoreDaemonSets,spec.jobActiveDeadlineSecs", "false0",
         "c65333df4515a7c603b376225d7a763517d6568f5ffc8320564dc2a2"},
        {"a map of both", "spec.drain",
         "map[gracePeriod:0 ignoreDaemonSets:false podSelector:map[] timeout:90s]",
         "a990dbe76b7167ed1b80464f96d60c5ef3602fa14ec29c5cde14fd66"},
        {"a map with an empty text", "spec.window",
         "map[days:[sat sun] endTime:02:00 startTime:22:00]",
         "3f601ce025fd40049c840a84183cf806e6d5eb5321e465c8e75dece6"},
        // A metav1.Duration is written as Go prints it, drain.timeout as it was.
        {"a duration", "spec.postCompleteDelay", "1m30s",
         "13baffed61681b2ff62d3fa1499de0f3eecc9931b303424d4a2aeabe"},
        {"a duration that stays a text", "spec.drain.timeout", "90s",
         "614340463b93f49e98abb904b23f56638ab482595f036bf76e2dc1de"},
    };
    for (const auto& [name, digest, text, expected] : cases) {
        EXPECT_EQ(hash(digest), expected) << name << ", for which SUC hashes " << text;
    }
}

// What SUC v0.20.1 (wrangler v3.7.0-rc.1, Kubernetes 1.36) computes: its DigestStatus, run on these
// Plans as its client reads them.
TEST(Hash, IsOverThePlanAsSucsTypesWriteIt) {
    struct Case {
        std::string name;
        std::string spec;
        std::string digest;
        std::string expected;
    };
    const std::vector<Case> cases = {
        {"a field that SUC does not have", R"({"unknown": {"a": 1}})", "spec.unknown", kPlain},
        {"one further in", R"({"drain": {"extra": true}})", "spec.drain",
         "f9913e2c463ca57a2e960380f90614279590d79c09f4afe67e0b34cb"},
        {"a structure that is always written", R"({})", "spec",
         "c3812d55c087e9fff879cea992791bcc48aa5efcd2498bb8de70c355"},
        {"an empty text that is always written", R"({"upgrade": {}})", "spec.upgrade",
         "1525d00f0941d6dd6a5e25cce58e9908a939d4596d00ec3574e59b1f"},
        {"an empty text that is not", R"({"upgrade": {"envs": [{"name": "A", "value": ""}]}})",
         "spec.upgrade.envs", "64f9895c77f80ad8aeeea58930381c6afe12658f3f3e109d948bdc27"},
        {"a variable without a name", R"({"upgrade": {"envs": [{}, {"name": "B"}]}})",
         "spec.upgrade.envs", "25eeb9256943b55cc94308459cea0363b424d9ae280f1c2428fbd2ec"},
        {"a quantity of its own",
         R"({"upgrade": {"envs": [{"name": "A", "valueFrom": {"resourceFieldRef": {}}}]}})",
         "spec.upgrade.envs", "a5199877799f61bfd5927cbbd543506a4935ce9e880843514a7d38fa"},
        {"what embeds a reference",
         R"({"upgrade": {"envFrom": [{"configMapRef": {"name": "", "optional": false}}]}})",
         "spec.upgrade.envFrom", "a57fbae4eddae421f04d0675cbe9b29657e63a45206d1849e7e6c108"},
        {"a null in a list of texts", R"({"upgrade": {"args": [null, "a"]}})", "spec.upgrade",
         "c62fcaf3f1b4e615c8e7d9c41cceb1c4b4233b2d7e0cf632cb1422ba"},
        {"a null in a list of structures", R"({"upgrade": {"volumes": [null]}})",
         "spec.upgrade.volumes", "40e63ac4ffa62ef5d4394c5665e4f7c649788de9df8620984b736a72"},
        {"a null", R"({"drain": null})", "spec.drain,spec",
         "c3812d55c087e9fff879cea992791bcc48aa5efcd2498bb8de70c355"},
        {"a null among labels", R"({"postCompleteLabels": {"a": null, "b": "c"}})",
         "spec.postCompleteLabels", "e82b667692a1a592b5dae5f70c8b6c1d5ba5d0a23e55e830d21cc015"},
        {"an empty structure behind a pointer", R"({"window": {}, "drain": {}})",
         "spec.window,spec.drain", "166cec7c3338525b17ec5c44572c81da8b2f35d90f2d309bb306aa4a"},
        {"an empty structure in a list", R"({"imagePullSecrets": [{}]})", "spec.imagePullSecrets",
         "f9913e2c463ca57a2e960380f90614279590d79c09f4afe67e0b34cb"},
        {"zeros behind pointers",
         R"({"upgrade": {"securityContext": {"privileged": false, "runAsUser": 0, "procMount": "", "capabilities": {"add": []}}}})",
         "spec.upgrade.securityContext",
         "ffd301ed2b4226d04d438988230e85ae3a3c1dc1a1e01ad14de94ad3"},
        {"a profile's type", R"({"upgrade": {"securityContext": {"seccompProfile": {}}}})",
         "spec.upgrade.securityContext",
         "502915ca4454b1db42d589e752f524c2b4899050407d0cc764129854"},
        {"a toleration",
         R"({"tolerations": [{"key": "", "operator": "Exists", "tolerationSeconds": 0}]})",
         "spec.tolerations", "e704a8c24a7df09cd30d5da046b94a34833701fd5ddd4d1f514d6380"},
        {"a selector's requirement",
         R"({"nodeSelector": {"matchExpressions": [{"key": "k", "operator": "Exists", "values": []}]}})",
         "spec.nodeSelector", "88c63ff858280e8ccf07d0212945dd9afe8cce845eeca684fe1a5c8a"},
        {"a Secret", R"({"secrets": [{"name": "s", "ignoreUpdates": true, "defaultMode": 0}]})",
         "spec.secrets", "3e4dd3e9f8feeedb33f85708a02191e8c28e77658dafcad588abfd18"},
        {"zeros that are not written", R"({"concurrency": 0, "cordon": false, "version": ""})",
         "spec.concurrency,spec.cordon,spec.version,spec",
         "c3812d55c087e9fff879cea992791bcc48aa5efcd2498bb8de70c355"},
        {"a number of 64 bits", R"({"jobActiveDeadlineSecs": -9223372036854775808})",
         "spec.jobActiveDeadlineSecs", "264d8f6ea3f0ed7dcfb27decbfed28fdb9011e32cda9aeeee7453975"},
        {"a timeout as a number", R"({"drain": {"timeout": 300}})", "spec.drain.timeout",
         "b466467773b8fddef121354cc50187d9db7924c7f7bc5d75a52dda33"},
        {"white space that only Unicode knows", R"({"channel": "\u00a0 x\u3000"})", "spec.channel",
         "2be323bacb60245eabb698ce208d9264a2eea9cf881d40dec91b3807"},
        {"nothing but white space", R"({"channel": " \u2003\u000b"})", "spec.channel", kPlain},
        {"a name with a dot in it", R"({"postCompleteLabels": {"a.b": "c"}})",
         "spec.postCompleteLabels.a.b", kPlain},
        {"nothing between the dots", R"({"cordon": true})", "spec..cordon,.spec,spec.", kPlain},
        {"what SUC has just found out", R"({})", "status.latestVersion",
         "b25546b7bf44ad83c104bc7d7183a5fe7b37a55bf25889ee001682bb"},
        {"microseconds", R"({"postCompleteDelay": "1.5us"})", "spec.postCompleteDelay",
         "647c302fcd9e90da91c082f44fb89bcdf712866db2faa7faeaf2b18d"},
        {"nanoseconds", R"({"postCompleteDelay": "1.000000001s"})", "spec.postCompleteDelay",
         "0e85cec96a02acdd5913dbbf98fb0b7bf001e1e355bd74393cc04986"},
        {"a duration below zero", R"({"postCompleteDelay": "-90.5s"})", "spec.postCompleteDelay",
         "59a73be9b920eaff2e259ea7c186f669d9357244d52c21efcd77f01e"},
    };
    for (const auto& [name, spec, digest, expected] : cases) {
        auto object =
            Json{{"metadata", {{"annotations", {{kDigest, digest}}}}}, {"spec", Json::parse(spec)}};
        object["spec"]["serviceAccountName"] = "system-upgrade";
        EXPECT_EQ(latest_hash(read_plan(object), "v1.31.4-k3s1"), expected) << name;
    }
}

TEST(Hash, WritesDurationsAsGoDoes) {
    struct Case {
        std::string written;
        std::string text;
        std::string expected;
    };
    const std::vector<Case> cases = {
        {"0", "0s", "da9852b4e809ece7902edf17fe11a3ba283d9103688ed5aa5605c5d4"},
        {"300ms", "300ms", "212dfe6709bfe29012127db83767e7370f08a5f79256cbafb72fab7f"},
        {"5m", "5m0s", "9c90b8e3b4508e67da4ba0292ee00a94380e766fe7e81bb18245f4fc"},
        {"1.5s", "1.5s", "0ce0e62c7058680fcbfb34c6163b54dbc92b01659f7f754eea8a4011"},
        {"1.05s", "1.05s", "2fd108ac8d7b37a1fbf0d942280ae9a3c8c97f0a633e854a318bd27c"},
        {"10s", "10s", "5e11c7be34d751e2181c3e8914e5ee600d0a49ad92099ed6ae999c7c"},
        {"3600s", "1h0m0s", "83ca48529de83b106e0c352d2bd6f6e400eced72d2c63961b4fda1a4"},
        {"100h0.25s", "100h0m0.25s", "50783a1f58ca2f379f81fff875b7ad33b59230ec414324fe69e453a1"},
        {"1m", "1m0s", "7b56f983aa7684e0ba2b52c48884bcd060a5110f6bc94a95597f652a"},
    };
    for (const auto& [written, text, expected] : cases) {
        auto object = plan_with("spec.postCompleteDelay").object;
        object["spec"]["postCompleteDelay"] = written;
        EXPECT_EQ(latest_hash(read_plan(object), "v1.31.4-k3s1"), expected)
            << written << ", which Go prints as " << text;
    }
}

TEST(Hash, IsThereForAPlanThatIsWrong) {
    auto object = plan_with("spec.postCompleteDelay").object;
    object["spec"]["postCompleteDelay"] = "soon";
    EXPECT_NO_THROW(latest_hash(read_plan(object), "v1.31.4-k3s1"));
}

TEST(Hash, WritesValuesAsGoDoes) {
    EXPECT_EQ(go_text(nullptr), "<nil>");
    EXPECT_EQ(go_text(true), "true");
    EXPECT_EQ(go_text(-3), "-3");
    EXPECT_EQ(go_text("a \"b\""), "a \"b\"");
    EXPECT_EQ(go_text(Json::array()), "[]");
    EXPECT_EQ(go_text({"a", 1, nullptr}), "[a 1 <nil>]");
    EXPECT_EQ(go_text(Json::object()), "map[]");
    EXPECT_EQ(go_text({{"b", {{"c", "d"}}}, {"a", Json::array({1, 2})}}),
              "map[a:[1 2] b:map[c:d]]");
}

}  // namespace
}  // namespace kua::plan
