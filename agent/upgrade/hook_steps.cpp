// SPDX-License-Identifier: Apache-2.0
// The steps of an upgrade that are the administrator's own programs.
#include "agent/upgrade/upgrade.hpp"
#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::upgrade {

namespace {

constexpr std::string_view kHooks = "hooks-";
/// The settings' timeout is the one that counts.
constexpr Duration kLongest{3'600'000};

}  // namespace

std::string_view Upgrade::hook_point(const StepInfo& step) {
    return step.name.starts_with(kHooks) ? step.name.substr(kHooks.size()) : std::string_view();
}

bool Upgrade::has_hooks(std::string_view point) const {
    try {
        return tools_.hooks != nullptr && !tools_.hooks->at(point).empty();
    } catch (const Error&) {
        return true;  // The step itself says what is wrong, where that has its reaction.
    }
}

void Upgrade::run_hooks(std::string_view point, bool may_stop, const std::stop_token& stop) {
    if (tools_.hooks == nullptr) {
        return;
    }
    std::vector<std::string> environment = {
        "K3S_UPGRADE_NODE=" + node_name_,
        "K3S_UPGRADE_PLAN=" + record_.plan,
        "K3S_UPGRADE_VERSION=" + record_.version,
        "K3S_UPGRADE_FROM_VERSION=" + record_.from_version,
        "K3S_UPGRADE_ROLE=" + record_.role,
        format("K3S_UPGRADE_HOOK={}", point),
    };
    if (point == node::kOnFailure) {
        environment.push_back("K3S_UPGRADE_REASON=" +
                              one_line(record_.undone.empty() ? record_.failure : record_.undone));
    }
    try {
        tools_.hooks->run(point, environment, may_stop ? within_deadline(kLongest) : kLongest,
                          stop);
    } catch (const Error& error) {
        if (may_stop || error.kind() == ErrorKind::stopped) {
            throw;
        }
        log::warning(format("{}; the upgrade's outcome stays what it is", error.what()),
                     {{"plan", record_.plan}, {"step", record_.step}});
    }
}

Outcome Upgrade::end_after_hooks(Outcome outcome, const std::stop_token& stop) {
    if (outcome.ending == Ending::undone) {
        record_.undone = outcome.reason;
    }
    for (const auto* const step : going(Way::after_failure)) {
        perform(*step, stop);
    }
    finish(outcome);
    return outcome;
}

}  // namespace kua::upgrade
