// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/plan_writer.hpp"

#include <utility>

#include "agent/lock/view.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::coordinator {

namespace {

constexpr int kConflict = 409;
constexpr int kNotFound = 404;
constexpr std::size_t kMostMessage = 1000;
constexpr auto kComponent = "k3s-upgrade-agent";

}  // namespace

PlanWriter::PlanWriter(kube::Client& api, Clock& clock, std::string host)
    : api_(api), clock_(clock), host_(std::move(host)) {}

bool PlanWriter::has_news(const plan::Plan& plan, const Verdict& verdict) {
    const auto [entry, is_new] = known_.try_emplace(plan.name);
    auto& known = entry->second;
    std::set<std::string> lasting;
    for (const auto& state : verdict.lasting) {
        lasting.insert(state.key);
        if (is_new && state.said) {
            known.told.insert(state.key);
        }
    }
    std::erase_if(known.told, [&](const auto& key) { return !lasting.contains(key); });
    // What was overwritten already, or changed by others, is on its way by the watch.
    if (!plan.resource_version.empty() && known.written_on == plan.resource_version &&
        clock_.monotonic() - known.written_at < lock::kWatchIsBehind) {
        return false;
    }
    return verdict.changed || known.told.size() < lasting.size();
}

void PlanWriter::write(const plan::Plan& plan, const Verdict& verdict,
                       const std::stop_token& stop) {
    if (verdict.changed && !patch(plan, verdict.status, stop)) {
        return;
    }
    std::vector<Notice> notices;
    for (const auto& state : verdict.lasting) {
        if (known_[plan.name].told.insert(state.key).second) {
            notices.push_back(state.notice);
        }
    }
    notices.insert(notices.end(), verdict.notices.begin(), verdict.notices.end());
    for (const auto& notice : notices) {
        const log::Fields fields = {{"plan", plan.name}};
        const auto line = format("{}: {}", notice.reason, notice.message);
        notice.type == "Warning" ? log::warning(line, fields) : log::info(line, fields);
        emit(plan, notice, stop);
    }
}

bool PlanWriter::patch(const plan::Plan& plan, const Json& status, const std::stop_token& stop) {
    kube::Call call;
    call.method = "PATCH";
    call.path = kube::plan_path(plan.ns, plan.name) + "/status";
    call.content_type = kube::kMergePatch;
    Json body = status;
    if (!body.contains("applying")) {
        body["applying"] = nullptr;  // A merge patch removes only what it names.
    }
    call.body = {{"metadata", {{"resourceVersion", plan.resource_version}}},
                 {"status", std::move(body)}};
    const auto answer = api_.call(call, stop);
    if (answer.status == kConflict || answer.status == kNotFound) {
        // The watch is behind, or the Plan gone: nothing to try again before it has brought that.
        note_overwritten(plan);
        return false;
    }
    if (!answer.ok()) {
        const auto refusal =
            kube::refusal(answer, format("writing the status of Plan {}", plan.name));
        if (refusal.kind() == ErrorKind::transient) {
            throw refusal;
        }
        // What a policy takes of no Plan, or not of this one, must not keep the others from theirs.
        if (std::exchange(known_[plan.name].refused, refusal.what()) != refusal.what()) {
            log::warning(format("{}; trying again later", refusal.what()), {{"plan", plan.name}});
        }
        note_overwritten(plan);
        return false;
    }
    known_[plan.name].refused.clear();
    // Where nothing was changed after all, no watch will bring anything.
    if (kube::resource_version_of(answer.body) == plan.resource_version) {
        known_[plan.name].written_on.clear();
    } else {
        note_overwritten(plan);
    }
    return true;
}

void PlanWriter::note_overwritten(const plan::Plan& plan) {
    auto& known = known_[plan.name];
    known.written_on = plan.resource_version;
    known.written_at = clock_.monotonic();
}

void PlanWriter::emit(const plan::Plan& plan, const Notice& notice, const std::stop_token& stop) {
    kube::Call call;
    call.method = "POST";
    call.path = format("/api/v1/namespaces/{}/events", plan.ns);
    call.body =
        kube::make_event(plan.object, notice.type, notice.reason,
                         excerpt(notice.message, kMostMessage), kComponent, host_, clock_.wall());
    const auto answer = api_.call(call, stop);
    if (!answer.ok()) {
        log::warning(format("an Event could not be made: {}", answer.message()),
                     {{"plan", plan.name}});
    }
}

}  // namespace kua::coordinator
