// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/progress.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "agent/plan/marks.hpp"
#include "lib/kube/objects.hpp"

namespace kua::coordinator {

namespace {

bool has(const std::vector<std::string>& sorted, const std::string& name) {
    return std::binary_search(sorted.begin(), sorted.end(), name);
}

void sort_by_node(std::vector<lock::Slot>& slots) {
    std::sort(slots.begin(), slots.end(),
              [](const auto& left, const auto& right) { return left.node < right.node; });
}

}  // namespace

NodeView view_of(const Json& node) {
    auto readiness = kube::readiness(node);
    NodeView view{kube::name_of(node), kube::labels_of(node),        kube::kubelet_version(node),
                  readiness.ready,     kube::is_control_plane(node), std::move(readiness.since)};
    const auto annotations = kube::annotations_of(node);
    view.announced = annotations.contains(plan::kAgent);
    view.left_cordoned = plan::left_cordoned_by(annotations, kube::is_unschedulable(node));
    return view;
}

Progress progress_of(const plan::Plan& plan, const std::string& hash,
                     const std::vector<NodeView>& nodes, const std::vector<Holder>& holders) {
    Progress progress;
    for (const auto& node : nodes) {
        if (!plan::selects(plan, node.labels)) {
            continue;
        }
        progress.selects_any = true;
        if (!plan::applied(plan, node.labels, hash)) {
            progress.pending.push_back(node.name);
        }
    }
    std::sort(progress.pending.begin(), progress.pending.end());
    for (const auto& [slot, silent] : holders) {
        if (slot.phase == lock::kBlocked) {
            // A report about an older intent, or from a node that has gone on since, is history.
            if (slot.hash == hash && has(progress.pending, slot.node)) {
                progress.blocked.push_back(slot);
            }
            continue;
        }
        if (silent) {
            progress.silent.push_back(slot);
            continue;
        }
        progress.applying.push_back(slot.node);
        if (slot.phase == lock::kFailed) {
            progress.failed.push_back(slot);
        } else if (slot.waits) {
            progress.held_up.push_back(slot);
        }
    }
    std::sort(progress.applying.begin(), progress.applying.end());
    sort_by_node(progress.failed);
    sort_by_node(progress.blocked);
    sort_by_node(progress.silent);
    sort_by_node(progress.held_up);
    std::set_difference(progress.pending.begin(), progress.pending.end(), progress.applying.begin(),
                        progress.applying.end(), std::back_inserter(progress.waiting));
    return progress;
}

std::vector<std::string> exclusive_beside(const lock::Lock& lock, const std::string& plan,
                                          const RunOut& run_out) {
    std::set<std::string> plans;
    for (const auto& [key, slot] : lock.slots) {
        if (slot.exclusive && slot.plan != plan && slot.phase != lock::kBlocked &&
            slot.phase != lock::kFailed && !run_out(key, slot)) {
            plans.insert(slot.plan);
        }
    }
    return {plans.begin(), plans.end()};
}

}  // namespace kua::coordinator
