// SPDX-License-Identifier: Apache-2.0
// The node loop's road from a Plan that wants this node to its upgrade: the window, the checks, the
// release, the slot.
#include <algorithm>

#include "agent/node/cordon.hpp"
#include "agent/release/images.hpp"
#include "agent/release/install.hpp"
#include "agent/upgrade/node_loop.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::upgrade {

namespace {

constexpr Duration kLongSleep{3'600'000};
constexpr Duration kVersionAgain{45'000};
constexpr int kPercentALine = 10;
constexpr std::size_t kMostOfMessage = 200;
constexpr std::chrono::minutes kAfterLifted{15};
/// A free slot is not kept waiting for checks that were passed a moment ago. What changes within a
/// minute is found by the drain, or by nobody.
constexpr std::chrono::minutes kChecksHold{1};

/// The status follows what the holders do; the log says once that this node waits.
Standing waiting_for_slot(const lock::Choice& choice) {
    return {false, "Waiting", "for a slot: " + choice.why_not, choice.again.value_or(kLongSleep),
            "for a slot"};
}

release::Wanted wanted_of(const Candidate& candidate) {
    return {candidate.version, candidate.plan.image};
}

std::map<std::string, std::string> labels_for(const Candidate& candidate) {
    auto labels = plan::complete_labels(candidate.plan, candidate.latest, candidate.hash);
    labels[plan::label_of(candidate.plan.name)] = candidate.hash;
    return labels;
}

}  // namespace

template <typename Act>
auto NodeLoop::or_give_back(const Candidate& candidate, const std::stop_token& stop,
                            const Act& act) {
    try {
        return act();
    } catch (const Error& error) {
        tools_.slots.step_back(candidate.plan.name, error.what(), stop);
        throw;
    }
}

std::optional<Standing> NodeLoop::outside_window(const Candidate& candidate) const {
    const auto& window = candidate.plan.window;
    const auto now = tools_.clock.wall();
    if (!window || window->contains(now)) {
        return std::nullopt;
    }
    const auto opens = window->next_opening(now);
    return Standing{
        false, "Waiting",
        opens
            ? format("for spec.window ({}), which opens at {}", window->text(), to_rfc3339(*opens))
            : format("for spec.window ({}), which never opens", window->text()),
        // The time of day may be set meanwhile: an hour is the longest that is not looked at it.
        opens ? std::clamp(std::chrono::ceil<Duration>(*opens - now), Duration(1'000), kLongSleep)
              : kLongSleep};
}

std::optional<Standing> NodeLoop::wait_for_slot(const Candidate& candidate, const lock::Lock& lock,
                                                const std::stop_token& stop) {
    const auto ready = ready_.find(candidate.key());
    if (ready == ready_.end()) {
        return std::nullopt;
    }
    // No part of the intent: the Plan may say another by now.
    ready->second.request.concurrency = candidate.plan.concurrency;
    Standing standing{false, "Waiting", {}, {}, "for a slot"};
    const auto choice = tools_.slots.look(lock, ready->second.request);
    if (choice.take) {
        const auto nodes = lock.coordinator ? lock.coordinator->nodes : 0;
        standing.again = turns_.wait(ready->second.request, nodes, tools_.clock.monotonic());
        if (standing.again == Duration::zero()) {
            return std::nullopt;
        }
        standing.reason = "for its turn";
    } else {
        turns_.none_free(candidate.plan.name);
        if (choice.stuck) {
            // Nothing that a node does in the lock will end this: somebody has to look, and then
            // the checks have to.
            ready_.erase(ready);
            throw Error(ErrorKind::failed, choice.why_not);
        }
        standing = waiting_for_slot(choice);
    }
    const auto own = lock.slots.find(lock::slot_key(candidate.plan.name, settings_.node));
    if (own != lock.slots.end() && own->second.phase == lock::kBlocked) {
        tools_.slots.give_back_seen(own->second, stop);  // What it says is over.
    }
    return standing;
}

bool NodeLoop::is_staged(const Candidate& candidate) const {
    return staged_ && staged_->first.version == candidate.version &&
           staged_->first.image == candidate.plan.image &&
           std::filesystem::exists(staged_->second.path);
}

Site NodeLoop::look(const std::stop_token& stop) {
    Site site;
    site.node = node::OwnNode(tools_.api, settings_.node).read(stop);
    site.k3s = finder_.find();
    finder_.remember(site.k3s);
    if (kube::is_etcd_member(site.node) && !kube::is_control_plane(site.node)) {
        // A script that starts k3s may hide its arguments; the labels are k3s's own.
        site.k3s.has_api_server = false;
    }
    tools_.report.update([&](node::Status& status) { status.unit = site.k3s.unit; });
    if (settings_.found) {
        settings_.found(site.k3s);
    }
    return site;
}

std::optional<Standing> NodeLoop::wait_until_ready(const Candidate& candidate, const Site& site,
                                                   const std::stop_token& stop) {
    const auto readiness = kube::readiness(site.node);
    // What this agent has broken, the next version may mend.
    if (failed_here_ || (readiness.ready && site.k3s.is_active())) {
        return std::nullopt;
    }
    if (readiness.ready) {
        // As with --log and Type=notify: a restart would never be seen to end.
        return wait_patiently(candidate,
                              format("{} is {}, although the node is Ready: systemd does not take "
                                     "k3s for started; see `systemctl status {}`",
                                     site.k3s.unit, site.k3s.state, site.k3s.unit),
                              "for k3s to be started", stop);
    }
    return wait_patiently(
        candidate,
        format("the node is not Ready{}{}{}",
               readiness.since.empty() ? "" : " since " + readiness.since,
               readiness.message.empty() ? "" : ": ", excerpt(readiness.message, kMostOfMessage)),
        "for the node to be Ready", stop);
}

std::optional<Standing> NodeLoop::go_at_once(const Candidate& candidate,
                                             const std::stop_token& stop) {
    const auto ready = ready_.find(candidate.key());
    // An etcd member looks at the others each time.
    const bool good = ready != ready_.end() && !ready->second.request.etcd &&
                      tools_.clock.monotonic() - ready->second.checked < kChecksHold &&
                      (is_staged(candidate) || settings_.prefetch == Prefetch::never);
    if (!good) {
        return std::nullopt;
    }
    return go(candidate, stop);
}

Standing NodeLoop::attempt(const Candidate& candidate, const lock::Lock& lock, const Plans& plans,
                           const std::stop_token& stop) {
    const auto rival = tools_.rival.look(stop);
    if (rival.state != lock::Sighting::State::absent) {
        return {false, "Waiting", rival.said, rival.again, "for system-upgrade-controller"};
    }
    if (auto pods = checks_.pods_of_rival(stop); !pods.empty()) {
        return wait_patiently(candidate, std::move(pods), "for a Job of SUC's", stop);
    }
    // Decided on what is true now, not on what the watches had heard: after a restart of k3s they
    // may be behind.
    auto site = look(stop);
    if (plan::applied(candidate.plan, kube::labels_of(site.node), candidate.hash)) {
        return {false, "Waiting", "for the node's label to be seen"};
    }
    const auto reported = kube::kubelet_version(site.node);
    if (reported.empty()) {
        return {false, "Waiting", "for the kubelet to report its version", kVersionAgain};
    }
    const auto from = plan::parse_version(reported);
    if (!from) {
        throw Error(ErrorKind::invalid,
                    format("the kubelet reports \"{}\", which is no version of k3s's: nothing can "
                           "be compared with it",
                           excerpt(reported, kMostOfMessage)));
    }
    k3s::check_against_node(site.k3s, site.node, candidate.version);
    site.from = *from;
    const auto closed = outside_window(candidate);
    if (closed && *from == candidate.version) {
        return *closed;  // There may be nothing to fetch, and what there is to do has to wait.
    }
    if (*from == candidate.version && same_release(candidate, site.k3s, stop)) {
        const auto own = lock.slots.find(lock::slot_key(candidate.plan.name, settings_.node));
        if (own != lock.slots.end() && own->second.phase == lock::kFailed &&
            lock::is_present(own->second, candidate.hash, candidate.intent)) {
            // It was left at this version because it is not well there; that the Plan has changed
            // mends nothing, and Ready alone does not tell.
            return {false, "Failed", own->second.detail};
        }
        if (!kube::readiness(site.node).ready) {
            // Where an upgrade was stopped rather than rolled back, the label would say it is well.
            return {false, "Waiting", "for the node, which runs the version already, to be Ready",
                    kVersionAgain};
        }
        const auto labels = labels_for(candidate);
        node::OwnNode(tools_.api, settings_.node).label({labels.begin(), labels.end()}, stop);
        log::info(format("{} is what the node runs already; labelled", candidate.version.text()),
                  {{"plan", candidate.plan.name}, {"version", candidate.version.text()}});
        return {false, "Waiting", "for the node's label to be seen"};
    }
    if (auto standing = wait_until_ready(candidate, site, stop)) {
        return *standing;
    }
    if (auto standing = checks_.before_fetch(candidate, plans, site, stop)) {
        return *standing;
    }
    if (settings_.prefetch != Prefetch::never) {
        if (auto standing = wait_to_fetch(candidate)) {
            return *standing;
        }
        Checks::of_release(candidate, site, stage(candidate, site.k3s, nullptr, stop), staging_,
                           stop);
    }
    // Fetching takes minutes: the window may have closed meanwhile, or was not open yet.
    if (auto standing = outside_window(candidate)) {
        return *standing;
    }
    if (auto standing = wait_for_budgets(candidate, stop)) {
        return *standing;
    }
    if (settings_.backup) {
        site.datastore = Checks::to_copy(candidate, site, copies());
    }
    auto request = checks_.request(candidate, site, stop);
    ready_.insert_or_assign(candidate.key(),
                            Ready{site, std::move(request), tools_.clock.monotonic()});
    if (auto standing = wait_for_slot(candidate, lock, stop)) {
        return *standing;
    }
    return go(candidate, stop);
}

std::optional<Standing> NodeLoop::wait_to_fetch(const Candidate& candidate) {
    if (settings_.jitter == Duration::zero() || is_staged(candidate) ||
        staging_.has(candidate.version)) {
        return std::nullopt;
    }
    const auto now = tools_.clock.monotonic();
    const auto [begins, fresh] = fetch_begins_.try_emplace(candidate.key(), now);
    if (fresh) {
        begins->second += random_below(settings_.jitter);
    }
    if (begins->second <= now) {
        return std::nullopt;
    }
    const auto left = std::chrono::ceil<Duration>(begins->second - now);
    return Standing{false, "Waiting",
                    format("to fetch {} at {} (download.jitter)", candidate.version.text(),
                           to_rfc3339(tools_.clock.wall() + left)),
                    left, "to fetch"};
}

std::filesystem::path NodeLoop::copies() const {
    return tools_.journal.path().parent_path() / "datastore";
}

release::Destinations NodeLoop::destinations(const k3s::Installation& k3s) {
    return {k3s.binary.parent_path(), k3s.images()};
}

bool NodeLoop::same_release(const Candidate& candidate, const k3s::Installation& k3s,
                            const std::stop_token& stop) {
    try {
        return staging_.is_release(wanted_of(candidate), k3s.binary, destinations(k3s), stop);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        // The node runs the version; that its release can't be had now is no reason to hold the
        // Plan up.
        log::info(format("taking the installed {} for the release: {}", candidate.version.text(),
                         error.what()),
                  {{"plan", candidate.plan.name}});
        return true;
    }
}

const release::Staged& NodeLoop::stage(const Candidate& candidate, const k3s::Installation& k3s,
                                       const Holding* holding, const std::stop_token& stop) {
    if (is_staged(candidate)) {
        return staged_->second;
    }
    const log::Fields fields = {{"plan", candidate.plan.name},
                                {"version", candidate.version.text()}};
    const auto show = [&](std::optional<int> percent, const std::string& message) {
        tools_.report.update([&](node::Status& status) {
            status.phase = "Fetching";
            status.plan = candidate.plan.name;
            status.target = candidate.version.text();
            status.percent = percent;
            status.message = message;
        });
        if (holding != nullptr) {
            holding->slot.show("Fetching", message);
        }
    };
    log::info(format("fetching {}", candidate.version.text()), fields);
    said_.clear();
    show(0, {});
    staged_.reset();
    int last = 0;
    auto staged = staging_.stage(
        wanted_of(candidate), destinations(k3s),
        [&](std::uint64_t done, std::optional<std::uint64_t> total) {
            if (holding != nullptr) {
                holding->slot.ensure_held();
                if (tools_.clock.monotonic() >= holding->give_up) {
                    throw Error(ErrorKind::failed,
                                "not fetched within the deadline (spec.jobActiveDeadlineSecs)");
                }
            }
            if (!total || *total == 0) {
                return;
            }
            const auto percent = static_cast<int>(done * 100 / *total);
            if (percent == last) {
                return;
            }
            const auto text = format("{} of {}", human_bytes(done), human_bytes(*total));
            if (percent / kPercentALine > last / kPercentALine) {
                log::info(format("fetching {}: {} % ({})", candidate.version.text(), percent, text),
                          fields);
            }
            last = percent;
            show(percent, text);
        },
        stop);
    show(std::nullopt, {});
    staging_.clean(candidate.version);
    staged_.emplace(wanted_of(candidate), std::move(staged));
    return staged_->second;
}

std::optional<std::string> NodeLoop::changed_since(const Candidate& candidate, const Site& checked,
                                                   const Site& now) const {
    if (plan::applied(candidate.plan, kube::labels_of(now.node), candidate.hash)) {
        return "somebody has labelled the node";
    }
    if (kube::kubelet_version(now.node) != checked.from.text() ||
        now.k3s.version != checked.k3s.version || now.k3s.binary != checked.k3s.binary ||
        now.k3s.unit != checked.k3s.unit || now.k3s.data_dir != checked.k3s.data_dir) {
        return "the node's k3s is another";
    }
    if (!kube::readiness(now.node).ready && !failed_here_) {
        return "the node is not Ready any more";
    }
    return std::nullopt;
}

Standing NodeLoop::go(const Candidate& candidate, const std::stop_token& stop) {
    const auto& plan = candidate.plan;
    if (auto standing = outside_window(candidate)) {
        return *standing;
    }
    const auto choice =
        tools_.slots.take(ready_.at(candidate.key()).request, candidate.version.text(), stop);
    if (!choice.take) {
        return waiting_for_slot(choice);
    }
    const auto checked = std::move(ready_.at(candidate.key()).site);
    ready_.erase(candidate.key());
    turns_.none_free(plan.name);
    // What was checked may be long ago; what is acted on is what is there now.
    auto site = or_give_back(candidate, stop, [&] { return look(stop); });
    if (const auto reason = changed_since(candidate, checked, site)) {
        tools_.slots.step_back(plan.name, *reason, stop);
        log::info(format("gave the slot back, to look again: {}", *reason), {{"plan", plan.name}});
        return {true, {}, {}};
    }
    site.from = checked.from;
    site.datastore = checked.datastore;
    log::info(format("took a slot for {}", candidate.version.text()),
              {{"plan", plan.name}, {"version", candidate.version.text()}});
    auto since = choice.decided;
    if (!is_staged(candidate)) {
        since = fetch_with_slot(candidate, site, choice.decided, stop);
    }
    auto record = record_of(candidate, site, staged_->second);
    said_.clear();
    const auto lifted = [this] {
        const auto node = view_.node.get(settings_.node);
        return node && node::uncordoned_by_others(*node);
    };
    bool stopped_by_hand = false;
    Meanwhile meanwhile;
    meanwhile.unwanted = [&]() -> std::optional<std::string> {
        if (settings_.lifted == Lifted::stop && lifted()) {
            stopped_by_hand = true;
            return format(
                "somebody has uncordoned the node (cordon.when_lifted: stop); it is tried again "
                "after {}, the label {}=disabled keeps it out",
                to_text(kAfterLifted), plan::label_of(plan.name));
        }
        return unwanted(candidate);
    };
    if (settings_.lifted == Lifted::again) {
        meanwhile.cordon_again = lifted;
    }
    Upgrade upgrade(tools_, limits_of(candidate), settings_.node, std::move(record), plan.drain,
                    since, std::move(meanwhile));
    const auto outcome = upgrade.run(stop);
    if (outcome.ending == Ending::undone && stopped_by_hand) {
        return blocked(candidate, Error(ErrorKind::failed, outcome.reason), stop, kAfterLifted);
    }
    if (outcome.ending == Ending::undone && !unwanted(candidate)) {
        throw Error(ErrorKind::failed, outcome.reason);
    }
    failed_here_ = outcome.ending == Ending::failed;
    if (outcome.ending == Ending::succeeded) {
        staged_.reset();
        staging_.clean();
        retries_.clear();
    }
    return {true, {}, {}};
}

Limits NodeLoop::limits_of(const Candidate& candidate) const {
    auto limits = settings_.limits;
    if (const auto deadline = candidate.plan.deadline) {
        // SUC: zero is no deadline; a day is longer than any upgrade, and shorter than forgetting
        // it.
        limits.deadline = *deadline > Duration::zero() ? *deadline : std::chrono::hours(24);
    }
    return limits;
}

Monotonic NodeLoop::fetch_with_slot(const Candidate& candidate, const Site& site, Monotonic since,
                                    const std::stop_token& stop) {
    return or_give_back(candidate, stop, [&] {
        lock::HeldSlot slot(tools_.slots, tools_.clock, candidate.plan.name, candidate.hash,
                            candidate.version.text(), since);
        const Holding holding{slot, since + limits_of(candidate).deadline};
        Checks::of_release(candidate, site, stage(candidate, site.k3s, &holding, stop), staging_,
                           stop);
        return slot.since();
    });
}

node::Record NodeLoop::record_of(const Candidate& candidate, const Site& site,
                                 const release::Staged& staged) const {
    const auto& plan = candidate.plan;
    const auto places = release::places(site.k3s.binary);
    node::Record record;
    record.plan = plan.name;
    record.plan_uid = plan.uid;
    record.hash = candidate.hash;
    record.intent = candidate.intent;
    record.version = candidate.version.text();
    record.from_version = site.from.text();
    record.cordon = plan.cordon || plan.drain;
    record.lift_foreign = settings_.foreign == Foreign::lift;
    record.role = site.k3s.role();
    record.unit = site.k3s.unit;
    record.server = site.k3s.is_server;
    record.etcd_member = kube::is_etcd_member(site.node);
    record.no_api_server = site.k3s.is_server && !site.k3s.has_api_server;
    record.binary = places.binary;
    record.next = places.next;
    record.previous = places.previous;
    record.staged = staged.path;
    record.sha256 = staged.sha256;
    if (staged.images) {
        record.staged_images = staged.images->path;
        record.images_sha256 = staged.images->sha256;
        record.images =
            release::images_path(site.k3s.images(), staged.images->name, candidate.version);
        record.images_were_there = release::has_images(record.images, record.images_sha256);
    }
    record.labels = labels_for(candidate);
    record.delay = plan.post_complete_delay;
    record.data_dir = site.k3s.data_dir;
    record.datastore = node::name_of(site.datastore);
    if (site.datastore != node::Datastore::elsewhere) {
        record.copies = copies();
        record.snapshots = site.k3s.snapshots;
        record.api_server = site.k3s.own_server(tools_.api.credentials()->server);
    }
    return record;
}

std::optional<std::string> NodeLoop::unwanted(const Candidate& candidate) const {
    const auto plans = view_.plans.snapshot();
    const auto node = view_.node.get(settings_.node);
    if (plans.problem || !plans.synced || !node) {
        return std::nullopt;
    }
    const auto now = read_plans(plans);
    if (!now.contains(candidate.plan.name)) {
        return format("the Plan {} was deleted", candidate.plan.name);
    }
    const auto wanted = candidates(now, kube::labels_of(*node));
    if (std::any_of(wanted.begin(), wanted.end(),
                    [&](const Candidate& each) { return each.key() == candidate.key(); })) {
        return std::nullopt;
    }
    return format("the Plan {} no longer wants this", candidate.plan.name);
}

}  // namespace kua::upgrade
