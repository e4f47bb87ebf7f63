// SPDX-License-Identifier: Apache-2.0
#include "agent/node/drain.hpp"

#include <algorithm>

#include "lib/base/format.hpp"
#include "lib/base/wakeup.hpp"
#include "lib/kube/objects.hpp"
#include "lib/kube/watch.hpp"
#include "lib/log/log.hpp"

namespace kua::node {

namespace {

constexpr auto kMirrorPod = "kubernetes.io/config.mirror";
constexpr Duration kLeastRetry{100};
constexpr Duration kMostRetry{60'000};
constexpr Duration kEvictionRetry{5'000};  // kubectl's pause after a 429.
constexpr int kNotFound = 404;
constexpr int kTooManyRequests = 429;
constexpr int kConflict = 409;

const Json* controller_of(const Json& pod) {
    if (const auto* owners = find(pod, {"metadata", "ownerReferences"})) {
        for (const auto& owner : *owners) {
            if (bool_at(owner, {"controller"}, false)) {
                return &owner;
            }
        }
    }
    return nullptr;
}

bool finished(const Json& pod) {
    const auto phase = string_at(pod, {"status", "phase"});
    return phase == "Succeeded" || phase == "Failed";
}

bool has_empty_dir(const Json& pod) {
    if (const auto* volumes = find(pod, {"spec", "volumes"})) {
        return std::any_of(volumes->begin(), volumes->end(), [](const Json& volume) {
            return find(volume, {"emptyDir"}) != nullptr;
        });
    }
    return false;
}

PodRef ref_of(const Json& pod) {
    return {kube::namespace_of(pod), kube::name_of(pod), kube::uid_of(pod)};
}

std::string names(const std::vector<PodRef>& pods, std::size_t most) {
    std::vector<std::string> texts;
    for (const auto& pod : pods) {
        if (texts.size() == most) {
            texts.push_back(format("and {} more", pods.size() - most));
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

}  // namespace

Selection select_pods(const std::vector<Json>& pods, const plan::DrainSpec& spec) {
    Selection selection;
    for (const auto& pod : pods) {
        const auto ref = ref_of(pod);
        if (kube::annotations_of(pod).contains(kMirrorPod)) {
            continue;
        }
        if (spec.pod_selector && !spec.pod_selector->matches(kube::labels_of(pod))) {
            continue;
        }
        const auto* controller = controller_of(pod);
        if (controller != nullptr && string_at(*controller, {"kind"}) == "DaemonSet" &&
            !finished(pod)) {
            if (!spec.ignore_daemon_sets) {
                selection.refused.push_back(
                    ref.text() +
                    " is managed by a DaemonSet (spec.drain.ignoreDaemonSets is false)");
            }
            continue;
        }
        if (!finished(pod)) {
            if (!spec.delete_emptydir_data && has_empty_dir(pod)) {
                selection.refused.push_back(
                    ref.text() +
                    " uses an emptyDir volume (spec.drain.deleteEmptydirData is false)");
                continue;
            }
            if (controller == nullptr && !spec.force) {
                selection.refused.push_back(
                    ref.text() +
                    " is managed by no controller and would be lost (set spec.drain.force)");
                continue;
            }
        }
        selection.leave.push_back(ref);
    }
    return selection;
}

Selection Drain::plan(const plan::DrainSpec& spec, std::stop_token stop) const {
    const auto selection = kube::pods_on(node_);
    kube::Call call;
    call.path = selection.path;
    call.query = selection.query;
    const auto list = client_.call(call, std::move(stop));
    if (!list.ok()) {
        throw kube::refusal(list, format("listing the pods of {}", node_));
    }
    std::vector<Json> pods;
    if (const auto* items = find(list.body, {"items"})) {
        pods.assign(items->begin(), items->end());
    }
    return select_pods(pods, spec);
}

void Drain::run(const plan::DrainSpec& spec, Duration deadline, const DrainProgress& progress,
                std::stop_token stop) {
    const auto limit =
        spec.timeout > Duration::zero() ? std::min(spec.timeout, deadline) : deadline;
    const auto end = clock_.monotonic() + limit;
    Wakeup changed;
    const kube::Watch watch(client_, kube::pods_on(node_), [&changed] { changed.ring(); });
    std::map<std::string, Monotonic>
        next_try;  // By UID: a pod that was asked for is asked again only after its pause.
    std::map<std::string, std::string> why;
    while (true) {
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped, "stopped while draining");
        }
        const auto snapshot = watch.snapshot();
        const auto now = clock_.monotonic();
        Duration wait = kEvictionRetry;
        if (snapshot.synced) {
            const auto selection = select_pods(values(snapshot), spec);
            if (!selection.refused.empty()) {
                throw Error(ErrorKind::failed,
                            "draining " + node_ + ": " + join(selection.refused, "; "));
            }
            if (selection.leave.empty()) {
                progress(0, {});
                return;
            }
            for (const auto& pod : selection.leave) {
                const auto again = next_try.find(pod.uid);
                if (again != next_try.end() && now < again->second) {
                    wait = std::min(wait, std::chrono::ceil<Duration>(again->second - now));
                    continue;
                }
                Duration retry = kEvictionRetry;
                const auto outcome = evict(pod, spec, why[pod.uid], retry, stop);
                // One that is on its way needs no second request: the watch tells when it is gone.
                // One that is said to be gone but stays is asked for again.
                next_try[pod.uid] = outcome == Evicted::on_its_way ? Monotonic::max() : now + retry;
                if (outcome == Evicted::blocked) {
                    wait = std::min(wait, retry);
                }
            }
            std::string blocked;
            for (const auto& pod : selection.leave) {
                if (!why[pod.uid].empty()) {
                    blocked = pod.text() + ": " + why[pod.uid];
                    break;
                }
            }
            progress(selection.leave.size(), blocked);
            if (now >= end) {
                throw Error(
                    ErrorKind::failed,
                    format("draining {}: not done after {}: left are {}{}{}", node_, to_text(limit),
                           names(selection.leave, 5), blocked.empty() ? "" : "; ", blocked));
            }
        } else if (now >= end) {
            throw Error(ErrorKind::failed,
                        format("draining {}: the pods could not be listed for {}: {}", node_,
                               to_text(limit), snapshot.problem.value_or("no answer")));
        }
        changed.wait(std::min(wait, std::max(Duration(1), std::chrono::ceil<Duration>(end - now))),
                     stop);
    }
}

Drain::Evicted Drain::evict(const PodRef& pod, const plan::DrainSpec& spec, std::string& why,
                            Duration& retry, std::stop_token stop) {
    kube::Call call;
    // The UID keeps us from evicting a new pod that has taken the name meanwhile.
    Json options = {{"preconditions", {{"uid", pod.uid}}}};
    if (spec.grace_period) {
        options["gracePeriodSeconds"] = *spec.grace_period;
    }
    if (spec.disable_eviction) {
        call.method = "DELETE";
        call.path = kube::pod_path(pod.ns, pod.name);
        call.body = std::move(options);
        call.body["kind"] = "DeleteOptions";
        call.body["apiVersion"] = "v1";
    } else {
        call.method = "POST";
        call.path = kube::pod_path(pod.ns, pod.name) + "/eviction";
        call.body = {{"apiVersion", eviction_version(stop)},
                     {"kind", "Eviction"},
                     {"metadata", {{"name", pod.name}, {"namespace", pod.ns}}},
                     {"deleteOptions", std::move(options)}};
    }
    try {
        const auto answer = client_.call(call, std::move(stop), true);
        if (answer.status == kTooManyRequests) {
            why = answer.message();
            retry =
                std::clamp(answer.retry_after.value_or(kEvictionRetry), kLeastRetry, kMostRetry);
            return Evicted::blocked;
        }
        why.clear();
        // A conflict is the UID precondition: the pod we meant is gone.
        if (answer.status == kNotFound || answer.status == kConflict) {
            return Evicted::gone;
        }
        if (!answer.ok()) {
            throw kube::refusal(answer, "evicting " + pod.text());
        }
        log::info("evicting pod " + pod.text(), {{"pod", pod.text()}});
        return Evicted::on_its_way;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::transient) {
            throw;
        }
        why = error.what();
        return Evicted::blocked;
    }
}

const std::string& Drain::eviction_version(std::stop_token stop) {
    if (!eviction_version_.empty()) {
        return eviction_version_;
    }
    // The core group's discovery names the group and version that the eviction subresource speaks
    // (kubectl asks the same way); servers older than 1.22 know policy/v1beta1 only.
    const auto discovery = client_.get("/api/v1", std::move(stop));
    eviction_version_ = "policy/v1beta1";
    const auto* resources = discovery ? find(*discovery, {"resources"}) : nullptr;
    for (const auto& resource : resources != nullptr ? *resources : Json::array()) {
        if (string_at(resource, {"name"}) == "pods/eviction") {
            eviction_version_ =
                string_at(resource, {"group"}) + "/" + string_at(resource, {"version"});
        }
    }
    return eviction_version_;
}

}  // namespace kua::node
