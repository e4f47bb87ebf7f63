// SPDX-License-Identifier: Apache-2.0
// The way back of an upgrade: what a restarted agent makes of the journal, undo, and rolling back.
#include <algorithm>

#include "agent/node/outside.hpp"
#include "agent/release/file_hash.hpp"
#include "agent/upgrade/failure_event.hpp"
#include "agent/upgrade/upgrade.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::upgrade {

namespace {

constexpr Duration kLookAgain{2'000};

}  // namespace

Outcome Upgrade::resume(const std::stop_token& stop) {
    return or_leave_running([&] { return go_on(stop); });
}

Outcome Upgrade::go_on(const std::stop_token& stop) {
    log::info(format("going on with the upgrade to {} that was interrupted at \"{}\"",
                     record_.version, record_.step),
              {{"plan", record_.plan}, {"version", record_.version}, {"step", record_.step}});
    const auto* const step = find_step(record_.step);
    if (step == nullptr) {
        throw Error(ErrorKind::invalid,
                    format("{}: the step \"{}\" is unknown to this agent; install the one that "
                           "wrote it",
                           tools_.journal.path().string(), record_.step));
    }
    node::end_outside_leftovers();
    if (step->way == Way::after_failure) {
        const bool undone = !record_.undone.empty();
        return end_after_hooks(
            {undone ? Ending::undone : Ending::failed, undone ? record_.undone : record_.failure},
            stop);
    }
    if (step->way == Way::roll_back) {
        hold(tools_.clock.monotonic());
        return roll_back_from(step->name, stop);
    }
    if (step->way == Way::undo || step->interrupted == Interrupted::undo ||
        (step->interrupted == Interrupted::undo_unless_swapped && !swapped())) {
        return undo("the agent was restarted", stop);
    }
    if (step->interrupted != Interrupted::repeat) {
        return resume_after_swap(stop);
    }
    // What is left takes nothing away; the slot is renewed for those who count.
    hold(tools_.clock.monotonic());
    return forward_from(record_.step, stop);
}

bool Upgrade::swapped() const {
    try {
        return !std::filesystem::exists(record_.next) &&
               release::hash_file(record_.binary) == record_.sha256;
    } catch (const std::exception& error) {
        // What can't be read can't be run either: the old one goes back into its place.
        log::warning(format("looking at the binary: {}", error.what()), {{"plan", record_.plan}});
        return false;
    }
}

Outcome Upgrade::resume_after_swap(const std::stop_token& stop) {
    const auto patience = tools_.clock.monotonic() + limits_.health;
    const auto restarted = [this] {
        record_.restarted = to_rfc3339_micro(tools_.clock.wall());
        hold(tools_.clock.monotonic());
    };
    while (true) {
        const auto k3s = look_at_k3s();
        if (!k3s.is_up) {
            // Whoever has the slot by now: starting what is down takes nothing away.
            restarted();
            return forward_from("restart", stop);
        }
        bool answered = true;
        try {
            const auto node = own_node_.read(stop);
            if (record_.version != record_.from_version &&
                kube::kubelet_version(node) == record_.version) {
                // Restarted by the one before, or with the host: there is nothing left to undo.
                restarted();
                return forward_from("verify", stop);
            }
            if (const auto age = fresh_slot_age(stop)) {
                hold(tools_.clock.monotonic() - *age);
                return forward_from("restart", stop);
            }
            // What the Node shows may be from before the host went down.
            if (k3s.started && node::reported_since(node, *k3s.started, tools_.clock.wall())) {
                break;
            }
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::stopped) {
                throw;
            }
            // While nobody answers k3s runs undisturbed: others may hold slots, and only an answer
            // can tell.
            answered = error.kind() != ErrorKind::transient;
            show("Resuming", error.what());
        }
        if (answered && tools_.clock.monotonic() >= patience) {
            break;
        }
        if (!tools_.clock.wait_for(kLookAgain, stop)) {
            throw Error(ErrorKind::stopped, "stopped while looking what has become of the slot");
        }
    }
    return undo("the agent was away for longer than its slot is kept", stop);
}

Upgrade::RunningK3s Upgrade::look_at_k3s() {
    RunningK3s k3s;
    try {
        const auto state = tools_.units.state(record_.unit);
        k3s.is_up = state && state->active_state == "active";
        if (state && state->main_age) {
            k3s.started = tools_.clock.wall() - *state->main_age;
        }
    } catch (const Error& error) {
        log::warning(format("looking at {}: {}", record_.unit, error.what()),
                     {{"plan", record_.plan}});
    }
    return k3s;
}

