// SPDX-License-Identifier: Apache-2.0
// Paths, selectors and readings of the Kubernetes objects that the agent meets.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"
#include "lib/kube/watch.hpp"

namespace kua::kube {

std::string node_path(const std::string& name);
std::string config_map_path(const std::string& ns, const std::string& name);
std::string plan_path(const std::string& ns, const std::string& name);
std::string pod_path(const std::string& ns, const std::string& name);

/// One Node, by the field selector that newer API servers demand of a node (design.md, "Seen on
/// real k3s").
Selection one_node(const std::string& name);
/// One ConfigMap, by the field selector that RBAC's resourceNames allow for list and watch.
Selection one_config_map(const std::string& ns, const std::string& name);
Selection all_nodes();
Selection plans_in(const std::string& ns);
/// The pods bound to a node, in all namespaces.
Selection pods_on(const std::string& node);

std::string name_of(const Json& object);
std::string namespace_of(const Json& object);
std::string uid_of(const Json& object);
std::string resource_version_of(const Json& object);
std::map<std::string, std::string> labels_of(const Json& object);
std::map<std::string, std::string> annotations_of(const Json& object);

/// status.nodeInfo.kubeletVersion, e.g. `v1.30.4+k3s1`; empty when the kubelet has not reported.
std::string kubelet_version(const Json& node);
bool is_unschedulable(const Json& node);

struct Readiness {
    bool ready = false;
    std::optional<WallTime> heartbeat;  ///< lastHeartbeatTime of the Ready condition.
    std::string message;
    std::string since;  ///< lastTransitionTime, as it stands there; may be empty.
};
/// The Node's Ready condition.
Readiness readiness(const Json& node);

/// True on nodes labelled as control plane (`node-role.kubernetes.io/control-plane` or the older
/// `…/master`, value `true`).
bool is_control_plane(const Json& node);

/// True on nodes with k3s's label for the members of its own etcd
/// (`node-role.kubernetes.io/etcd=true`).
bool is_etcd_member(const Json& node);

/// A `v1` Event about an object, ready to be POSTed to /api/v1/namespaces/<ns>/events (the object's
/// namespace, or `default`). `type` is `Normal` or `Warning`; `component` and `host` become its
/// source.
Json make_event(const Json& about, const std::string& type, const std::string& reason,
                const std::string& message, const std::string& component, const std::string& host,
                WallTime now);

}  // namespace kua::kube
