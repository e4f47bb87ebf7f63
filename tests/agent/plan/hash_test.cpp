// SPDX-License-Identifier: Apache-2.0
// Each expectation can be made again: `printf %s 'v1.31.4-k3s1system-upgrade<text>' | sha224sum`,
// with the text of its case, which is what SUC adds to its digest for those fields.
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
        {"an item by its number", "spec.prepare.args.1", "server-plan",
         "abaddccbd63e451110eb1ae7dff74a600e455c9046567c96607bf2ba"},
        {"a number as Go's Atoi takes it", "spec.prepare.args.+01", "server-plan",
         "abaddccbd63e451110eb1ae7dff74a600e455c9046567c96607bf2ba"},
        {"an item that is not there", "spec.prepare.args.7", "", kPlain},
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
