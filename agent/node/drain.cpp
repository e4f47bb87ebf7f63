// SPDX-License-Identifier: Apache-2.0
#include "agent/node/drain.hpp"

#include <algorithm>
#include <exception>
#include <functional>
#include <iterator>
#include <string_view>
#include <thread>
#include <utility>

#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"
#include "lib/base/wakeup.hpp"
#include "lib/kube/objects.hpp"
#include "lib/kube/watch.hpp"
#include "lib/log/log.hpp"

namespace kua::node {

namespace {

constexpr Duration kLeastRetry{100};
constexpr Duration kMostRetry{60'000};
constexpr Duration kEvictionRetry{5'000};  // kubectl's pause after a 429.
constexpr std::size_t kAtOnce = 8;
constexpr std::size_t kMostNamed = 5;
constexpr int kMostRefusals = 3;
constexpr int kForbidden = 403;
constexpr int kNotFound = 404;
constexpr int kConflict = 409;
constexpr int kTooManyRequests = 429;

std::string names(const std::vector<PodRef>& pods) {
    std::vector<std::string> texts;
    for (const auto& pod : pods) {
        if (texts.size() == kMostNamed) {
            texts.push_back(format("and {} more", pods.size() - kMostNamed));
            break;
        }
        texts.push_back(pod.text());
    }
    return join(texts, ", ");
}

std::vector<Json> values(const kube::Snapshot& snapshot) {
    std::vector<Json> objects;
    objects.reserve(snapshot.objects.size());
    for (const auto& [name, object] : snapshot.objects) {
        objects.push_back(object);
    }
    return objects;
}

/// The messages of a Status' causes with this reason.
std::vector<std::string> causes(const kube::Answer& answer, std::string_view reason) {
    std::vector<std::string> found;
    if (const auto* list = find(answer.body, {"details", "causes"}); list && list->is_array()) {
        for (const auto& cause : *list) {
            if (string_at(cause, {"reason"}) == reason) {
                found.push_back(string_at(cause, {"message"}));
            }
        }
    }
    return found;
}

/// The refusal with the budget's own words, which name it.
std::string with_budget(const kube::Answer& answer) {
    auto text = answer.message();
    for (const auto& cause : causes(answer, "DisruptionBudget")) {
        text += " " + excerpt(cause, 200);
    }
    return text;
}

Error several_budgets(const PodRef& pod) {
    return {ErrorKind::invalid,
            format("{}: more than one PodDisruptionBudget selects it, so that it can't be evicted; "
                   "leave one of them",
                   pod.text())};
}

/// `client.call`, for an eviction: 429 is an answer.
kube::Answer ask(kube::Client& client, const kube::Call& call, const PodRef& pod,
                 const std::stop_token& stop) {
    try {
        return client.call(call, stop, true);
    } catch (const Error& error) {
        // The API server's 500: a mistake in the cluster that no waiting mends.
        if (std::string_view(error.what()).find("more than one PodDisruptionBudget") !=
            std::string_view::npos) {
            throw several_budgets(pod);
        }
        throw;
    }
}

/// Calls `act` for each of so few pods, at once. What one of them throws is thrown when all are
/// done.
void at_once(const std::vector<PodRef>& pods, const std::function<void(std::size_t)>& act) {
    std::vector<std::exception_ptr> errors(pods.size());
    const auto guarded = [&](std::size_t index) {
        try {
            act(index);
        } catch (...) {
            errors[index] = std::current_exception();
        }
    };
    {
        std::vector<std::jthread> threads;
        for (std::size_t index = 1; index < pods.size(); ++index) {
            threads.emplace_back(watched("an eviction", guarded), index);
        }
        if (!pods.empty()) {
            guarded(0);
        }
        const Waiting waiting(kAsLongAsOthers);
        threads.clear();
    }
    for (const auto& error : errors) {
        if (error) {
            std::rethrow_exception(error);
        }
    }
}

}  // namespace

Selection Drain::plan(const plan::DrainSpec& spec, const std::stop_token& stop) const {
    const auto selection = kube::pods_on(node_);
    kube::Call call;
    call.path = selection.path;
    call.query = selection.query;
    const auto list = client_.call(call, stop);
    if (!list.ok()) {
        throw kube::refusal(list, format("listing the pods of {}", node_));
    }
    std::vector<Json> pods;
    if (const auto* items = find(list.body, {"items"})) {
        pods.assign(items->begin(), items->end());
    }
    return select_pods(pods, spec, clock_.wall(), gone_daemon_sets(pods, spec, stop));
}

std::set<DaemonSetRef> Drain::gone_daemon_sets(const std::vector<Json>& pods,
                                               const plan::DrainSpec& spec,
                                               const std::stop_token& stop) const {
    auto sets = daemon_sets_of(pods, spec);
    std::erase_if(sets, [&](const DaemonSetRef& set) {
        kube::Call call;
        call.path = format("/apis/apps/v1/namespaces/{}/daemonsets/{}", set.ns, set.name);
        const auto answer = client_.call(call, stop);
        if (!answer.ok() && answer.status != kNotFound) {
            // The manifests of the first releases let no node read them.
            throw kube::refusal_with_remedy(answer, "GET " + call.path);
        }
        return answer.ok();
    });
    return sets;
}

std::vector<std::string> Drain::held_by_budgets(const std::vector<PodRef>& pods,
                                                const std::stop_token& stop) {
    std::vector<std::string> held;
    if (pods.empty()) {
        return held;
    }
    ask_eviction_version(stop);
    for (std::size_t first = 0; first < pods.size(); first += kAtOnce) {
        const std::vector<PodRef> some(
            pods.begin() + static_cast<std::ptrdiff_t>(first),
            pods.begin() + static_cast<std::ptrdiff_t>(std::min(first + kAtOnce, pods.size())));
        std::vector<std::string> texts(some.size());
        at_once(some, [&](std::size_t index) {
            auto call = eviction(some[index], Json::object());
            call.query["dryRun"] = "All";
            const auto answer = ask(client_, call, some[index], stop);
            if (!causes(answer, "DisruptionBudget").empty()) {
                texts[index] = some[index].text() + ": " + with_budget(answer);
            }
            // Any other answer is the drain's to judge: a pod may be gone by now.
        });
        std::copy_if(texts.begin(), texts.end(), std::back_inserter(held),
                     [](const std::string& text) { return !text.empty(); });
    }
    return held;
}

Drained Drain::run(const plan::DrainSpec& spec, Duration deadline, const DrainProgress& progress,
                   const std::stop_token& stop) {
    const bool own_limit = spec.timeout > Duration::zero() && spec.timeout <= deadline;
    const auto limit = own_limit ? spec.timeout : deadline;
    const auto end = clock_.monotonic() + limit;
    Wakeup changed;
    const kube::Watch watch(client_, kube::pods_on(node_), [&changed] { changed.ring(); });
    std::optional<ByUid> chosen;
    while (true) {
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped, "stopped while draining");
        }
        const auto snapshot = watch.snapshot();
        const auto now = clock_.monotonic();
        Duration wait = kEvictionRetry;
        std::string problem;
        if (snapshot.synced) {
            const auto pods = values(snapshot);
            if (!chosen) {
                try {
                    const auto first =
                        select_pods(pods, spec, clock_.wall(), gone_daemon_sets(pods, spec, stop));
                    if (!first.refused.empty()) {
                        throw Error(ErrorKind::failed,
                                    "draining " + node_ + ": " + join(first.refused, "; "));
                    }
                    if (!first.leave.empty() && !spec.disable_eviction) {
                        ask_eviction_version(stop);
                    }
                    chosen.emplace();
                    for (const auto& pod : first.leave) {
                        chosen->emplace(pod.uid, Chosen{});
                    }
                } catch (const Error& error) {
                    if (error.kind() != ErrorKind::transient) {
                        throw;
                    }
                    problem = error.what();
                }
            }
            if (chosen) {
                std::vector<PodRef> left;
                for (const auto& pod : pods) {
                    // Of what was chosen nothing stays but what is overdue by now.
                    const auto uid = kube::uid_of(pod);
                    if (chosen->contains(uid) && !overdue(pod, spec, clock_.wall())) {
                        left.push_back(ref_of(pod));
                    }
                }
                if (left.empty()) {
                    progress({});
                    return {};
                }
                wait = evict_due(left, spec, *chosen, stop);
                if (!refused_.empty()) {
                    return {Drained::By::refused, std::exchange(refused_, {})};
                }
                for (const auto& pod : left) {
                    if (const auto& why = chosen->at(pod.uid).why; !why.empty()) {
                        problem = pod.text() + ": " + why;
                        break;
                    }
                }
                progress({left.size(), names(left), problem});
                problem = names(left) + (problem.empty() ? "" : "; " + problem);
            }
        } else {
            problem = snapshot.problem.value_or("no answer");
        }
        if (now >= end) {
            auto text = chosen ? format("draining {}: not done after {}: left are {}", node_,
                                        to_text(limit), problem)
                               : format("draining {}: the pods could not be listed for {}: {}",
                                        node_, to_text(limit), problem);
            return {own_limit ? Drained::By::timeout : Drained::By::deadline, std::move(text)};
        }
        changed.wait(std::min(wait, std::max(Duration(1), std::chrono::ceil<Duration>(end - now))),
                     stop);
    }
}

Duration Drain::evict_due(const std::vector<PodRef>& left, const plan::DrainSpec& spec,
                          ByUid& chosen, const std::stop_token& stop) {
    const auto now = clock_.monotonic();
    Duration wait = kEvictionRetry;
    std::vector<PodRef> due;
    for (const auto& pod : left) {
        const auto& one = chosen.at(pod.uid);
        if (one.next_try > now) {
            if (one.next_try != Monotonic::max()) {
                wait = std::min(wait, std::chrono::ceil<Duration>(one.next_try - now));
            }
        } else if (due.size() < kAtOnce) {
            due.push_back(pod);
        } else {
            wait = Duration::zero();  // The others after these.
        }
    }
    std::vector<Attempt> attempts(due.size());
    at_once(due, [&](std::size_t index) { attempts[index] = evict(due[index], spec, stop); });
    for (std::size_t index = 0; index < due.size(); ++index) {
        auto& one = chosen.at(due[index].uid);
        auto& attempt = attempts[index];
        // One that is on its way needs no second request: the watch tells when it is gone. One
        // that is said to be gone but stays is asked for again.
        one.next_try =
            attempt.outcome == Evicted::on_its_way ? Monotonic::max() : now + attempt.retry;
        one.why = std::move(attempt.why);
        one.refusals = attempt.outcome == Evicted::refused ? one.refusals + 1 : 0;
        if (one.refusals >= kMostRefusals) {
            refused_ = one.why;
        }
        if (attempt.outcome == Evicted::blocked || attempt.outcome == Evicted::refused) {
            wait = std::min(wait, attempt.retry);
        }
    }
    return wait;
}

kube::Call Drain::eviction(const PodRef& pod, Json options) const {
    // The UID keeps us from evicting a new pod that has taken the name meanwhile.
    options["preconditions"] = {{"uid", pod.uid}};
    kube::Call call;
    call.method = "POST";
    call.path = kube::pod_path(pod.ns, pod.name) + "/eviction";
    call.body = {{"apiVersion", eviction_version_},
                 {"kind", "Eviction"},
                 {"metadata", {{"name", pod.name}, {"namespace", pod.ns}}},
                 {"deleteOptions", std::move(options)}};
    return call;
}

Drain::Attempt Drain::evict(const PodRef& pod, const plan::DrainSpec& spec,
                            const std::stop_token& stop) {
    Json options = Json::object();
    if (spec.grace_period) {
        options["gracePeriodSeconds"] = *spec.grace_period;
    }
    kube::Call call;
    if (spec.disable_eviction) {
        options["preconditions"] = {{"uid", pod.uid}};
        options["kind"] = "DeleteOptions";
        options["apiVersion"] = "v1";
        call.method = "DELETE";
        call.path = kube::pod_path(pod.ns, pod.name);
        call.body = std::move(options);
    } else {
        call = eviction(pod, std::move(options));
    }
    try {
        const auto answer = ask(client_, call, pod, stop);
        if (answer.status == kTooManyRequests) {
            return {
                Evicted::blocked, with_budget(answer),
                std::clamp(answer.retry_after.value_or(kEvictionRetry), kLeastRetry, kMostRetry)};
        }
        // A conflict is the UID precondition: the pod we meant is gone.
        if (answer.status == kNotFound || answer.status == kConflict) {
            return {Evicted::gone, {}, kEvictionRetry};
        }
        if (answer.status == kForbidden && !causes(answer, "NamespaceTerminating").empty()) {
            // kubectl: nothing can be evicted there; what is deleted already is waited for, the
            // rest will be deleted.
            return {pod.terminating ? Evicted::on_its_way : Evicted::blocked,
                    pod.terminating ? std::string() : answer.message(), kEvictionRetry};
        }
        if (answer.status == kForbidden) {
            // The pod may have moved meanwhile; and what one webhook refuses once it may allow.
            if (!is_here(pod, stop)) {
                return {Evicted::gone, {}, kEvictionRetry};
            }
            return {Evicted::refused, kube::refusal(answer, "evicting " + pod.text()).what(),
                    kEvictionRetry};
        }
        if (!answer.ok()) {
            throw kube::refusal(answer, "evicting " + pod.text());
        }
        log::info("evicting pod " + pod.text(), {{"pod", pod.text()}});
        return {Evicted::on_its_way, {}, {}};
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::transient) {
            throw;
        }
        return {Evicted::blocked, error.what(), kEvictionRetry};
    }
}

