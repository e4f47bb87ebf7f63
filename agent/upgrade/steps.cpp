// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/steps.hpp"

#include <algorithm>
#include <array>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::upgrade {

namespace {

using enum Way;

constexpr auto kUndo = "undo";
constexpr auto kRollBack = "restore";

constexpr auto kSteps = std::to_array<StepInfo>({
    {"prepare", "Preparing", true, forward, Interrupted::undo, kUndo},
    {"snapshot", "CopyingDatastore", true, forward, Interrupted::undo, kUndo},
    {"cordon", "Cordoning", true, forward, Interrupted::undo, kUndo},
    {"hooks-pre-drain", "RunningHooks", true, forward, Interrupted::undo, kUndo},
    {"drain", "Draining", true, forward, Interrupted::undo, kUndo},
    {"hooks-post-drain", "RunningHooks", true, forward, Interrupted::undo, kUndo},
    {"hooks-pre-restart", "RunningHooks", true, forward, Interrupted::undo, kUndo},
    {"stop", "Stopping", true, forward, Interrupted::undo, kUndo},
    {"copy-datastore", "CopyingDatastore", true, forward, Interrupted::undo, kUndo},
    {"swap", "Swapping", true, forward, Interrupted::undo_unless_swapped, kUndo},
    {"restart", "Restarting", true, forward, Interrupted::look_then_repeat, kRollBack},
    {"verify", "Verifying", false, forward, Interrupted::repeat, kRollBack},
    {"uncordon", "Uncordoning", false, forward, Interrupted::repeat, {}},
    {"delay", "Delaying", false, forward, Interrupted::repeat, {}},
    {"label", "Labelling", false, forward, Interrupted::repeat, {}},
    {"hooks-post-upgrade", "RunningHooks", false, forward, Interrupted::repeat, {}},
    {"release", "Releasing", false, forward, Interrupted::repeat, {}},
    {kUndo, "Undoing", false, undo, Interrupted::repeat, {}},
    {kRollBack, "RollingBack", false, roll_back, Interrupted::repeat, {}},
    {"restart-previous", "RollingBack", false, roll_back, Interrupted::repeat, {}},
    {"verify-previous", "RollingBack", false, roll_back, Interrupted::repeat, {}},
    {"uncordon-previous", "RollingBack", false, roll_back, Interrupted::repeat, {}},
    {"report-failure", "RollingBack", false, roll_back, Interrupted::repeat, {}},
    {"hooks-on-failure", "RunningHooks", false, after_failure, Interrupted::repeat, {}},
});

}  // namespace

std::span<const StepInfo> steps() { return kSteps; }

const StepInfo* find_step(std::string_view name) {
    const auto* const step = std::ranges::find(kSteps, name, &StepInfo::name);
    return step == kSteps.end() ? nullptr : step;
}

std::string_view name_of(Way way) {
    switch (way) {
        case forward:
            return "forward";
        case undo:
            return "undo";
        case roll_back:
            return "roll-back";
        case after_failure:
            return "after-failure";
    }
    return {};
}

std::string_view name_of(Moment moment) { return moment == Moment::before ? "before" : "after"; }

PausePoints read_pause_points(std::string_view text) {
    PausePoints points;
    while (!text.empty()) {
        const auto point = text.substr(0, text.find(','));
        text.remove_prefix(std::min(text.size(), point.size() + 1));
        const auto name = point.substr(0, point.find(':'));
        const auto moment = point.substr(std::min(point.size(), name.size() + 1));
        if (find_step(name) == nullptr || (moment != "before" && moment != "after")) {
            std::string known;
            for (const auto& step : kSteps) {
                known += format("{}{}", known.empty() ? "" : ", ", step.name);
            }
            throw Error(ErrorKind::invalid,
                        format("\"{}\" is no pause point; one is a step's name and \":before\" or "
                               "\":after\"; steps are {}",
                               point, known));
        }
        points.emplace(name, moment == "before" ? Moment::before : Moment::after);
    }
    return points;
}

}  // namespace kua::upgrade
