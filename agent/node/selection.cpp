// SPDX-License-Identifier: Apache-2.0
#include "agent/node/selection.hpp"

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"

namespace kua::node {

namespace {

constexpr auto kMirrorPod = "kubernetes.io/config.mirror";
constexpr auto kSucController = "upgrade.cattle.io/controller";

const Json* controller_of(const Json& pod) {
    if (const auto* owners = find(pod, {"metadata", "ownerReferences"})) {
        for (const auto& owner : *owners) {
            if (bool_at(owner, {"controller"}, false)) {
                return &owner;
            }
        }
    }
    return nullptr;
}

bool finished(const Json& pod) {
    const auto phase = string_at(pod, {"status", "phase"});
    return phase == "Succeeded" || phase == "Failed";
}

bool has_empty_dir(const Json& pod) {
    if (const auto* volumes = find(pod, {"spec", "volumes"})) {
        return std::any_of(volumes->begin(), volumes->end(), [](const Json& volume) {
            return find(volume, {"emptyDir"}) != nullptr;
        });
    }
    return false;
}

/// What kubectl does not even list.
bool listed(const Json& pod, const plan::DrainSpec& spec) {
    const auto labels = kube::labels_of(pod);
    return !labels.contains(kSucController) &&
           (!spec.pod_selector || spec.pod_selector->matches(labels));
}

/// Of a pod that runs; null when it is none.
const Json* daemon_set_of(const Json& pod) {
    const auto* controller = controller_of(pod);
    const bool daemon = controller != nullptr && string_at(*controller, {"kind"}) == "DaemonSet";
    return daemon && !finished(pod) ? controller : nullptr;
}

DaemonSetRef ref_of_set(const Json& pod, const Json& controller) {
    return {kube::namespace_of(pod), string_at(controller, {"name"})};
}

enum class Fate { leaves, stays, refuses };

Fate fate_of(const Json& pod, const plan::DrainSpec& spec, WallTime now,
             const std::set<DaemonSetRef>& gone, std::string& why) {
    if (!listed(pod, spec) || overdue(pod, spec, now)) {
        return Fate::stays;
    }
    if (const auto* controller = daemon_set_of(pod)) {
        const auto set = ref_of_set(pod, *controller);
        if (!gone.contains(set)) {
            why = "is managed by a DaemonSet (spec.drain.ignoreDaemonSets is false)";
            return spec.ignore_daemon_sets ? Fate::stays : Fate::refuses;
        }
        if (!spec.force) {
            why = format("is managed by the DaemonSet {}, which is gone (set spec.drain.force)",
                         set.name);
            return Fate::refuses;
        }
    }
    if (kube::annotations_of(pod).contains(kMirrorPod)) {
        return Fate::stays;
    }
    if (finished(pod)) {
        return Fate::leaves;
    }
    if (!spec.delete_emptydir_data && has_empty_dir(pod)) {
        why = "uses an emptyDir volume (spec.drain.deleteEmptydirData is false)";
        return Fate::refuses;
    }
    if (controller_of(pod) == nullptr && !spec.force) {
        why = "is managed by no controller and would be lost (set spec.drain.force)";
        return Fate::refuses;
    }
    return Fate::leaves;
}

}  // namespace

PodRef ref_of(const Json& pod) {
    return {kube::namespace_of(pod), kube::name_of(pod), kube::uid_of(pod),
            find(pod, {"metadata", "deletionTimestamp"}) != nullptr};
}

bool overdue(const Json& pod, const plan::DrainSpec& spec, WallTime now) {
    const auto deleted = string_at(pod, {"metadata", "deletionTimestamp"});
    if (spec.skip_wait_for_delete_timeout <= 0 || deleted.empty()) {
        return false;
    }
    // The timestamp is when the pod's grace period ends.
    const auto late =
        std::chrono::duration_cast<std::chrono::seconds>(now - parse_rfc3339(deleted));
    return late.count() > spec.skip_wait_for_delete_timeout;
}

std::set<DaemonSetRef> daemon_sets_of(const std::vector<Json>& pods, const plan::DrainSpec& spec) {
    std::set<DaemonSetRef> sets;
    for (const auto& pod : pods) {
        if (const auto* controller = daemon_set_of(pod); controller && listed(pod, spec)) {
            sets.insert(ref_of_set(pod, *controller));
        }
    }
    return sets;
}

Selection select_pods(const std::vector<Json>& pods, const plan::DrainSpec& spec, WallTime now,
                      const std::set<DaemonSetRef>& gone) {
    Selection selection;
    for (const auto& pod : pods) {
        const auto ref = ref_of(pod);
        std::string why;
        switch (fate_of(pod, spec, now, gone, why)) {
            case Fate::leaves:
                selection.leave.push_back(ref);
                break;
            case Fate::stays:
                break;
            case Fate::refuses:
                selection.refused.push_back(format("{} {}", ref.text(), why));
                break;
        }
    }
    return selection;
}

}  // namespace kua::node
