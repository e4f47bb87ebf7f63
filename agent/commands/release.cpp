// SPDX-License-Identifier: Apache-2.0
#include "agent/commands/release.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "agent/commands/local_k3s.hpp"
#include "agent/config.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/http/curl_client.hpp"
#include "lib/kube/client.hpp"
#include "lib/kube/kubeconfig.hpp"
#include "lib/systemd/dbus_units.hpp"

namespace kua::commands {

namespace {

constexpr auto kK3sKubeconfig = "/etc/rancher/k3s/k3s.yaml";

bool is_over(const lock::Slot& slot) {
    return slot.phase == lock::kFailed || slot.phase == lock::kBlocked;
}

std::string name_of(const lock::Slot& slot) { return format("{} on {}", slot.plan, slot.node); }

/// How long ago the holder renewed, were its clock ours; absent when it wrote no time.
std::optional<Duration> age_of(const lock::Slot& slot, WallTime now) {
    try {
        const auto age = now - parse_rfc3339(slot.renewed);
        return std::max(Duration::zero(), std::chrono::duration_cast<Duration>(age));
    } catch (const Error&) {
        return std::nullopt;
    }
}

std::string refusal(const lock::Slot& slot, WallTime now) {
    const auto age = age_of(slot, now);
    const auto ttl = std::chrono::seconds(slot.ttl_seconds);
    const auto begin = one_line(
        format("{} is not freed: it is {}{}{}, renewed {} by the clock of {}", name_of(slot),
               slot.phase, slot.detail.empty() ? "" : ": ", slot.detail,
               age ? to_text(std::chrono::floor<std::chrono::seconds>(*age)) + " ago" : "never",
               slot.node));
    if (age && *age < ttl) {
        return format(
            "{}; its agent is at work: wait for it, or take the slot away with --force (the agent "
            "then stops before its next disruptive step)",
            begin);
    }
    return format(
        "{}, and its lease is {}; its agent is silent, and will finish or undo its work when it "
        "comes back. If you know that {} is down, or back and at rest, free it with --force",
        begin, to_text(ttl), slot.node);
}

std::string line(const lock::Slot& slot) {
    return one_line(format("freed {}: {}, {}{}{}", name_of(slot), slot.phase, slot.version,
                           slot.detail.empty() ? "" : ", ", slot.detail));
}

/// What to look at instead, where there is nothing to free.
std::string nothing(const lock::Lock& lock, const std::string& node, const std::string& plan) {
    std::vector<std::string> elsewhere;
    for (const auto& [key, slot] : lock.slots) {
        if (slot.phase == lock::kFailed) {
            elsewhere.push_back(name_of(slot));
        }
    }
    return one_line(format("nothing to free: {} has no slot{}{}{}", node,
                           plan.empty() ? "" : " of ", plan,
                           elsewhere.empty() ? "" : "; Failed are " + join(elsewhere, ", ")));
}

Surroundings look_around(const Config& config) {
    Surroundings found;
    found.own_kubeconfig = config.node.kubeconfig;
    try {
        found.own_node = config.node.name.empty()
                             ? kube::node_name(kube::read_kubeconfig(config.node.kubeconfig),
                                               config.node.kubeconfig)
                             : config.node.name;
    } catch (const Error& error) {
        // An administrator's host need not be a node, and an administrator not its root.
        found.why_not_own = error.what();
    }
    if (const auto* environment = std::getenv("KUBECONFIG")) {
        found.environment = environment;
    }
    found.k3s_kubeconfig = kK3sKubeconfig;
    found.k3s_readable = access(kK3sKubeconfig, R_OK) == 0;
    return found;
}

}  // namespace

Freeing choose_to_free(const lock::Lock& lock, const std::string& node, const std::string& plan,
                       bool force, WallTime now) {
    Freeing choice;
    for (const auto& [key, slot] : lock.slots) {
        if (slot.node != node || (!plan.empty() && slot.plan != plan)) {
            continue;
        }
        if (is_over(slot) || force) {
            choice.freed.emplace(key, slot);
        } else {
            choice.refused.push_back(refusal(slot, now));
        }
    }
    return choice;
}

int release_slots(lock::Slots& slots, Clock& clock, const ReleaseOptions& options,
                  std::ostream& out, std::ostream& errors) {
    const auto& node = slots.settings().node;
    Freeing choice;
    const auto lock = slots.change(
        [&](const lock::Lock& current) {
            choice = choose_to_free(current, node, options.plan, options.force, clock.wall());
            std::map<std::string, std::optional<Json>> changes;
            for (const auto& [key, slot] : choice.freed) {
                changes.emplace(key, std::nullopt);
            }
            return changes;
        },
        {});
    for (const auto& [key, slot] : choice.freed) {
        out << line(slot) << "\n";
    }
    for (const auto& sentence : choice.refused) {
        errors << sentence << "\n";
    }
    if (choice.freed.empty() && choice.refused.empty()) {
        errors << nothing(lock, node, options.plan) << "\n";
    }
    return choice.freed.empty() ? 1 : 0;
}

Access access_to(const std::string& node, const std::filesystem::path& given,
                 const Surroundings& surroundings) {
    if (!given.empty()) {
        return {given, false};
    }
    if (surroundings.own_node == node) {
        return {surroundings.own_kubeconfig, true};
    }
    if (!surroundings.environment.empty()) {
        if (surroundings.environment.find(':') != std::string::npos) {
            throw Error(ErrorKind::invalid,
                        format("KUBECONFIG=\"{}\" is a list; name one file with --kubeconfig",
                               surroundings.environment));
        }
        return {surroundings.environment, false};
    }
    if (surroundings.k3s_readable) {
        return {surroundings.k3s_kubeconfig, false};
    }
    const auto whose = surroundings.own_node
                           ? format("{} is not this host's node", node)
                           : format("can't tell whether {} is this host's node ({})", node,
                                    surroundings.why_not_own);
    throw Error(ErrorKind::invalid,
                format("{}, and a node's own credentials free its own slots only: give an "
                       "administrator's kubeconfig with --kubeconfig or $KUBECONFIG, run this as "
                       "root on a server ({}), or run it as root on {} itself",
                       whose, surroundings.k3s_kubeconfig.string(), node));
}

int release(const std::filesystem::path& config_path, const ReleaseOptions& options) {
    auto config = load_config(config_path);
    systemd::DbusUnits units;
    auto finder = make_finder(config, units);
    config.node.kubeconfig = look_for_k3s(config, finder).kubeconfig;
    const auto surroundings = look_around(config);
    if (options.node.empty() && !surroundings.own_node) {
        throw Error(ErrorKind::invalid,
                    format("can't tell which node this host is: {}; name one with --node",
                           surroundings.why_not_own));
    }
    const auto node = options.node.empty() ? *surroundings.own_node : options.node;
    const auto access = access_to(node, options.kubeconfig, surroundings);
    http::CurlOptions web;
    // The kubelet's API server is this host; an administrator's is wherever kubectl would find it.
    web.proxy_from_environment = !access.kubelets;
    http::CurlClient http(web);
    kube::Client api(http, access.kubeconfig);
    SystemClock clock;
    lock::LockSettings settings;
    settings.ns = config.plans.ns;
    settings.node = node;
    lock::Slots slots(api, clock, settings);
    return release_slots(slots, clock, options, std::cout, std::cerr);
}

}  // namespace kua::commands