bool Drain::is_here(const PodRef& pod, const std::stop_token& stop) const {
    kube::Call call;
    call.path = kube::pod_path(pod.ns, pod.name);
    const auto answer = client_.call(call, stop);
    // Newer servers tell a node nothing of a pod that is not bound to it, nor that it is gone.
    if (answer.status == kNotFound || answer.status == kForbidden) {
        return false;
    }
    if (!answer.ok()) {
        return true;
    }
    return kube::uid_of(answer.body) == pod.uid &&
           string_at(answer.body, {"spec", "nodeName"}) == node_;
}

void Drain::ask_eviction_version(const std::stop_token& stop) {
    if (!eviction_version_.empty()) {
        return;
    }
    // The core group's discovery names the group and version that the eviction subresource speaks
    // (kubectl asks the same way); servers older than 1.22 know policy/v1beta1 only.
    const auto discovery = client_.get("/api/v1", stop);
    eviction_version_ = "policy/v1beta1";
    const auto* resources = discovery ? find(*discovery, {"resources"}) : nullptr;
    for (const auto& resource : resources != nullptr ? *resources : Json::array()) {
        if (string_at(resource, {"name"}) == "pods/eviction") {
            eviction_version_ =
                string_at(resource, {"group"}) + "/" + string_at(resource, {"version"});
        }
    }
}

}  // namespace kua::node
