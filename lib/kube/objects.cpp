// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/objects.hpp"

#include "lib/base/format.hpp"

namespace kua::kube {

namespace {

constexpr std::string_view kPlans = "/apis/upgrade.cattle.io/v1/namespaces/";

std::string one_named(const std::string& name) { return "metadata.name=" + name; }

std::map<std::string, std::string> texts_at(const Json& object,
                                            std::initializer_list<std::string_view> path) {
    std::map<std::string, std::string> result;
    const Json* values = find(object, path);
    if (values == nullptr || !values->is_object()) return result;
    for (const auto& [key, value] : values->items()) {
        if (value.is_string()) result.emplace(key, value.get<std::string>());
    }
    return result;
}

bool is_labelled(const Json& node, const char* name) {
    const auto labels = labels_of(node);
    const auto found = labels.find(name);
    return found != labels.end() && found->second == "true";
}

}  // namespace

std::string node_path(const std::string& name) { return "/api/v1/nodes/" + url_encode(name); }

std::string config_map_path(const std::string& ns, const std::string& name) {
    return format("/api/v1/namespaces/{}/configmaps/{}", url_encode(ns), url_encode(name));
}

std::string plan_path(const std::string& ns, const std::string& name) {
    return format("{}{}/plans/{}", kPlans, url_encode(ns), url_encode(name));
}

std::string pod_path(const std::string& ns, const std::string& name) {
    return format("/api/v1/namespaces/{}/pods/{}", url_encode(ns), url_encode(name));
}

Selection one_node(const std::string& name) {
    return {"/api/v1/nodes", {{"fieldSelector", one_named(name)}}};
}

Selection one_config_map(const std::string& ns, const std::string& name) {
    return {format("/api/v1/namespaces/{}/configmaps", url_encode(ns)),
            {{"fieldSelector", one_named(name)}}};
}

Selection all_nodes() { return {"/api/v1/nodes", {}}; }

Selection plans_in(const std::string& ns) {
    return {format("{}{}/plans", kPlans, url_encode(ns)), {}};
}

Selection pods_on(const std::string& node) {
    return {"/api/v1/pods", {{"fieldSelector", "spec.nodeName=" + node}}};
}

std::string name_of(const Json& object) { return string_at(object, {"metadata", "name"}); }

std::string namespace_of(const Json& object) {
    return string_at(object, {"metadata", "namespace"});
}

std::string uid_of(const Json& object) { return string_at(object, {"metadata", "uid"}); }

std::string resource_version_of(const Json& object) {
    return string_at(object, {"metadata", "resourceVersion"});
}

std::map<std::string, std::string> labels_of(const Json& object) {
    return texts_at(object, {"metadata", "labels"});
}

std::map<std::string, std::string> annotations_of(const Json& object) {
    return texts_at(object, {"metadata", "annotations"});
}

std::string kubelet_version(const Json& node) {
    return string_at(node, {"status", "nodeInfo", "kubeletVersion"});
}

bool is_unschedulable(const Json& node) { return bool_at(node, {"spec", "unschedulable"}, false); }

Readiness readiness(const Json& node) {
    Readiness result;
    result.message = "the kubelet has not reported";
    const Json* conditions = find(node, {"status", "conditions"});
    if (conditions == nullptr || !conditions->is_array()) return result;
    for (const Json& condition : *conditions) {
        if (string_at(condition, {"type"}) != "Ready") continue;
        result.ready = string_at(condition, {"status"}) == "True";
        result.message = string_at(condition, {"message"});
        result.since = string_at(condition, {"lastTransitionTime"});
        const std::string heartbeat = string_at(condition, {"lastHeartbeatTime"});
        if (!heartbeat.empty()) result.heartbeat = parse_rfc3339(heartbeat);
    }
    return result;
}

bool is_control_plane(const Json& node) {
    return is_labelled(node, "node-role.kubernetes.io/control-plane") ||
           is_labelled(node, "node-role.kubernetes.io/master");
}

bool is_etcd_member(const Json& node) { return is_labelled(node, "node-role.kubernetes.io/etcd"); }

Json make_event(const Json& about, const std::string& type, const std::string& reason,
                const std::string& message, const std::string& component, const std::string& host,
                WallTime now) {
    constexpr std::size_t kMostMessage = 1024;  // the API server's bound
    const std::string space = namespace_of(about).empty() ? "default" : namespace_of(about);
    Json object{{"apiVersion", string_at(about, {"apiVersion"})},
                {"kind", string_at(about, {"kind"})},
                {"name", name_of(about)},
                {"uid", uid_of(about)},
                {"resourceVersion", resource_version_of(about)}};
    if (!namespace_of(about).empty()) object["namespace"] = namespace_of(about);
    const std::string time = to_rfc3339(now);
    return Json{{"apiVersion", "v1"},
                {"kind", "Event"},
                {"metadata", {{"generateName", name_of(about) + "."}, {"namespace", space}}},
                {"involvedObject", std::move(object)},
                {"type", type},
                {"reason", reason},
                // excerpt's ellipsis is three bytes
                {"message", excerpt(message, kMostMessage - 3)},
                {"source", {{"component", component}, {"host", host}}},
                {"reportingComponent", component},
                {"reportingInstance", host},
                {"firstTimestamp", time},
                {"lastTimestamp", time},
                {"count", 1}};
}

}  // namespace kua::kube
