// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/waiting.hpp"

#include <algorithm>

#include "agent/plan/marks.hpp"
#include "agent/plan/rules.hpp"
#include "agent/plan/version.hpp"
#include "lib/base/format.hpp"

namespace kua::coordinator {

namespace {

constexpr std::size_t kMostNamed = 3;

std::string some(const std::vector<std::string>& names) {
    auto shown = std::vector<std::string>(
        names.begin(),
        names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kMostNamed)));
    if (names.size() > kMostNamed) {
        shown.push_back(format("and {} more", names.size() - kMostNamed));
    }
    return join(shown, ", ");
}

bool has(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// The nodes that run more than a channel names, and as they are shown.
struct Ahead {
    std::vector<std::string> names;
    std::vector<std::string> shown;  ///< `server-1 at v1.31.1+k3s1`
};

Ahead ahead_of(const plan::Version& version, const std::vector<NodeView>& nodes,
               const std::vector<std::string>& waiting) {
    Ahead ahead;
    for (const auto& node : nodes) {
        const auto running = plan::parse_version(node.kubelet_version);
        if (running && *running > version && has(waiting, node.name)) {
            ahead.names.push_back(node.name);
            ahead.shown.push_back(format("{} at {}", node.name, node.kubelet_version));
        }
    }
    return ahead;
}

std::optional<std::string> preparation(const std::string& name, const Prepare& prepare,
                                       const plan::Version& version,
                                       const std::vector<NodeView>& nodes) {
    if (!prepare.circle.empty()) {
        return format(
            "the Plans {} wait for each other (spec.prepare): none of them can begin; "
            "take spec.prepare out of one",
            join(prepare.circle, ", "));
    }
    if (!prepare.exists) {
        return format("waiting for the Plan {} that spec.prepare names: it does not exist", name);
    }
    if (!prepare.applying.empty()) {
        return format("waiting for the Plan {}, which is being applied on {}", name,
                      some(prepare.applying));
    }
    std::vector<plan::ServerVersion> servers;
    for (const auto& node : nodes) {
        if (node.control_plane) {
            servers.push_back({node.name, node.kubelet_version});
        }
    }
    const auto behind = plan::servers_not_at(servers, version);
    if (behind.empty()) {
        return std::nullopt;
    }
    return format("waiting for {} of {} servers ({})", behind.size(), servers.size(), some(behind));
}

std::string shut(const ShutWindow& window) {
    return format(
        "waiting for spec.window ({}) to open{}", window.text,
        window.opens ? " at " + to_rfc3339(*window.opens) : ", which it does not within two weeks");
}

void add_lines(std::vector<Reason>& found, const std::string& reason,
               const std::vector<std::string>& lines) {
    if (!lines.empty()) {
        found.push_back({reason, some(lines)});
    }
}

void add_waiting(std::vector<Reason>& found, const plan::Plan& plan,
                 const std::optional<plan::Version>& version, const std::vector<NodeView>& nodes,
                 const Progress& progress, const std::vector<std::string>& ahead,
                 const Situation& situation) {
    std::vector<std::string> waiting;
    std::vector<std::string> not_ready;
    std::vector<std::string> unannounced;
    std::vector<std::string> able;
    for (const auto& node : nodes) {
        if (!has(progress.waiting, node.name) || has(ahead, node.name)) {
            continue;
        }
        waiting.push_back(node.name);
        if (!node.announced) {
            unannounced.push_back(node.name);
        } else if (node.ready) {
            able.push_back(node.name);
        }
        if (!node.ready) {
            not_ready.push_back(node.since.empty() ? node.name
                                                   : format("{} since {}", node.name, node.since));
        }
    }
    if (waiting.empty()) {
        return;
    }
    if (plan.concurrency == 0) {
        found.push_back(
            {"Paused", format("paused: spec.concurrency is 0; waiting are {}", some(waiting))});
    }
    if (situation.shut) {
        found.push_back({"Waiting", shut(*situation.shut)});
    }
    if (!situation.exclusive.empty()) {
        found.push_back(
            {"Waiting", format("waiting for exclusive Plan {}", some(situation.exclusive))});
    }
    if (plan.prepare_plan && version) {
        if (auto line = preparation(*plan.prepare_plan, situation.prepare, *version, nodes)) {
            found.push_back({"Waiting", std::move(*line)});
        }
    }
    if (!not_ready.empty()) {
        found.push_back({"SyncJob", format("not Ready: {}", some(not_ready))});
    }
    if (!unannounced.empty()) {
        found.push_back(
            {"SyncJob", format("no agent has announced itself on: {}", some(unannounced))});
    }
    if (situation.untaken && !able.empty()) {
        found.push_back(
            {"SyncJob", format("a slot is free, and for minutes none of these has taken it: {}; "
                               "see `k3s-upgrade-agent status` there",
                               some(able))});
    }
}

}  // namespace

std::string silence(const lock::Slot& slot) {
    return format("{} fell silent while {}; its slot is free again", slot.node, slot.phase);
}

std::string failure(const lock::Slot& slot) { return format("{}: {}", slot.node, slot.detail); }

std::vector<Reason> reasons(const plan::Plan& plan, const Resolution& resolution,
                            const std::vector<NodeView>& nodes, const Progress& progress,
                            const Situation& situation) {
    std::vector<Reason> found;
    std::vector<std::string> failed;
    for (const auto& slot : progress.failed) {
        failed.push_back(failure(slot));
    }
    add_lines(found, "JobFailed", failed);
    std::vector<std::string> silent;
    for (const auto& slot : progress.silent) {
        silent.push_back(silence(slot));
    }
    add_lines(found, "Silent", silent);

    const auto version = plan::parse_version(resolution.latest_version);
    const auto ahead = version && resolution.reason == "Channel"
                           ? ahead_of(*version, nodes, progress.waiting)
                           : Ahead{};
    std::vector<std::string> blocked;
    for (const auto& slot : progress.blocked) {
        if (!has(ahead.names, slot.node)) {
            blocked.push_back(failure(slot));
        }
    }
    add_lines(found, "Blocked", blocked);
    if (!ahead.shown.empty()) {
        found.push_back({"Waiting", format("holding {}: the channel names {}, and no node is "
                                           "downgraded",
                                           some(ahead.shown), version->text())});
    }

    std::vector<std::string> held_up;
    for (const auto& slot : progress.held_up) {
        held_up.push_back(format("{} ({}, {})", slot.node, slot.phase, slot.detail));
    }
    add_waiting(found, plan, version, nodes, progress, ahead.names, situation);
    add_lines(found, "SyncJob", held_up);
    std::vector<std::string> left;
    for (const auto& node : nodes) {
        if (node.left_cordoned == plan.name) {
            left.push_back(format("{}: {}", node.name, plan::left_cordoned_in_words(node.name)));
        }
    }
    add_lines(found, "SyncJob", left);
    return found;
}

bool is_untaken(const plan::Plan& plan, const std::vector<NodeView>& nodes,
                const Progress& progress, const std::vector<Reason>& reasons) {
    const bool in_the_way = std::any_of(reasons.begin(), reasons.end(), [](const Reason& reason) {
        return reason.reason != "SyncJob";
    });
    if (in_the_way || static_cast<std::int64_t>(progress.applying.size()) >= plan.concurrency) {
        return false;
    }
    return std::any_of(nodes.begin(), nodes.end(), [&](const NodeView& node) {
        return node.ready && node.announced && has(progress.waiting, node.name);
    });
}

}  // namespace kua::coordinator
