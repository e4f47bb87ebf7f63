// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/objects.hpp"

#include <gtest/gtest.h>

namespace kua::kube {
namespace {

TEST(Objects, HavePathsAndSelections) {
    EXPECT_EQ(node_path("node-1"), "/api/v1/nodes/node-1");
    EXPECT_EQ(config_map_path("a", "b"), "/api/v1/namespaces/a/configmaps/b");
    EXPECT_EQ(plan_path("a", "b"), "/apis/upgrade.cattle.io/v1/namespaces/a/plans/b");
    EXPECT_EQ(pod_path("a", "../b"), "/api/v1/namespaces/a/pods/..%2Fb");
    EXPECT_EQ(one_node("n").query.at("fieldSelector"), "metadata.name=n");
    EXPECT_EQ(one_config_map("a", "b").path, "/api/v1/namespaces/a/configmaps");
    EXPECT_EQ(pods_on("n").query.at("fieldSelector"), "spec.nodeName=n");
    EXPECT_TRUE(all_nodes().query.empty());
    EXPECT_EQ(plans_in("a").path, "/apis/upgrade.cattle.io/v1/namespaces/a/plans");
}

const Json node_1 = {
    {"apiVersion", "v1"},
    {"kind", "Node"},
    {"metadata",
     {{"name", "server-1"},
      {"uid", "u"},
      {"resourceVersion", "5"},
      {"labels", {{"node-role.kubernetes.io/control-plane", "true"}, {"odd", 3}}}}},
    {"spec", {{"unschedulable", true}}},
    {"status",
     {{"nodeInfo", {{"kubeletVersion", "v1.30.4+k3s1"}}},
      {"conditions",
       {{{"type", "MemoryPressure"}, {"status", "False"}},
        {{"type", "Ready"},
         {"status", "True"},
         {"lastHeartbeatTime", "2026-11-23T12:00:00Z"},
         {"message", "kubelet is posting ready status"}}}}}}};

TEST(Objects, AreRead) {
    EXPECT_EQ(name_of(node_1), "server-1");
    EXPECT_EQ(namespace_of(node_1), "");
    EXPECT_EQ(uid_of(node_1), "u");
    EXPECT_EQ(resource_version_of(node_1), "5");
    EXPECT_EQ(labels_of(node_1).size(), 1U);
    EXPECT_TRUE(annotations_of(node_1).empty());
    EXPECT_EQ(kubelet_version(node_1), "v1.30.4+k3s1");
    EXPECT_TRUE(is_unschedulable(node_1));
    EXPECT_TRUE(is_control_plane(node_1));
    const Readiness ready = readiness(node_1);
    EXPECT_TRUE(ready.ready);
    EXPECT_EQ(ready.heartbeat, parse_rfc3339("2026-11-23T12:00:00Z"));
    EXPECT_EQ(ready.message, "kubelet is posting ready status");
}

TEST(Objects, AreReadWhereNothingIsThere) {
    for (const Json& nothing : {Json(), Json::object(), Json::array(), Json("text")}) {
        EXPECT_EQ(name_of(nothing), "");
        EXPECT_TRUE(labels_of(nothing).empty());
        EXPECT_EQ(kubelet_version(nothing), "");
        EXPECT_FALSE(is_unschedulable(nothing));
        EXPECT_FALSE(is_control_plane(nothing));
        EXPECT_FALSE(readiness(nothing).ready);
        EXPECT_EQ(readiness(nothing).heartbeat, std::nullopt);
    }
}

TEST(Objects, AreNotReadyWhenTheConditionIsUnknown) {
    Json node = node_1;
    node["status"]["conditions"][1]["status"] = "Unknown";
    EXPECT_FALSE(readiness(node).ready);
}

TEST(Objects, OfTheOldControlPlaneLabelCountToo) {
    EXPECT_TRUE(is_control_plane(
        {{"metadata", {{"labels", {{"node-role.kubernetes.io/master", "true"}}}}}}));
    EXPECT_FALSE(is_control_plane(
        {{"metadata", {{"labels", {{"node-role.kubernetes.io/master", "false"}}}}}}));
}

TEST(MakeEvent, NamesItsObjectAndSource) {
    const Json event = make_event(node_1, "Normal", "Upgraded", "text", "k3s-upgrade-agent",
                                  "server-1", parse_rfc3339("2026-11-23T12:00:00Z"));
    EXPECT_EQ(event.at("metadata").at("namespace"), "default");
    EXPECT_EQ(event.at("metadata").at("generateName"), "server-1.");
    const Json& about = event.at("involvedObject");
    EXPECT_EQ(about.at("kind"), "Node");
    EXPECT_EQ(about.at("uid"), "u");
    EXPECT_FALSE(about.contains("namespace"));
    EXPECT_EQ(event.at("firstTimestamp"), "2026-11-23T12:00:00Z");
    EXPECT_EQ(event.at("source").at("host"), "server-1");
}

TEST(MakeEvent, LiesInItsObjectsNamespaceAndKeepsToTheServersBounds) {
    Json plan = node_1;
    plan["metadata"]["namespace"] = "system-upgrade";
    const Json event =
        make_event(plan, "Warning", "Failed", std::string(5000, 'x'), "a", "b", WallTime());
    EXPECT_EQ(event.at("metadata").at("namespace"), "system-upgrade");
    EXPECT_EQ(event.at("involvedObject").at("namespace"), "system-upgrade");
    EXPECT_LE(event.at("message").get<std::string>().size(), 1024U);
}

}  // namespace
}  // namespace kua::kube
