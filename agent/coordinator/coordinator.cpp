// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/coordinator.hpp"

#include <algorithm>
#include <utility>

#include "agent/plan/hash.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::coordinator {

namespace {

constexpr Duration kLongSleep{3'600'000};
constexpr Duration kWindowLook{60'000};
constexpr Duration kErrorPause{5'000};
constexpr Duration kErrorRest{1'000};
constexpr int kNotFound = 404;
/// Longer than a node lets others go first, and than most downloads take.
constexpr Duration kUntaken{600'000};

std::chrono::seconds ttl_of(const lock::Slot& slot) {
    return std::chrono::seconds(slot.ttl_seconds);
}

std::vector<NodeView> views_of(const kube::Snapshot& nodes) {
    std::vector<NodeView> views;
    views.reserve(nodes.objects.size());
    for (const auto& [name, object] : nodes.objects) {
        views.push_back(view_of(object));
    }
    return views;
}

/// Keys whose node is not among these.
std::vector<std::string> strangers_in(const lock::Lock& lock, const std::vector<NodeView>& nodes) {
    std::vector<std::string> keys;
    for (const auto& [key, slot] : lock.slots) {
        const bool is_known =
            std::any_of(nodes.begin(), nodes.end(),
                        [&name = slot.node](const NodeView& node) { return node.name == name; });
        if (!is_known) {
            keys.push_back(key);
        }
    }
    return keys;
}

/// The Plans that spec.prepare leads through from this one and back to it; empty when it does not.
std::vector<std::string> circle_of(const plan::Plan& plan,
                                   const std::map<std::string, plan::Plan>& plans) {
    std::vector<std::string> names = {plan.name};
    for (auto next = plan.prepare_plan; next;) {
        if (*next == plan.name) {
            std::sort(names.begin(), names.end());
            return names;
        }
        const auto other = plans.find(*next);
        // One that leads into a circle of others waits for those, and they say so.
        if (other == plans.end() || std::find(names.begin(), names.end(), *next) != names.end()) {
            break;
        }
        names.push_back(*next);
        next = other->second.prepare_plan;
    }
    return {};
}

}  // namespace

Coordinator::Coordinator(const Tools& tools, channel::Pace pace, const lock::View& view,
                         Wakeup& changed, std::function<void(bool)> on_role)
    : tools_(tools),
      pace_(pace),
      view_(view),
      changed_(changed),
      election_(tools.slots, tools.clock, std::move(on_role)),
      writer_(tools.api, tools.clock, tools.slots.settings().node) {}

void Coordinator::run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        auto sleep = kErrorPause;
        try {
            sleep = turn(stop);
            said_.clear();
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::stopped) {
                break;
            }
            // While the API is away it is the same each time, every few seconds.
            const bool passing = kube::is_passing(error.what());
            const std::string topic = passing ? "the API server starts" : error.what();
            if (std::exchange(said_, topic) != topic) {
                const auto line = format("coordinator: {}; trying again", error.what());
                passing ? log::info(line) : log::warning(line);
            }
            // What threw may have been the renewal that came too late.
            if (!election_.leading()) {
                rest();
            }
            // While the API is away its watches ring all the time.
            tools_.clock.wait_for(kErrorRest, stop);
        }
        changed_.wait(sleep, stop);
    }
    rest();
    election_.resign();
}

Duration Coordinator::turn(const std::stop_token& stop) {
    const auto node = view_.node.get(tools_.slots.settings().node);
    if (!node) {
        return kLongSleep;
    }
    if (!kube::is_control_plane(*node)) {
        rest();
        election_.resign();
        return kLongSleep;
    }
    const auto config_map = view_.lock.get(tools_.slots.settings().config_map);
    if (!config_map) {
        return kLongSleep;
    }
    const auto lock = lock::read_lock(*config_map);
    tools_.slots.observe(lock);
    std::optional<std::vector<NodeView>> nodes;
    if (nodes_) {
        if (const auto snapshot = nodes_->snapshot(); snapshot.synced) {
            nodes = views_of(snapshot);
        }
    }
    const auto count =
        nodes ? std::optional(wanted_ > 0 ? wanted_ : static_cast<std::int64_t>(nodes->size()))
              : std::nullopt;
    const auto sleep = election_.turn(lock, count, stop);
    if (!election_.leading()) {
        rest();
        return sleep;
    }
    if (!nodes_) {
        nodes_ = std::make_unique<kube::Watch>(tools_.api, kube::all_nodes(),
                                               [this] { changed_.ring(); });
    }
    if (!nodes) {
        return sleep;
    }
    return std::min(sleep, serve(lock, *nodes, stop));
}

void Coordinator::rest() {
    nodes_.reset();
    poller_.reset();
    // Others tell what is to be told now; what they did stands in the Plans.
    writer_.keep(Plans());
    told_of_rival_.clear();
    untaken_.clear();
}

Duration Coordinator::serve(const lock::Lock& lock, const std::vector<NodeView>& nodes,
                            const std::stop_token& stop) {
    const auto plan_objects = view_.plans.snapshot();
    if (!plan_objects.synced) {
        return kLongSleep;
    }
    tell_unreadable(lock);
    Plans plans;
    for (const auto& [name, object] : plan_objects.objects) {
        plans.emplace(name, plan::read_plan(object));
    }
    writer_.keep(plans);
    std::erase_if(untaken_, [&](const auto& entry) { return !plans.contains(entry.first); });
    follow_channels(plans);
    auto sleep = kLongSleep;
    std::map<std::string, Verdict> verdicts;
    std::int64_t wanted = 0;
    for (const auto& [name, plan] : plans) {
        const auto resolution = resolve(plan);
        if (!resolution) {
            continue;
        }
        const auto situation = situation_of(plan, *resolution, plans, lock, sleep);
        auto verdict = judge(plan, *resolution, nodes, situation, tools_.clock.wall());
        wanted = std::max(wanted, verdict.pending);
        watch_untaken(name, verdict, sleep);
        if (writer_.has_news(plan, verdict)) {
            verdicts.emplace(name, std::move(verdict));
        }
    }
    if (wanted != std::exchange(wanted_, wanted)) {
        changed_.ring();  // The election writes it.
    }
    const auto strangers = strangers_in(lock, nodes);
    if ((verdicts.empty() && strangers.empty()) || !alone(plans, sleep, stop)) {
        return sleep;
    }
    for (const auto& [name, verdict] : verdicts) {
        writer_.write(plans.at(name), verdict, stop);
    }
    drop_gone(lock, plans, strangers, stop);
    return sleep;
}

Situation Coordinator::situation_of(const plan::Plan& plan, const Resolution& resolution,
                                    const Plans& plans, const lock::Lock& lock,
                                    Duration& again) const {
    Situation situation;
    if (plan.problem || resolution.latest_version.empty()) {
        return situation;
    }
    situation.holders =
        holders_of(lock, plan.name, plan::latest_hash(plan, resolution.latest_version),
                   plan::intent_of(plan, resolution.latest_version, {}), again);
    if (plan.prepare_plan) {
        const auto other = plans.find(*plan.prepare_plan);
        situation.prepare.exists = other != plans.end();
        if (situation.prepare.exists) {
            situation.prepare.applying = other->second.status_applying;
        }
        situation.prepare.circle = circle_of(plan, plans);
    }
    const auto untaken = untaken_.find(plan.name);
    situation.untaken =
        untaken != untaken_.end() && tools_.clock.monotonic() - untaken->second.since >= kUntaken;
    if (plan.exclusive) {
        situation.exclusive = exclusive_beside(
            lock, plan.name, [this](const std::string& key, const lock::Slot& slot) {
                return tools_.slots.run_out(key, ttl_of(slot));
            });
    }
    if (plan.window) {
        const auto now = tools_.clock.wall();
        // Besides opening and closing, the time of day may be set at any moment.
        again = std::min(again, kWindowLook);
        if (!plan.window->contains(now)) {
            situation.shut = ShutWindow{plan.window->text(), plan.window->next_opening(now)};
            if (situation.shut->opens) {
                again = std::min(again, std::chrono::ceil<Duration>(*situation.shut->opens - now));
            }
        }
    }
    return situation;
}

void Coordinator::watch_untaken(const std::string& plan, const Verdict& verdict, Duration& again) {
    if (verdict.untaken.empty()) {
        untaken_.erase(plan);
        return;
    }
    const auto now = tools_.clock.monotonic();
    auto& known = untaken_.try_emplace(plan, Untaken{verdict.untaken, now}).first->second;
    if (known.state != verdict.untaken) {
        known = {verdict.untaken, now};
    }
    if (const auto end = known.since + kUntaken; now < end) {
        again = std::min(again, std::chrono::ceil<Duration>(end - now));
    }
}

void Coordinator::tell_unreadable(const lock::Lock& lock) {
    const std::set<std::string> keys(lock.unreadable.begin(), lock.unreadable.end());
    for (const auto& key : keys) {
        if (!unreadable_.contains(key)) {
            log::warning(
                format("the lock's key {} holds something that can't be read and counts "
                       "for nothing; remove it",
                       excerpt(key, 300)));
        }
    }
    unreadable_ = keys;
}

void Coordinator::follow_channels(const Plans& plans) {
    std::map<std::string, channel::Wanted> wanted;
    for (const auto& [name, plan] : plans) {
        // A Plan that is somebody else's may have a channel of any kind.
        if (!plan.problem && !resolve_from_spec(plan)) {
            wanted[name] = {plan.channel, plan.status_latest_version, resolved_before(plan)};
        }
    }
    if (wanted.empty()) {
        poller_.reset();
        return;
    }
    if (!poller_) {
        poller_ = std::make_unique<channel::Poller>(
            tools_.web, tools_.clock, pace_,
            [&id = tools_.cluster_id](const std::stop_token& token) { return id.get(token); },
            changed_);
    }
    poller_->follow(wanted);
}

std::optional<Resolution> Coordinator::resolve(const plan::Plan& plan) const {
    if (auto resolution = resolve_from_spec(plan)) {
        return resolution;
    }
    if (plan.problem) {
        return Resolution{};
    }
    const auto standing = poller_->standing(plan.name);
    if (!standing || (!standing->accepted && standing->problem.empty())) {
        return std::nullopt;
    }
    if (!standing->accepted) {
        return Resolution{{}, "Error", standing->problem};
    }
    return Resolution{standing->accepted->tag(), "Channel", standing->problem};
}

std::vector<Holder> Coordinator::holders_of(const lock::Lock& lock, const std::string& plan,
                                            const std::string& hash, const plan::Intent& intent,
                                            Duration& again) const {
    std::vector<Holder> holders;
    for (const auto& [key, slot] : lock.slots) {
        if (slot.plan != plan) {
            continue;
        }
        const bool run_out = tools_.slots.run_out(key, ttl_of(slot));
        const bool counts = lock::occupies(slot, hash, intent, run_out);
        const bool lost = lock::is_lost_retry(slot, run_out);
        const bool lasts = slot.phase == lock::kFailed || slot.phase == lock::kBlocked || lost;
        if (counts && !lasts) {
            again = std::min(again, tools_.slots.remaining(key, ttl_of(slot)) + Duration(1));
        }
        const bool silent = !lasts && !counts;
        if (counts || silent || slot.phase == lock::kBlocked) {
            holders.push_back({slot, silent});
        }
        if (counts && lost) {
            auto& told = holders.back().slot;
            told.detail = format(
                "{}; tried again, and fell silent while {}: when you know that {} is down, or at "
                "rest, `k3s-upgrade-agent release --node {} --force`",
                slot.retried->detail, slot.phase, slot.node, slot.node);
            told.phase = lock::kFailed;
        }
    }
    return holders;
}

bool Coordinator::alone(const Plans& plans, Duration& again, const std::stop_token& stop) {
    const auto sighting = tools_.rival.look(stop);
    using State = lock::Sighting::State;
    if (sighting.state == State::absent) {
        if (!told_of_rival_.empty()) {
            log::info(format("{}; this agent coordinates again", sighting.said));
        }
        told_of_rival_.clear();
        return true;
    }
    again = std::min(again, sighting.again);
    if (sighting.state == State::unknown) {
        return false;
    }
    if (told_of_rival_.empty()) {
        log::warning(format("{}; this agent writes nothing meanwhile", sighting.said));
    }
    std::erase_if(told_of_rival_, [&](const auto& name) { return !plans.contains(name); });
    for (const auto& [name, plan] : plans) {
        if (told_of_rival_.insert(name).second) {
            writer_.emit(plan,
                         {"Warning", "SystemUpgradeControllerAlive",
                          format("{}; k3s-upgrade-agent touches nothing meanwhile", sighting.said)},
                         stop);
        }
    }
    return false;
}

void Coordinator::drop_gone(const lock::Lock& lock, const Plans& plans,
                            const std::vector<std::string>& keys, const std::stop_token& stop) {
    std::vector<std::string> gone;
    for (const auto& key : keys) {
        // The watch may lag behind: a node that has just joined may hold a slot already.
        kube::Call call;
        call.path = kube::node_path(lock.slots.at(key).node);
        if (tools_.api.call(call, stop).status == kNotFound) {
            gone.push_back(key);
        }
    }
    std::vector<lock::Slot> dropped;
    tools_.slots.change(
        [&](const lock::Lock& current) {
            dropped.clear();
            std::map<std::string, std::optional<Json>> changes;
            for (const auto& key : gone) {
                const auto present = current.slots.find(key);
                // Whoever renewed it meanwhile is there.
                if (present != current.slots.end() &&
                    to_json(present->second) == to_json(lock.slots.at(key))) {
                    changes[key] = std::nullopt;
                    dropped.push_back(present->second);
                }
            }
            return changes;
        },
        stop, lock::Slots::Compare::own_keys);
    for (const auto& slot : dropped) {
        const auto line = format(
            "{} is not a Node of this cluster any more; its slot ({}) was "
            "dropped from the lock",
            slot.node, slot.phase);
        log::warning(line, {{"plan", slot.plan}});
        if (const auto plan = plans.find(slot.plan); plan != plans.end()) {
            writer_.emit(plan->second, {"Warning", "HolderGone", line}, stop);
        }
    }
}

}  // namespace kua::coordinator