std::optional<Duration> Upgrade::fresh_slot_age(const std::stop_token& stop) {
    const auto lock = tools_.slots.read(stop);
    const auto own = lock.slots.find(lock::slot_key(record_.plan, node_name_));
    if (own == lock.slots.end() || own->second.hash != record_.hash || own->second.late) {
        return std::nullopt;
    }
    // This host's own clock wrote it; the monotonic one has begun anew.
    const auto age = std::chrono::duration_cast<Duration>(tools_.clock.wall() -
                                                          parse_rfc3339(own->second.renewed));
    const bool fresh =
        age >= Duration::zero() && age <= lock::fence_of(tools_.slots.settings().ttl);
    return fresh ? std::optional(age) : std::nullopt;
}

Outcome Upgrade::recover(const Error& error, const std::stop_token& stop) {
    log::error(format("the upgrade to {} failed at \"{}\": {}", record_.version, record_.step,
                      error.what()),
               {{"plan", record_.plan}, {"version", record_.version}, {"step", record_.step}});
    if (record_.restarted.empty()) {
        return undo(error.what(), stop);
    }
    if (const auto* const step = find_step(record_.step);
        step != nullptr && step->way == Way::forward && step->undone_by.empty()) {
        return leave_as_it_is(error.what(), stop);
    }
    record_.failure = format("{}: {}", record_.step, excerpt(error.what(), kMostReason));
    note_last_lines();
    if (const auto line = last_words(record_.last_lines, !look_at_k3s().is_up); !line.empty()) {
        record_.failure += format("; k3s said: {}", line);
    }
    if (const auto why =
            why_not_rolled_back(limits_.rollback, {record_.server, record_.etcd_member},
                                record_.from_version, record_.version)) {
        return stop_there(*why, stop);
    }
    return roll_back_from("restore", stop);
}

Outcome Upgrade::stop_there(const std::string& why, const std::stop_token& stop) {
    going_back_ = true;
    const auto old = keep_old_binary();
    record_.stays = true;
    record_.failure += format(
        "; nothing was rolled back: {}. {} was left in place. When it is mended: "
        "`k3s-upgrade-agent release`. To go back by hand: {}",
        why, record_.version, way_back_in_words(old));
    return roll_back_from("uncordon-previous", stop);
}

Outcome Upgrade::leave_as_it_is(const std::string& why, const std::stop_token& stop) {
    // The new version works, and the next node would be left as this one.
    going_back_ = true;
    const bool cordoned = record_.step == "uncordon";
    record_.stays = true;
    record_.failure =
        format("{}: {}; the node runs {}{}. When it is mended: {}`k3s-upgrade-agent release`",
               record_.step, excerpt(why, kMostReason), record_.version,
               cordoned ? " and stays cordoned" : "",
               cordoned ? format("kubectl uncordon {}; ", node_name_) : std::string());
    return roll_back_from("report-failure", stop);
}

std::filesystem::path Upgrade::keep_old_binary() {
    try {
        return release::keep(places(), record_.from_version);
    } catch (const std::exception& error) {
        log::error(format("the old binary could not be given a name of its own: {}", error.what()),
                   {{"plan", record_.plan}});
        return record_.previous;
    }
}

release::Places Upgrade::way_back() const {
    auto back = places();
    const auto kept = release::kept(back, record_.from_version);
    if (std::filesystem::exists(kept)) {
        back.previous = kept;
    }
    return back;
}

void Upgrade::note_last_lines() {
    try {
        if (tools_.last_lines != nullptr) {
            record_.last_lines =
                (*tools_.last_lines)(record_.unit, parse_rfc3339(record_.restarted));
        }
    } catch (const std::exception& error) {
        log::warning(format("the last lines of {}: {}", record_.unit, error.what()),
                     {{"plan", record_.plan}});
    }
}

void Upgrade::tell_last_lines(const std::stop_token& stop) {
    if (record_.last_lines.empty()) {
        return;
    }
    tell(failure_event(record_, tools_.slots.settings().ns, node_name_, tools_.clock.wall()), stop);
}

void Upgrade::tell(Json event, const std::stop_token& stop) {
    try {
        kube::Call call;
        call.method = "POST";
        call.path = format("/api/v1/namespaces/{}/events", tools_.slots.settings().ns);
        call.body = std::move(event);
        const auto answer = tools_.api.call(call, stop);
        constexpr int kIsThere = 409;  // From before an interruption.
        if (!answer.ok() && answer.status != kIsThere) {
            throw kube::refusal(answer, "making an Event");
        }
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        log::warning(error.what(), {{"plan", record_.plan}});
    }
}

