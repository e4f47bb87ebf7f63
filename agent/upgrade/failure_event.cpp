// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/failure_event.hpp"

#include <algorithm>

#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"

namespace kua::upgrade {

namespace {

constexpr std::size_t kMostMessage = 1000;  // Kubernetes takes 1024 bytes.
constexpr std::size_t kMostLine = 240;
constexpr std::string_view kBetween = " | ";

}  // namespace

std::string with_last_lines(const std::string& head, const std::vector<std::string>& lines,
                            std::size_t most) {
    std::string tail;
    for (auto left = lines.size(); left > 0; --left) {
        auto next = excerpt(lines[left - 1], kMostLine);
        if (!tail.empty()) {
            next += std::string(kBetween) + tail;
        }
        if (head.size() + next.size() > most) {
            break;
        }
        tail = std::move(next);
    }
    return head + tail;
}

std::string last_fatal(const std::vector<std::string>& lines) {
    const auto line = std::find_if(lines.rbegin(), lines.rend(), [](const std::string& each) {
        return each.find("level=fatal") != std::string::npos &&
               each.find("context canceled") == std::string::npos;
    });
    if (line == lines.rend()) {
        return {};
    }
    constexpr std::string_view kMessage = "msg=";
    const auto message = line->find(kMessage);
    return excerpt(message == std::string::npos ? *line : line->substr(message + kMessage.size()),
                   kMostLine);
}

Json failure_event(const node::Record& record, const std::string& ns, const std::string& node,
                   WallTime now) {
    const Json about = {
        {"apiVersion", "upgrade.cattle.io/v1"},
        {"kind", "Plan"},
        {"metadata", {{"name", record.plan}, {"namespace", ns}, {"uid", record.plan_uid}}}};
    const auto head =
        format("The last lines of {} on Node {} at {}: ", record.unit, node, record.version);
    auto event = kube::make_event(about, "Warning", "JobFailed",
                                  with_last_lines(head, record.last_lines, kMostMessage),
                                  "k3s-upgrade-agent", node, now);
    const auto restarted = std::chrono::duration_cast<std::chrono::microseconds>(
        parse_rfc3339(record.restarted).time_since_epoch());
    event["metadata"].erase("generateName");
    event["metadata"]["name"] = format("{}.{}.{:x}", record.plan, node, restarted.count());
    return event;
}

}  // namespace kua::upgrade
