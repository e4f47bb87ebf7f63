// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/node_loop.hpp"

#include <algorithm>
#include <utility>

#include "agent/node/cordon.hpp"
#include "agent/node/restart.hpp"
#include "agent/release/install.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::upgrade {

namespace {

constexpr Duration kLongSleep{3'600'000};
constexpr Duration kBetweenTurns{100};
constexpr Duration kSoon{1'000};
constexpr Duration kBlindSleep{60'000};
constexpr Duration kLongestTransient{300'000};
constexpr Duration kHeldAgain{15'000};
constexpr Duration kClearUpAgain{30'000};

Duration until(Monotonic time, Clock& clock) {
    return std::max(Duration::zero(), std::chrono::ceil<Duration>(time - clock.monotonic()));
}

/// While the API server is away, or grants this node nothing, each watch has its own words for it:
/// one line in the log is enough.
std::string topic_of(const std::string& problem) {
    if (kube::is_passing(problem)) {
        return "the API server is away";
    }
    for (const auto* cause : {"is forbidden", "no CRD"}) {
        if (problem.find(cause) != std::string::npos) {
            return cause;
        }
    }
    return "the API server is away";
}

}  // namespace

NodeLoop::NodeLoop(Tools tools, NodeSettings settings, k3s::Finder& finder,
                   release::Staging& staging, const lock::View& view, Wakeup& changed)
    : tools_(tools),
      settings_(std::move(settings)),
      finder_(finder),
      staging_(staging),
      view_(view),
      changed_(changed),
      checks_(tools, settings_.node, settings_.ask_channel) {}

void NodeLoop::run(const std::stop_token& stop) {
    try {
        recover(stop);
        while (!stop.stop_requested()) {
            const auto began = tools_.clock.monotonic();
            const auto sleep = turn(stop);
            // The lock changes many times a second in a large rollout; who waits for it need not
            // look each time.
            const auto rest =
                std::chrono::ceil<Duration>(began + kBetweenTurns - tools_.clock.monotonic());
            if (sleep > kSoon && rest > Duration::zero()) {
                tools_.clock.wait_for(rest, stop);
            }
            changed_.wait(sleep, stop);
        }
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::stopped) {
            throw;
        }
    }
}

void NodeLoop::try_again() {
    try_again_ = true;
    changed_.ring();
}

void NodeLoop::recover(const std::stop_token& stop) {
    try {
        auto record = tools_.journal.read();
        if (record) {
            Upgrade upgrade(tools_, settings_.limits, settings_.node, std::move(*record),
                            std::nullopt, std::nullopt);
            failed_here_ = upgrade.resume(stop).ending == Ending::failed;
        }
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::invalid) {
            throw;
        }
        recover_blindly(error, stop);
    }
}

void NodeLoop::recover_blindly(const Error& error, const std::stop_token& stop) {
    const auto aside = tools_.journal.put_aside();
    log::error(
        format("{}; put aside as {}. An upgrade may have been interrupted: the node is "
               "uncordoned if this agent had cordoned it, k3s is started if it is down, and "
               "the Plans are looked at anew",
               error.what(), aside.string()));
    try {
        // Only what ran here is started: a host may have units of k3s's that never did.
        const auto k3s = finder_.remembered();
        if (!k3s) {
            throw Error(ErrorKind::failed,
                        "which k3s ran on this host is not known; start its service if it is down");
        }
        // Every swap is one rename: what lies in k3s's place is whole, the old one or the new one.
        release::discard_next(release::places(k3s->binary));
        const auto state = tools_.units.state(k3s->unit);
        if (state && (state->active_state == "inactive" || state->active_state == "failed")) {
            node::restart_unit(tools_.units, tools_.clock, k3s->unit, settings_.limits.restart,
                               stop);
        }
    } catch (const Error& trouble) {
        if (trouble.kind() == ErrorKind::stopped) {
            throw;
        }
        log::error(format("looking after k3s: {}", trouble.what()));
    }
}

void NodeLoop::uncordon_leftover(const Json& node, const std::stop_token& stop) {
    const node::OwnNode own_node(tools_.api, settings_.node);
    if (kube::annotations_of(node).contains(plan::kLeftCordoned) && !node::left_cordoned(node)) {
        own_node.annotate({{plan::kLeftCordoned, std::nullopt}}, stop);
    }
    if (!node::marked_by_us(node)) {
        return;
    }
    // The watch may be behind; what was cordoned by somebody else meanwhile stays so.
    if (node::marked_by_us(own_node.read(stop))) {
        own_node.uncordon(stop);
        log::warning(
            "uncordoned the node: its annotation says that this agent had cordoned it, and there "
            "is no journal of an upgrade on this host");
    }
}

void NodeLoop::announce(const Json& node, const std::stop_token& stop) {
    const auto annotations = kube::annotations_of(node);
    const auto said = annotations.find(plan::kAgent);
    if (said != annotations.end() && said->second.starts_with(KUA_VERSION ",")) {
        return;
    }
    // The watch may be behind what was written a moment ago; and nothing depends on it.
    const auto now = tools_.clock.monotonic();
    if (announced_ && now - *announced_ < kBlindSleep) {
        return;
    }
    announced_ = now;
    try {
        node::OwnNode(tools_.api, settings_.node)
            .annotate({{plan::kAgent,
                        format("{}, since {}", KUA_VERSION, to_rfc3339(tools_.clock.wall()))}},
                      stop);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        if (!kube::is_passing(error.what()) &&
            std::exchange(announcing_, error.what()) != error.what()) {
            log::warning(format("this agent can't announce itself: {}", error.what()));
        }
    }
}

std::optional<NodeLoop::Blindness> NodeLoop::blind(const std::optional<Json>& node) const {
    for (const auto* watch : {&view_.node, &view_.plans, &view_.lock}) {
        if (const auto problem = watch->snapshot().problem) {
            return Blindness{*problem, topic_of(*problem)};
        }
    }
    if (!view_.plans.snapshot().synced || !view_.node.snapshot().synced ||
        !view_.lock.snapshot().synced) {
        return Blindness{"reading the Plans", {}};
    }
    if (!node) {
        return Blindness{
            format("Node {} does not exist; it appears when k3s has registered it", settings_.node),
            {}};
    }
    if (!view_.lock.get(tools_.slots.settings().config_map)) {
        return Blindness{lock::missing(tools_.slots.settings()), {}};
    }
    return std::nullopt;
}

std::string NodeLoop::k3s_if_down() const {
    const auto k3s = finder_.remembered();
    if (!k3s) {
        return {};
    }
    try {
        const auto state = tools_.units.state(k3s->unit);
        if (state && state->active_state == "active") {
            return {};
        }
    } catch (const Error&) {
        return {};
    }
    return "; " + node::unit_in_words(tools_.units, k3s->unit);
}

void NodeLoop::look_for_k3s() {
    if (!settings_.found) {
        return;
    }
    try {
        settings_.found(finder_.find());
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        log::debug(error.what());  // That k3s is down is said already: nobody answers.
    }
}

Duration NodeLoop::turn(const std::stop_token& stop) {
    const auto node = view_.node.get(settings_.node);
    if (const auto reason = blind(node)) {
        say({false, "Waiting", reason->text + k3s_if_down(), kLongSleep, reason->topic}, nullptr);
        look_for_k3s();
        return kBlindSleep;
    }
    tools_.report.update(
        [&](node::Status& status) { status.version = kube::kubelet_version(*node); });
    // Gone since `blind` looked: the watch rings for that.
    const auto config_map = view_.lock.get(tools_.slots.settings().config_map);
    if (!config_map) {
        return Duration::zero();
    }
    const auto lock = lock::read_lock(*config_map);
    tools_.slots.observe(lock);
    turns_.see(lock);
    if (try_again_.exchange(false)) {
        retries_.clear();
    }
    failed_here_ =
        failed_here_ || std::ranges::any_of(lock.slots, [this](const auto& entry) {
            return entry.second.node == settings_.node && entry.second.phase == lock::kFailed;
        });
    const auto plans = read_plans(view_.plans.snapshot());
    const auto labels = kube::labels_of(*node);
    const auto wanted = candidates(plans, labels);
    announce(*node, stop);
    if (!clear_up(*node, wanted, plans, lock, stop)) {
        return kSoon;
    }
    const auto longest = left_ ? kClearUpAgain : kLongSleep;
    if (wanted.empty()) {
        // What was fetched for a Plan that is gone.
        staged_.reset();
        staging_.clean();
        if (const auto reason = unusable_plan(plans, labels)) {
            say({false, "Blocked", *reason}, nullptr);
            return longest;
        }
        std::string idle = plans.empty() ? "no Plans" : "nothing to do";
        if (node::left_cordoned(*node)) {
            idle += "; " + plan::left_cordoned_in_words(settings_.node);
        }
        say({false, "Idle", std::move(idle)}, nullptr);
        return longest;
    }
    const auto running = plan::parse_version(kube::kubelet_version(*node));
    const auto conflict = running ? conflict_of(wanted, *running) : std::nullopt;
    auto sleep = longest;
    std::optional<Standing> first;
    const Candidate* about = nullptr;
    for (const auto& candidate : wanted) {
        auto standing = consider(candidate, conflict, lock, plans, stop);
        if (standing.done) {
            return Duration::zero();
        }
        sleep = std::min(sleep, standing.again);
        if (!first) {
            first = std::move(standing);
            about = &candidate;
        }
    }
    say(*first, about);
    return sleep;
}

bool NodeLoop::clear_up(const Json& node, const std::vector<Candidate>& wanted, const Plans& plans,
                        const lock::Lock& lock, const std::stop_token& stop) {
    // What is refused now is refused a moment later, and everything that happens is a moment.
    const auto now = tools_.clock.monotonic();
    if (left_ && now - left_->since < kClearUpAgain) {
        return true;
    }
    try {
        uncordon_leftover(node, stop);
        const bool as_it_is = tidy(wanted, plans, lock, stop);
        left_.reset();
        return as_it_is;
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        if (!left_ || left_->text != error.what()) {
            log::warning(
                format("what an earlier upgrade has left could not be removed: {}", error.what()));
        }
        left_ = Held{error.what(), now};
        return true;
    }
}

std::optional<std::string> NodeLoop::failed_before(const lock::Slot& slot) const {
    const auto last = tools_.report.last();
    if (!last || last->result != lock::kFailed || last->plan != slot.plan ||
        last->hash != slot.hash || last->intent != slot.intent) {
        return std::nullopt;
    }
    // This host's own clock wrote both. Who releases a node has it take a slot anew.
    const bool before = parse_rfc3339(slot.acquired) < parse_rfc3339(last->finished);
    return before ? std::optional(last->message) : std::nullopt;
}

bool NodeLoop::tidy(const std::vector<Candidate>& wanted, const Plans& plans,
                    const lock::Lock& lock, const std::stop_token& stop) {
    bool as_it_is = true;
    for (const auto& [key, slot] : lock.slots) {
        if (slot.node != settings_.node) {
            continue;
        }
        // No upgrade is going on here: a slot that is neither a report nor a failure was taken by
        // an agent that died before its journal knew of it.
        const bool is_report = slot.phase == lock::kFailed || slot.phase == lock::kBlocked;
        const bool is_wanted =
            std::any_of(wanted.begin(), wanted.end(), [&, &own = slot](const Candidate& candidate) {
                return candidate.plan.name == own.plan &&
                       lock::is_present(own, candidate.hash, candidate.intent);
            });
        const bool of_use =
            (is_report && is_wanted) ||
            ((slot.phase == lock::kFailed || slot.retried) && is_unclear(plans, slot.plan));
        if (const auto failure = is_wanted && !is_report ? failed_before(slot) : std::nullopt) {
            // To try again what has failed would undo what somebody has just put right by hand.
            if (std::exchange(brought_back_, slot.acquired) != slot.acquired) {
                log::warning(
                    format("the lock is from before {} failed here, as when the data store "
                           "was brought back; the slot is taken until the Plan changes, or "
                           "`k3s-upgrade-agent release`",
                           slot.version),
                    {{"plan", slot.plan}, {"version", slot.version}});
            }
            tools_.slots.report({slot.plan, slot.hash, slot.version, slot.intent}, lock::kFailed,
                                *failure, stop);
            as_it_is = false;
            continue;
        }
        if (is_wanted && !is_report && slot.retried) {
            tools_.slots.step_back(slot.plan, "the agent was restarted", stop);
            as_it_is = false;
            continue;
        }
        if (!of_use && tools_.slots.give_back_seen(slot, stop)) {
            log::info(format("removed this node's \"{}\" from the lock", slot.phase),
                      {{"plan", slot.plan}});
        }
    }
    const auto is_history = [&](const auto& entry) {
        return std::none_of(wanted.begin(), wanted.end(), [&](const Candidate& candidate) {
            return candidate.key() == entry.first;
        });
    };
    std::erase_if(retries_, is_history);
    std::erase_if(ready_, is_history);
    std::erase_if(fetch_begins_, is_history);
    std::erase_if(held_, is_history);
    node::DrainTimeouts(tools_.journal.path().parent_path()).forget_if([&](const std::string& key) {
        return is_history(std::pair(key, 0));
    });
    return as_it_is;
}

Standing NodeLoop::consider(const Candidate& candidate, const std::optional<Conflict>& conflict,
                            const lock::Lock& lock, const Plans& plans,
                            const std::stop_token& stop) {
    if (candidate.plan.concurrency == 0) {
        return {false, "Paused", "spec.concurrency is 0"};
    }
    const auto own = lock.slots.find(lock::slot_key(candidate.plan.name, settings_.node));
    if (own != lock.slots.end() &&
        lock::has_failed(own->second, candidate.hash, candidate.intent)) {
        return {false, "Failed", own->second.detail};
    }
    if (own != lock.slots.end() && own->second.phase != lock::kBlocked &&
        own->second.phase != lock::kFailed && own->second.intent == candidate.intent) {
        // The lock takes no word of it now (it may be full), and must not be what forgets it.
        if (const auto failure = failed_before(own->second)) {
            return {false, "Failed", *failure, kBlindSleep};
        }
    }
    const auto closed = outside_window(candidate);
    if (closed && (settings_.prefetch != Prefetch::always || is_staged(candidate))) {
        return *closed;
    }
    try {
        const auto retry = retries_.find(candidate.key());
        if (retry != retries_.end() && tools_.clock.monotonic() < retry->second.next) {
            return {false, retry->second.phase, retry->second.reason,
                    until(retry->second.next, tools_.clock), retry->second.topic};
        }
        if (conflict && conflict->plans.contains(candidate.plan.name)) {
            return reported(candidate, *conflict, lock, stop);
        }
        // Where everything is ready but the slot, the watch's copy of the lock is asked first.
        if (!closed) {
            if (auto standing = wait_for_slot(candidate, lock, stop)) {
                return *standing;
            }
            if (auto standing = go_at_once(candidate, stop)) {
                return *standing;
            }
        }
        return attempt(candidate, lock, plans, stop);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        return blocked(candidate, error, stop);
    } catch (const std::exception& error) {
        // std::filesystem, std::bad_alloc, …: no reason to end the loop.
        return blocked(candidate, Error(ErrorKind::failed, error.what()), stop);
    }
}

Standing NodeLoop::reported(const Candidate& candidate, const Conflict& conflict,
                            const lock::Lock& lock, const std::stop_token& stop) {
    const auto own = lock.slots.find(lock::slot_key(candidate.plan.name, settings_.node));
    if (own == lock.slots.end() || own->second.detail.find(conflict.text) == std::string::npos) {
        tools_.slots.report(candidate.subject(), lock::kBlocked, conflict.text, stop);
    }
    return {false, std::string(lock::kBlocked), conflict.text};
}

Standing NodeLoop::blocked(const Candidate& candidate, const Error& error,
                           const std::stop_token& stop, std::optional<Duration> wanted_pause) {
    ready_.erase(candidate.key());
    auto& retry = retries_[candidate.key()];
    // What trying again may mend is tried more often than what somebody has to change: a release
    // that is not in order may have to be downloaded to find that out.
    const auto next = wanted_pause ? *wanted_pause : retry.pause.next();
    const auto pause =
        error.kind() == ErrorKind::transient ? std::min(next, kLongestTransient) : next;
    retry.next = tools_.clock.monotonic() + pause;
    if (kube::is_passing(error.what())) {
        // Nothing is wrong with the Plan, nor with the cluster.
        retry.phase = "Waiting";
        retry.reason = error.what();
        retry.topic = topic_of(retry.reason);
        return {false, retry.phase, retry.reason, pause, retry.topic};
    }
    retry.phase = lock::kBlocked;
    try {
        tools_.slots.report(candidate.subject(), lock::kBlocked, excerpt(error.what(), 800), stop);
    } catch (const Error& report) {
        if (report.kind() == ErrorKind::stopped) {
            throw;
        }
        if (report.kind() == ErrorKind::transient && error.kind() == ErrorKind::transient) {
            // The API server is away (it restarts with k3s): nothing is wrong with the Plan.
            retry.phase = "Waiting";
        } else {
            log::warning(format("the reason could not be written to the lock: {}", report.what()),
                         {{"plan", candidate.plan.name}});
        }
    }
    if (retry.phase == lock::kBlocked && retry.reason != error.what()) {
        log::warning(format("{} is blocked: {}", candidate.version.text(), error.what()),
                     {{"plan", candidate.plan.name}, {"version", candidate.version.text()}});
    }
    retry.reason = error.what();
    retry.topic.clear();
    return {false, retry.phase, retry.reason, pause, {}};
}

std::optional<Standing> NodeLoop::wait_for_budgets(const Candidate& candidate,
                                                   const std::stop_token& stop) {
    const auto text = checks_.held_by_budgets(candidate, stop);
    if (text.empty()) {
        held_.erase(candidate.key());
        return std::nullopt;
    }
    return wait_patiently(candidate, "the drain would be held up: " + text,
                          "for a PodDisruptionBudget", stop);
}

Standing NodeLoop::wait_patiently(const Candidate& candidate, std::string text,
                                  const std::string& topic, const std::stop_token& stop) {
    const auto now = tools_.clock.monotonic();
    auto& held = held_[candidate.key()];
    if (held.text != text) {
        held = {std::move(text), now};
    }
    const auto patience_ends = held.since + settings_.patience;
    if (now >= patience_ends) {
        return blocked(candidate, Error(ErrorKind::failed, held.text), stop, kHeldAgain);
    }
    auto& retry = retries_[candidate.key()];
    const auto pause = std::min(kHeldAgain, until(patience_ends, tools_.clock));
    retry.next = now + pause;
    retry.phase = "Waiting";
    retry.reason = held.text;
    retry.topic = topic;
    return Standing{false, retry.phase, retry.reason, pause, topic};
}

void NodeLoop::say(const Standing& standing, const Candidate* candidate) {
    tools_.report.update([&](node::Status& status) {
        status.phase = standing.phase;
        status.plan = candidate != nullptr ? candidate->plan.name : std::string();
        status.target = candidate != nullptr ? candidate->version.text() : std::string();
        status.message = standing.reason;
        status.percent.reset();
    });
    const auto topic = standing.phase +
                       (standing.topic.empty() ? standing.reason : standing.topic) +
                       (candidate != nullptr ? candidate->key() : std::string());
    if (topic == said_) {
        return;
    }
    said_ = topic;
    if (candidate != nullptr && standing.phase == "Blocked") {
        return;  // `blocked` has said it, as a warning.
    }
    log::Fields fields = {{"phase", standing.phase}};
    if (candidate != nullptr) {
        fields.emplace_back("plan", candidate->plan.name);
        fields.emplace_back("version", candidate->version.text());
    }
    log::info(standing.phase + ": " + standing.reason, fields);
}

}  // namespace kua::upgrade