Outcome Upgrade::undo(const std::string& reason, const std::stop_token& stop) {
    going_back_ = true;
    undoing_ = reason;
    for (const auto* const step : going(Way::undo)) {
        perform(*step, stop);
    }
    // Where nothing is to be tried again, that is why.
    const bool for_good = !record_.failure.empty();
    return end_after_hooks(
        {for_good ? Ending::failed : Ending::undone, for_good ? record_.failure : undoing_}, stop);
}

void Upgrade::undo_all(const std::stop_token& stop) {
    // What fails must not keep the rest from being put right.
    const auto attempt = [&](std::string_view deed, const std::function<void()>& act) {
        try {
            act();
            return true;
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::stopped) {
                throw;
            }
            trouble(deed, error, undoing_);
        } catch (const std::exception& error) {
            trouble(deed, error, undoing_);
        }
        return false;
    };
    // k3s was not restarted: whatever lies in its place, the old one is what runs.
    if (record_.prepared) {
        attempt("putting the old binary back", [&] { release::restore(places()); });
    }
    attempt("starting k3s", [&] { start_k3s(stop); });
    attempt("removing the new binary", [&] { release::discard_next(places()); });
    attempt("removing the copy of the data store", [&] { discard_copy(); });
    const bool uncordoned = attempt("uncordoning", [&] { uncordon(stop); });
    if (!uncordoned && record_.failure.empty()) {
        // Tried again, on this node and then on the next, it would take them all out of use.
        record_.failure = undoing_;
    }
    slot_.reset();
    if (!record_.failure.empty()) {
        record_.failure += format("; undone{}; when it is mended: `k3s-upgrade-agent release`",
                                  uncordoned && cordons() ? ", uncordoned" : "");
        // Not to be tried again: the slot stays taken, as after a rollback.
        attempt("reporting the failure", [&] { report_failure(stop); });
        drain_timeouts().forget(key());
        return;
    }
    attempt("giving the slot back", [&] {
        insist("giving the slot back", std::nullopt, stop,
               [&] { tools_.slots.step_back(record_.plan, excerpt(undoing_, kMostReason), stop); });
    });
}

void Upgrade::trouble(std::string_view deed, const std::exception& error, std::string& reason) {
    log::error(format("undoing the upgrade to {}: {}: {}", record_.version, deed, error.what()),
               {{"plan", record_.plan}, {"version", record_.version}});
    reason += format("; and while undoing, {}: {}", deed, excerpt(error.what(), kMostReason));
}

Outcome Upgrade::roll_back_from(std::string_view name, const std::stop_token& stop) {
    going_back_ = true;
    for (const auto* const step : going(Way::roll_back, name)) {
        try {
            perform(*step, stop);
            if (step->name == "verify-previous") {
                record_.failure += "; rolled back to " + record_.from_version;
            } else if (step->name == "uncordon-previous" && !record_.stays && cordons()) {
                record_.failure += ", uncordoned";
            }
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::stopped) {
                throw;
            }
            // The way back has no way back: what remains is to do the rest of it, so that the node
            // is at least not left cordoned, and to say so.
            log::error(format("rolling back to {} failed at \"{}\": {}", record_.from_version,
                              step->name, error.what()),
                       {{"plan", record_.plan},
                        {"version", record_.from_version},
                        {"step", std::string(step->name)}});
            record_.failure += format("; and while rolling back, {}: {}", step->name,
                                      excerpt(error.what(), kMostReason));
            if (record_.server && step->name == "verify-previous") {
                const auto old = way_back().previous;
                std::error_code code;
                const bool restored = !std::filesystem::exists(old, code);
                record_.failure +=
                    "; to go back by hand: " + way_back_in_words(restored ? record_.binary : old);
            }
        }
        if (step->name == "uncordon-previous" && !record_.stays) {
            record_.failure += "; when it is mended: `k3s-upgrade-agent release`";
        }
    }
    return end_after_hooks({Ending::failed, record_.failure}, stop);
}

void Upgrade::report_failure(const std::stop_token& stop) {
    slot_.reset();
    tell_last_lines(stop);
    insist("reporting the failure", std::nullopt, stop,
           [&] { tools_.slots.report(subject(), lock::kFailed, record_.failure, stop); });
}

}  // namespace kua::upgrade
