// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/upgrade.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "agent/node/drain.hpp"
#include "agent/node/unpack.hpp"
#include "agent/release/images.hpp"
#include "agent/release/source.hpp"
#include "agent/upgrade/candidates.hpp"
#include "agent/upgrade/failure_event.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::upgrade {

namespace {

constexpr Duration kFirstPause{500};
constexpr Duration kLongestPause{15'000};
constexpr int kMillis = 1000;
/// Permissions come back, and a webhook may be restarting.
constexpr Duration kRefusals{60'000};
constexpr Duration kTroubles{300'000};
/// A drain that takes no longer is not worth a line in its Plan.
constexpr Duration kQuickDrain{10'000};
/// On an SD card.
constexpr Duration kLongestUnpacking{300'000};

std::string said_of(Ending ending) {
    switch (ending) {
        case Ending::succeeded:
            return "Succeeded";
        case Ending::undone:
            return "Undone";
        case Ending::failed:
            return "Failed";
    }
    return {};
}

}  // namespace

Upgrade::Upgrade(Tools tools, Limits limits, std::string node, node::Record record,
                 std::optional<plan::DrainSpec> drain, std::optional<Monotonic> slot_since,
                 Meanwhile meanwhile)
    : tools_(tools),
      limits_(limits),
      node_name_(std::move(node)),
      own_node_(tools.api, node_name_),
      record_(std::move(record)),
      drain_(std::move(drain)),
      meanwhile_(std::move(meanwhile)),
      began_(slot_since.value_or(tools.clock.monotonic())),
      deadline_(began_ + limits.deadline) {
    if (slot_since) {
        hold(*slot_since);
    }
    if (record_.started.empty()) {
        record_.started = to_rfc3339(tools_.clock.wall());
    }
}

void Upgrade::hold(Monotonic since) {
    slot_ = std::make_unique<lock::HeldSlot>(tools_.slots, tools_.clock, record_.plan, record_.hash,
                                             record_.version, since);
}

std::vector<const StepInfo*> Upgrade::going(Way way, std::string_view from) const {
    std::vector<const StepInfo*> found;
    bool reached = from.empty();
    for (const auto& step : steps()) {
        reached = reached || step.name == from;
        if (reached && step.way == way && has(step)) {
            found.push_back(&step);
        }
    }
    return found;
}

bool Upgrade::has(const StepInfo& step) const {
    // What an interrupted upgrade was at, it has.
    if (step.name == "cordon") {
        return cordons();
    }
    if (step.name == "snapshot") {
        return record_.datastore == node::name_of(node::Datastore::etcd);
    }
    if (step.name == "stop" || step.name == "copy-datastore") {
        return copies_sqlite();
    }
    if (step.name == "drain") {
        return drain_.has_value();
    }
    if (const auto point = hook_point(step); !point.empty()) {
        const bool of_drain = point == node::kPreDrain || point == node::kPostDrain;
        return record_.step == step.name || ((drain_ || !of_drain) && has_hooks(point));
    }
    if (step.name == "delay") {
        return record_.delay != Duration::zero();
    }
    return true;
}

void Upgrade::act(const StepInfo& step, const std::stop_token& stop) {
    if (const auto point = hook_point(step); !point.empty()) {
        run_hooks(point, step.disruptive, stop);
        return;
    }
    using Act = std::function<void(Upgrade&, const std::stop_token&)>;
    static const std::map<std::string_view, Act> acts = {
        {"prepare", &Upgrade::prepare},
        {"snapshot", &Upgrade::save_snapshot},
        {"cordon", &Upgrade::cordon},
        {"drain", &Upgrade::drain},
        {"stop", &Upgrade::stop_k3s},
        {"copy-datastore", &Upgrade::copy_datastore},
        {"swap",
         [](Upgrade& self, const auto&) { release::swap(self.places(), self.record_.sha256); }},
        {"restart",
         [](Upgrade& self, const auto& token) {
             self.restart(self.within_deadline(self.limits_.restart), token);
         }},
        {"verify", &Upgrade::verify_new},
        {"uncordon", &Upgrade::uncordon},
        {"delay", &Upgrade::delay},
        {"label", &Upgrade::label},
        {"release", &Upgrade::give_back},
        {"undo", &Upgrade::undo_all},
        {"restore", [](Upgrade& self, const auto&) { release::restore(self.way_back()); }},
        {"restart-previous",
         [](Upgrade& self, const auto& token) { self.restart(self.limits_.restart, token); }},
        {"verify-previous",
         [](Upgrade& self, const auto& token) {
             const auto timeout = self.limits_.health;
             self.verify(self.record_.from_version, {timeout, timeout}, token);
         }},
        {"uncordon-previous", &Upgrade::uncordon},
        {"report-failure", &Upgrade::report_failure},
    };
    acts.at(step.name)(*this, stop);
}

void Upgrade::prepare(const std::stop_token& stop) {
    release::prepare(places(), record_.staged, record_.sha256);
    record_.prepared = true;
    if (!record_.images.empty()) {
        // k3s loads what is there when it starts; until then nobody looks at them.
        release::install_images(record_.staged_images, record_.images_sha256, record_.images);
    }
    node::unpack_k3s(record_.staged, record_.data_dir, within_deadline(kLongestUnpacking), stop);
}

void Upgrade::cordon(const std::stop_token& stop) {
    insist("cordoning", deadline_, stop, [&] {
        // Somebody may have cordoned the node while it was fetching.
        record_.foreign_cordon = node::cordoned_by_others(own_node_.read(stop));
        if (!record_.foreign_cordon) {
            own_node_.cordon(record_.plan, stop);
        }
    });
}

bool Upgrade::cordons() const {
    // A node that somebody else has cordoned is left as it is, now and at the end.
    return record_.cordon && !record_.foreign_cordon;
}

void Upgrade::label(const std::stop_token& stop) {
    const auto refused = insist_or_go_on("labelling", stop, [&] {
        own_node_.label({record_.labels.begin(), record_.labels.end()}, stop);
    });
    if (refused) {
        // The node is well: nothing is to be taken back. It is the loop's to ask again, without the
        // slot, for as long as the Plan wants it.
        note_ += format("{}the node runs {}, but could not be labelled as such: {}",
                        note_.empty() ? "" : "; ", record_.version, excerpt(*refused, kMostReason));
    }
}

void Upgrade::give_back(const std::stop_token& stop) {
    slot_.reset();
    // One that is refused runs out by itself, and the loop removes what it finds of its own.
    insist_or_go_on("giving the slot back", stop,
                    [&] { tools_.slots.give_back(record_.plan, stop); });
}

Outcome Upgrade::run(const std::stop_token& stop) {
    return or_leave_running([&] { return forward_from({}, stop); });
}

Outcome Upgrade::or_leave_running(const std::function<Outcome()>& act) {
    try {
        return act();
    } catch (const Error&) {
        leave_running();
        throw;
    }
}

Outcome Upgrade::forward_from(std::string_view name, const std::stop_token& stop) {
    try {
        for (const auto* const step : going(Way::forward, name)) {
            perform(*step, stop);
        }
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        return recover(error, stop);
    }
    Outcome outcome{Ending::succeeded, note_};
    finish(outcome);
    return outcome;
}

void Upgrade::pause(const StepInfo& step, Moment moment) const {
    if (tools_.pause != nullptr) {
        (*tools_.pause)(step.name, moment);
    }
}

void Upgrade::perform(const StepInfo& step, const std::stop_token& stop) {
    if (stop.stop_requested()) {
        throw Error(ErrorKind::stopped, "stopped before " + std::string(step.name));
    }
    // Once k3s was restarted, the quickest way out is through.
    if (step.disruptive && record_.restarted.empty()) {
        ensure_may_go_on(stop);
        // A server that is stopped has no API of its own to ask.
        if (!record_.stopped && keep_cordoned(stop) && timings_.contains("drain")) {
            drain(stop);  // What was scheduled meanwhile.
        }
    }
    record_.step = step.name;
    journal(!going_back_ && record_.restarted.empty());
    // Where the new version stays, nothing is rolled back.
    phase_ = record_.stays ? lock::kFailed : step.phase;
    show(phase_, record_.stays ? record_.failure : std::string());
    log::info(
        format("{} for {} ({})", phase_, record_.version, step.name),
        {{"plan", record_.plan}, {"version", record_.version}, {"step", std::string(step.name)}});
    const auto start = tools_.clock.monotonic();
    try {
        pause(step, Moment::before);
        act(step, stop);
        pause(step, Moment::after);
    } catch (const Error&) {
        throw;
    } catch (const std::exception& error) {
        throw Error(ErrorKind::failed, error.what());
    }
    const auto took = std::chrono::duration_cast<Duration>(tools_.clock.monotonic() - start);
    timings_[std::string(step.name)] = static_cast<double>(took.count()) / kMillis;
}

void Upgrade::journal(bool must) {
    try {
        tools_.journal.begin(record_);
    } catch (const Error& error) {
        if (must) {
            throw;
        }
        // A full disk must neither keep the node from being put right nor take back a version that
        // works; the older record still leads here.
        log::error(format("the journal could not be written: {}", error.what()),
                   {{"plan", record_.plan}});
    }
}

void Upgrade::drain(const std::stop_token& stop) {
    node::Drain drain(tools_.api, tools_.clock, node_name_);
    const auto began = tools_.clock.monotonic();
    const auto remaining = std::chrono::ceil<Duration>(deadline_ - began);
    const auto drained = drain.run(
        *drain_, std::max(remaining, Duration(1)),
        [this, began, &stop](const node::PodsLeft& left) {
            auto text = left.count == 0 ? std::string()
                                        : format("{} {} left: {}", left.count,
                                                 left.count == 1 ? "pod" : "pods", left.names);
            if (!left.problem.empty()) {
                text += "; " + left.problem;
            }
            show("Draining", text,
                 left.count > 0 && tools_.clock.monotonic() - began >= kQuickDrain);
            ensure_wanted();
            keep_cordoned(stop);
        },
        stop);
    switch (drained.ended) {
        case node::Drained::By::no_pods:
            drain_timeouts().forget(key());
            break;
        case node::Drained::By::timeout:
            out_of_time(drained.left, "spec.drain.timeout", stop);
        case node::Drained::By::refused:
            out_of_time(drained.left, "refused again and again", stop);
        case node::Drained::By::deadline:
            out_of_time("DeadlineExceeded: " + drained.left, "spec.jobActiveDeadlineSecs", stop);
    }
}

void Upgrade::out_of_time(const std::string& what, const std::string& limit,
                          const std::stop_token& stop) {
    const auto count = drain_timeouts().add(key());
    const auto text =
        format("{} ({}; attempt {} of {})", what, limit, count, limits_.drain_attempts);
    if (count < limits_.drain_attempts) {
        tell(event("JobFailed",
                   format("Job failed on Node {}: {}", node_name_, excerpt(text, kMostReason))),
             stop);
        throw Error(ErrorKind::failed, text);
    }
    // In the journal with the next step: from here on the way back ends as a failure.
    record_.failure = format("{}: {} ({}; attempt {} of {})", record_.step,
                             excerpt(what, kMostReason), limit, count, limits_.drain_attempts);
    throw Error(ErrorKind::failed, record_.failure);
}

node::DrainTimeouts Upgrade::drain_timeouts() const {
    return node::DrainTimeouts(tools_.journal.path().parent_path());
}

Json Upgrade::event(const std::string& reason, const std::string& message) const {
    return kube::make_event(about_plan(record_, tools_.slots.settings().ns), "Warning", reason,
                            message, "k3s-upgrade-agent", node_name_, tools_.clock.wall());
}

std::string Upgrade::key() const { return key_of(record_.plan, record_.hash, record_.intent); }

lock::Subject Upgrade::subject() const {
    return {record_.plan, record_.hash, record_.version, record_.intent};
}

void Upgrade::ensure_may_go_on(const std::stop_token& stop) {
    ensure_wanted();
    if (tools_.clock.monotonic() >= deadline_) {
        out_of_time(format("DeadlineExceeded: not done within {}", to_text(limits_.deadline)),
                    "spec.jobActiveDeadlineSecs", stop);
    }
}

void Upgrade::ensure_wanted() const {
    slot_->ensure_held();
    if (const auto reason = meanwhile_.unwanted ? meanwhile_.unwanted() : std::nullopt) {
        throw Error(ErrorKind::failed, *reason);
    }
}

bool Upgrade::keep_cordoned(const std::stop_token& stop) {
    if (!cordons() || !meanwhile_.cordon_again || !meanwhile_.cordon_again()) {
        return false;
    }
    log::warning("somebody has uncordoned the node; cordoning it again (cordon.when_lifted: again)",
                 {{"plan", record_.plan}});
    insist("cordoning", deadline_, stop, [&] { own_node_.cordon(record_.plan, stop); });
    return true;
}

Duration Upgrade::within_deadline(Duration longest) const {
    const auto left = std::chrono::ceil<Duration>(deadline_ - tools_.clock.monotonic());
    return std::clamp(left, std::min(Duration(1'000), longest), longest);
}

void Upgrade::end_foreign_cordon(const std::stop_token& stop) {
    bool stays = true;
    insist_or_go_on("looking after the cordon", stop, [&] {
        stays = node::cordoned_by_others(own_node_.read(stop));
        if (stays && record_.lift_foreign) {
            own_node_.uncordon(stop);
            log::info(
                "uncordoned the node, which was cordoned before this upgrade (cordon.foreign: "
                "lift)",
                {{"plan", record_.plan}});
            stays = false;
        } else if (stays) {
            own_node_.annotate({{plan::kLeftCordoned, record_.plan}}, stop);
        }
    });
    if (stays) {
        note_ = plan::left_cordoned_in_words(node_name_);
        log::warning(note_, {{"plan", record_.plan}});
        tell(event("LeftCordoned", format("Node {} is {}", node_name_, note_)), stop);
    }
}

void Upgrade::uncordon(const std::stop_token& stop) {
    if (record_.cordon && record_.foreign_cordon && !going_back_) {
        end_foreign_cordon(stop);
    }
    if (!cordons()) {
        return;
    }
    insist("uncordoning", std::nullopt, stop, [&] {
        // Without our annotation there is no cordon, or it is somebody else's by now.
        const auto node = tools_.api.get(kube::node_path(node_name_), stop);
        if (node && kube::annotations_of(*node).contains(plan::kCordonedBy)) {
            own_node_.uncordon(stop);
        }
    });
}

void Upgrade::delay(const std::stop_token& stop) {
    // SUC: the node is schedulable again while its Plan waits before it counts as done.
    const auto now = tools_.clock.wall();
    if (record_.completed.empty()) {
        record_.completed = to_rfc3339_micro(now);
        journal(false);
    }
    const auto passed =
        std::chrono::duration_cast<Duration>(now - parse_rfc3339(record_.completed));
    // Whatever the time of day was set to meanwhile.
    const auto left = std::clamp(record_.delay - passed, Duration::zero(), record_.delay);
    show("Delaying", format("{} left of spec.postCompleteDelay", to_text(left)));
    if (!tools_.clock.wait_for(left, stop)) {
        throw Error(ErrorKind::stopped, "stopped while delaying");
    }
}

void Upgrade::finish(const Outcome& outcome) {
    const auto took = std::chrono::duration_cast<Duration>(tools_.clock.monotonic() - began_);
    node::LastResult result;
    result.plan = record_.plan;
    result.version = record_.version;
    result.from_version = record_.from_version;
    result.hash = record_.hash;
    result.intent = record_.intent;
    result.result = said_of(outcome.ending);
    result.message = outcome.reason;
    result.finished = to_rfc3339(tools_.clock.wall());
    result.seconds = static_cast<double>(took.count()) / kMillis;
    result.timings = timings_;
    tools_.report.finished(result);
    try {
        release::discard_next(places());
        if (outcome.ending == Ending::succeeded) {
            release::discard_kept(places());
        }
        if (!record_.images.empty()) {
            tidy_images(outcome);
        }
        if (outcome.ending != Ending::undone) {
            discard_older_copies(outcome.ending == Ending::failed);
        }
        tools_.journal.end();
    } catch (const Error& error) {
        // The next start takes the last step again, which does nothing then.
        log::error(format("what the upgrade used could not be removed: {}", error.what()),
                   {{"plan", record_.plan}});
    }
    const log::Fields fields = {
        {"plan", record_.plan}, {"version", record_.version}, {"result", result.result}};
    switch (outcome.ending) {
        case Ending::succeeded:
            log::info(format("upgraded from {} to {} in {}", record_.from_version, record_.version,
                             to_text(took)),
                      fields);
            break;
        case Ending::undone:
            log::warning(format("undone, the node is as it was: {}", outcome.reason), fields);
            break;
        case Ending::failed:
            // After a restart the reason says what has become of it.
            log::error(format("failed{}: {}; the slot stays taken until the Plan changes",
                              record_.restarted.empty() ? " and undone" : "", outcome.reason),
                       fields);
            break;
    }
}

void Upgrade::tidy_images(const Outcome& outcome) const {
    if (outcome.ending == Ending::succeeded) {
        release::remove_other_images(record_.images, release::host_architecture().images);
    } else if (!record_.images_were_there && !record_.stays) {
        release::discard_images(record_.images);
    }
}

void Upgrade::insist(std::string_view deed, std::optional<Monotonic> until,
                     const std::stop_token& stop, const std::function<void()>& act) {
    Backoff pause(kFirstPause, kLongestPause);
    bool answering = false;  // The API server is there, and refuses this.
    bool told_of_start = false;
    Monotonic since;
    while (true) {
        try {
            act();
            return;
        } catch (const Error& error) {
            const bool refused = error.kind() != ErrorKind::transient;
            if (error.kind() == ErrorKind::stopped || (until && refused)) {
                throw;
            }
            const auto now = tools_.clock.monotonic();
            if (until && now >= *until) {
                out_of_time(format("DeadlineExceeded: {}: {}", deed, error.what()),
                            "spec.jobActiveDeadlineSecs", stop);
            }
            if (!until) {
                const bool answered_before = answering;
                answering = refused || api_answers(stop);
                since = answered_before ? since : now;
                const auto refused_for = std::chrono::duration_cast<Duration>(now - since);
                if (answering && refused_for >= (refused ? kRefusals : kTroubles)) {
                    throw Error(ErrorKind::failed, format("{}: given up after {}: {}", deed,
                                                          to_text(refused_for), error.what()));
                }
            }
            const bool failed = !record_.failure.empty();
            const auto detail =
                failed ? format("{} ({}: {})", record_.failure, deed, error.what()) : error.what();
            if (slot_) {
                slot_->show(phase_, detail);
            }
            // Where k3s is down for good, the host's own status is all there is to read, and only a
            // person can mend it.
            show_on_host(failed ? lock::kFailed : phase_, detail);
            const auto line = format("{}: {}; trying again", deed, error.what());
            const log::Fields fields = {{"plan", record_.plan}, {"step", record_.step}};
            if (!kube::is_passing(line)) {
                log::warning(line, fields);
            } else if (!std::exchange(told_of_start, true)) {
                log::info(line, fields);
            }
        }
        if (!tools_.clock.wait_for(pause.next(), stop)) {
            throw Error(ErrorKind::stopped, format("stopped while {}", deed));
        }
    }
}

std::optional<std::string> Upgrade::insist_or_go_on(std::string_view deed,
                                                    const std::stop_token& stop,
                                                    const std::function<void()>& act) {
    try {
        insist(deed, std::nullopt, stop, act);
        return std::nullopt;
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        log::error(error.what(), {{"plan", record_.plan}, {"version", record_.version}});
        return error.what();
    }
}

bool Upgrade::api_answers(const std::stop_token& stop) {
    try {
        return tools_.api.get(kube::node_path(node_name_), stop).has_value();
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        return false;
    }
}

void Upgrade::show(std::string_view phase, const std::string& detail, bool waits) {
    if (slot_) {
        slot_->show(phase, detail, waits);
    }
    show_on_host(phase, detail);
}

void Upgrade::show_on_host(std::string_view phase, const std::string& detail) {
    tools_.report.update([&](node::Status& status) {
        status.phase = phase;
        status.plan = record_.plan;
        status.target = record_.version;
        status.message = detail;
        status.percent.reset();
    });
}

}  // namespace kua::upgrade
