// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/rules.hpp"

#include "lib/base/clock.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::plan {

namespace {

constexpr auto kAllowSkippedMinor = "k3s-upgrade-agent/allow-skipped-minor";

/// `2024-08`; absent for what is no date.
std::optional<std::string> month_of(const std::string& date) {
    constexpr std::size_t kYearAndMonth = 7;
    try {
        return to_rfc3339(parse_rfc3339(date)).substr(0, kYearAndMonth);
    } catch (const Error&) {
        return std::nullopt;
    }
}

bool allows_skipped_minor(const Plan& plan) {
    const auto annotation = plan.annotations.find(kAllowSkippedMinor);
    return annotation != plan.annotations.end() && annotation->second == "true";
}

}  // namespace

std::optional<std::string> refusal(const Plan& plan, const Move& move) {
    if (move.to < move.from) {
        return format("refused: {} is lower than {}, which the node runs; k3s can't be downgraded",
                      move.to.text(), move.from.text());
    }
    if (move.to.major != move.from.major) {
        return format("refused: from {} to {} is another major version", move.from.text(),
                      move.to.text());
    }
    if (move.to.minor > move.from.minor + 1 && !allows_skipped_minor(plan)) {
        return format(
            "refused: from {} to {} skips a minor version; upgrade to v{}.{} first, or annotate "
            "the Plan with {}=true",
            move.from.text(), move.to.text(), move.from.major, move.from.minor + 1,
            kAllowSkippedMinor);
    }
    if (!move.is_server) {
        for (const auto& server : move.servers) {
            const auto version = parse_version(server.kubelet_version);
            if (version && *version < move.to &&
                (version->major != move.to.major || version->minor < move.to.minor)) {
                return format(
                    "refused: a kubelet at {} would be newer than the API server of {} ({}); "
                    "upgrade the servers first",
                    move.to.text(), server.node, server.kubelet_version);
            }
        }
    }
    return std::nullopt;
}

std::optional<std::string> older_build(const std::string& from, const std::string& to) {
    const auto from_month = month_of(from);
    const auto to_month = month_of(to);
    if (from_month && to_month && *to_month < *from_month) {
        return format(
            "refused: the same version, built in {}, is older than the one installed, built in {}",
            *to_month, *from_month);
    }
    return std::nullopt;
}

std::vector<std::string> servers_not_at(const std::vector<ServerVersion>& servers,
                                        const Version& version) {
    std::vector<std::string> waiting;
    for (const auto& server : servers) {
        if (server.kubelet_version != version.text()) {
            waiting.push_back(format("{} at {}", server.node, server.kubelet_version));
        }
    }
    return waiting;
}

}  // namespace kua::plan
