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

/// A severity and a date: `E1127 12:00:00.000000    4711 server.go:294] …`
bool is_klog_error(const std::string& line) {
    constexpr std::size_t kDate = 4;
    return line.size() > kDate && (line.front() == 'E' || line.front() == 'F') &&
           std::all_of(line.begin() + 1, line.begin() + 1 + kDate,
                       [](char each) { return each >= '0' && each <= '9'; });
}

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

std::string last_words(const std::vector<std::string>& lines, bool ended) {
    const auto fatal = std::find_if(lines.rbegin(), lines.rend(), [](const std::string& each) {
        return each.find("level=fatal") != std::string::npos &&
               each.find("context canceled") == std::string::npos;
    });
    if (fatal != lines.rend()) {
        constexpr std::string_view kMessage = "msg=";
        const auto message = fatal->find(kMessage);
        return excerpt(
            message == std::string::npos ? *fatal : fatal->substr(message + kMessage.size()),
            kMostLine);
    }
    const auto error = std::find_if(lines.rbegin(), lines.rend(), is_klog_error);
    return ended && error != lines.rend() ? excerpt(*error, kMostLine) : std::string();
}

Json about_plan(const node::Record& record, const std::string& ns) {
    return {{"apiVersion", "upgrade.cattle.io/v1"},
            {"kind", "Plan"},
            {"metadata", {{"name", record.plan}, {"namespace", ns}, {"uid", record.plan_uid}}}};
}

Json failure_event(const node::Record& record, const std::string& ns, const std::string& node,
                   WallTime now) {
    const auto head =
        format("The last lines of {} on Node {} at {}: ", record.unit, node, record.version);
    auto event = kube::make_event(about_plan(record, ns), "Warning", "JobFailed",
                                  with_last_lines(head, record.last_lines, kMostMessage),
                                  "k3s-upgrade-agent", node, now);
    const auto restarted = std::chrono::duration_cast<std::chrono::microseconds>(
        parse_rfc3339(record.restarted).time_since_epoch());
    event["metadata"].erase("generateName");
    event["metadata"]["name"] = format("{}.{}.{:x}", record.plan, node, restarted.count());
    return event;
}

}  // namespace kua::upgrade
