// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/checks.hpp"

#include "agent/lock/turns.hpp"
#include "agent/node/cordon.hpp"
#include "agent/node/drain.hpp"
#include "agent/release/images.hpp"
#include "agent/release/install.hpp"
#include "agent/release/room.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"

namespace kua::upgrade {

namespace {

/// How often the servers' versions are read while a `prepare` waits and nothing is heard: the wait
/// itself is woken by the other Plan's status.
constexpr Duration kServersAgain{45'000};
constexpr std::chrono::minutes kAnswerHolds{10};
constexpr auto kControlPlane = "node-role.kubernetes.io/control-plane=true";
constexpr auto kEtcd = "node-role.kubernetes.io/etcd=true";
/// SUC's label for the Plan of a Job, on its pods, too (LabelPlan).
constexpr auto kJobsPlan = "upgrade.cattle.io/plan";
constexpr std::size_t kMostOfName = 63;

/// Whether it is mounted where the kubelet looks (Kubernetes, "About cgroup v2").
bool has_cgroup_v2() {
    std::error_code code;
    return std::filesystem::exists("/sys/fs/cgroup/cgroup.controllers", code);
}

}  // namespace

std::optional<Standing> Checks::before_fetch(const Candidate& candidate, const Plans& plans,
                                             const Site& site, const std::stop_token& stop) {
    const auto& plan = candidate.plan;
    if (plan.version.empty() && candidate.version < site.from) {
        return Standing{false, "Waiting",
                        format("holding {}: the channel names {}, which is older", site.from.text(),
                               candidate.version.text())};
    }
    if (auto standing = wait_for_servers(candidate, plans, stop)) {
        return standing;
    }
    plan::Move move{site.from, candidate.version, site.k3s.is_server};
    if (!move.is_server) {
        move.servers = servers(candidate.key(), stop);
        if (!plan::any_known(move.servers)) {
            return Standing{false, "Waiting", "until the version of any server is known",
                            kServersAgain};
        }
    }
    move.embedded_etcd = kube::is_etcd_member(site.node);
    move.cgroup_v1 = site.k3s.fails_on_cgroup_v1 && !has_cgroup_v2();
    if (const auto reason = plan::refusal(plan, move)) {
        throw Error(ErrorKind::invalid, *reason);
    }
    if (tools_.hooks != nullptr) {
        tools_.hooks->check();
    }
    ask_channel(candidate, stop);
    try_labels(candidate, stop);
    if (plan.drain) {
        const auto selection = node::Drain(tools_.api, tools_.clock, node_).plan(*plan.drain, stop);
        if (!selection.refused.empty()) {
            throw Error(ErrorKind::invalid,
                        "the node can't be drained: " + join(selection.refused, "; "));
        }
    }
    return std::nullopt;
}

std::string Checks::pods_of_rival(const std::stop_token& stop) const {
    const auto selection = kube::pods_on(node_);
    kube::Call call;
    call.path = selection.path;
    call.query = selection.query;
    call.query["labelSelector"] = kJobsPlan;
    const auto list = tools_.api.must(call, stop);
    std::vector<std::string> at_work;
    const auto* items = find(list, {"items"});
    for (const auto& pod : items != nullptr ? *items : Json::array()) {
        const auto phase = string_at(pod, {"status", "phase"});
        if (phase != "Succeeded" && phase != "Failed") {
            at_work.push_back(format("{}/{} (Plan {})", kube::namespace_of(pod), kube::name_of(pod),
                                     excerpt(kube::labels_of(pod).at(kJobsPlan), kMostOfName)));
        }
    }
    if (at_work.empty()) {
        return {};
    }
    return format(
        "a Job of system-upgrade-controller is at work on this node: {}; delete the Job "
        "if it does not end",
        join(at_work, ", "));
}

std::string Checks::held_by_budgets(const Candidate& candidate, const std::stop_token& stop) const {
    const auto& spec = candidate.plan.drain;
    if (!spec || spec->disable_eviction) {
        return {};
    }
    node::Drain drain(tools_.api, tools_.clock, node_);
    return join(drain.held_by_budgets(drain.plan(*spec, stop).leave, stop), "; ");
}

void Checks::of_release(const Candidate& candidate, const Site& site, const release::Staged& staged,
                        release::Staging& staging, const std::stop_token& stop) {
    const auto& k3s = site.k3s;
    if (const auto reason = plan::older_build(
            candidate.plan, staging.build_date_of(k3s.binary, stop), staged.tried.build_date)) {
        throw Error(ErrorKind::invalid, *reason);
    }
    const auto places = release::places(k3s.binary);
    const auto size = std::filesystem::file_size(staged.path);
    std::vector<release::Need> needs = {
        {places.binary.parent_path(), size, "the new k3s"},
        // k3s never removes what older versions have unpacked: containers run from it.
        {k3s.data_dir / "data", staged.tried.unpacked, "what it unpacks"}};
    if (const auto reason = release::why_not(places, size); !reason.empty()) {
        throw Error(ErrorKind::invalid, reason);
    }
    if (staged.images) {
        const auto images = std::filesystem::file_size(staged.images->path);
        if (const auto reason = release::why_not_images(k3s.images(), images); !reason.empty()) {
            throw Error(ErrorKind::invalid, reason);
        }
        needs.push_back({k3s.images(), images, "its images"});
    }
    if (const auto reason = release::why_no_room(needs); !reason.empty()) {
        throw Error(ErrorKind::invalid, reason);
    }
}

node::Datastore Checks::to_copy(const Candidate& candidate, const Site& site,
                                const std::filesystem::path& copies) {
    if (!site.k3s.is_server || site.from == candidate.version) {
        return node::Datastore::elsewhere;
    }
    const auto datastore = node::find_datastore(site.k3s.data_dir, kube::is_etcd_member(site.node));
    if (datastore == node::Datastore::sqlite) {
        if (const auto reason = node::why_not_copied(site.k3s.data_dir, copies)) {
            throw Error(ErrorKind::invalid, *reason);
        }
    }
    return datastore;
}

lock::Request Checks::request(const Candidate& candidate, Site& site,
                              const std::stop_token& stop) const {
    lock::Request request;
    request.plan = candidate.plan.name;
    request.node = node_;
    request.hash = candidate.hash;
    request.intent = candidate.intent;
    request.concurrency = candidate.plan.concurrency;
    request.exclusive = candidate.plan.exclusive;
    request.server = site.k3s.is_server || kube::is_control_plane(site.node);
    request.etcd = kube::is_etcd_member(site.node);
    request.rank = lock::rank_of(kube::uid_of(site.node), candidate.plan.uid, candidate.hash);
    if (request.etcd) {
        const auto list = list_nodes(kEtcd, stop);
        if (const auto* items = find(list, {"items"})) {
            for (const auto& node : *items) {
                request.etcd_members.insert(kube::name_of(node));
                if (!kube::readiness(node).ready) {
                    request.etcd_not_ready.insert(kube::name_of(node));
                }
                if (kube::kubelet_version(node) == candidate.version.text()) {
                    site.datastore = node::Datastore::elsewhere;
                }
            }
        }
    }
    return request;
}

std::optional<Standing> Checks::wait_for_servers(const Candidate& candidate, const Plans& plans,
                                                 const std::stop_token& stop) {
    if (!candidate.plan.prepare_plan) {
        return std::nullopt;
    }
    const auto other = plans.find(*candidate.plan.prepare_plan);
    if (other == plans.end()) {
        return Standing{false, "Waiting",
                        format("for the Plan {} that spec.prepare names: it does not exist",
                               *candidate.plan.prepare_plan)};
    }
    if (!other->second.status_applying.empty()) {
        return Standing{false, "Waiting",
                        format("for the Plan {}, which is being applied on {}", other->first,
                               join(other->second.status_applying, ", "))};
    }
    const auto& control_plane = servers(other->second.resource_version, stop);
    const auto behind = plan::servers_not_at(control_plane, candidate.version);
    if (!behind.empty()) {
        return Standing{false, "Waiting",
                        format("for {} of {} servers ({})", behind.size(), control_plane.size(),
                               join(behind, ", ")),
                        kServersAgain};
    }
    return std::nullopt;
}

const std::vector<plan::ServerVersion>& Checks::servers(const std::string& occasion,
                                                        const std::stop_token& stop) {
    const auto now = tools_.clock.monotonic();
    if (occasion == servers_occasion_ && now - servers_listed_ < kServersAgain) {
        return servers_;
    }
    const auto list = list_nodes(kControlPlane, stop);
    servers_.clear();
    if (const auto* items = find(list, {"items"})) {
        for (const auto& node : *items) {
            servers_.push_back({kube::name_of(node), kube::kubelet_version(node)});
        }
    }
    if (servers_.empty()) {
        kube::Call version;
        version.path = "/version";
        servers_.push_back(
            {"the API server", string_at(tools_.api.must(version, stop), {"gitVersion"})});
    }
    servers_occasion_ = occasion;
    servers_listed_ = now;
    return servers_;
}

void Checks::ask_channel(const Candidate& candidate, const std::stop_token& stop) {
    const auto& plan = candidate.plan;
    if (!plan.version.empty() || !ask_channel_) {
        return;
    }
    ask_at_times("channel " + candidate.key(), [&] {
        // The status is written by a node: one that was broken into could name any version there.
        const auto version = with_context(
            "asking the channel (channel.ask: false in the configuration is for hosts that can't "
            "reach it)",
            [&] { return ask_channel_(plan, stop); });
        if (version != candidate.version) {
            throw Error(ErrorKind::failed,
                        format("the Plan's status says {}, but its channel {} says {}",
                               candidate.version.text(), plan.channel, version.text()));
        }
    });
}

void Checks::try_labels(const Candidate& candidate, const std::stop_token& stop) {
    const auto labels = plan::complete_labels(candidate.plan, candidate.latest, candidate.hash);
    if (labels.empty()) {
        return;
    }
    ask_at_times("labels " + candidate.key(), [&] {
        // NodeRestriction refuses a node some labels of its own: better now than when k3s is
        // upgraded.
        with_context("spec.postCompleteLabels", [&] {
            node::OwnNode(tools_.api, node_).try_label({labels.begin(), labels.end()}, stop);
        });
    });
}

void Checks::ask_at_times(const std::string& question, const std::function<void()>& ask) {
    const auto now = tools_.clock.monotonic();
    const auto answered = answered_.find(question);
    if (answered != answered_.end() && now - answered->second < kAnswerHolds) {
        return;
    }
    ask();
    answered_.insert_or_assign(question, now);
}

Json Checks::list_nodes(const std::string& label_selector, const std::stop_token& stop) const {
    kube::Call call;
    call.path = kube::all_nodes().path;
    call.query = {{"labelSelector", label_selector}};
    return tools_.api.must(call, stop);
}

}  // namespace kua::upgrade
