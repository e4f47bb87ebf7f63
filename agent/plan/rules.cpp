// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/rules.hpp"

#include <algorithm>

#include "lib/base/clock.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::plan {

namespace {

constexpr auto kAllowSkippedMinor = "k3s-upgrade-agent/allow-skipped-minor";
constexpr auto kAllowEtcdJump = "k3s-upgrade-agent/allow-etcd-jump";
constexpr auto kAllowOlderBuild = "k3s-upgrade-agent/allow-older-build";
constexpr unsigned kMinorOfEtcd36 = 33;
constexpr unsigned kPatchOfEtcd36 = 11;
/// The first with etcd 3.5.26.
constexpr unsigned kPatchBeforeEtcd36 = 8;
constexpr unsigned kMinorWithoutCgroup1 = 35;

/// `2024-08`; absent for what is no date.
std::optional<std::string> month_of(const std::string& date) {
    constexpr std::size_t kYearAndMonth = 7;
    try {
        return to_rfc3339(parse_rfc3339(date)).substr(0, kYearAndMonth);
    } catch (const Error&) {
        return std::nullopt;
    }
}

bool allows(const Plan& plan, const char* what) {
    const auto annotation = plan.annotations.find(what);
    return annotation != plan.annotations.end() && annotation->second == "true";
}

bool has_etcd_36(const Version& version) {
    return version.minor > kMinorOfEtcd36 ||
           (version.minor == kMinorOfEtcd36 && version.patch >= kPatchOfEtcd36);
}

std::optional<std::string> refused_by_etcd(const Plan& plan, const Move& move) {
    const bool ready_for_it =
        move.from.minor == kMinorOfEtcd36 && move.from.patch >= kPatchBeforeEtcd36;
    if (!move.embedded_etcd || !changes_etcd(move.from, move.to) || ready_for_it ||
        allows(plan, kAllowEtcdJump)) {
        return std::nullopt;
    }
    return format(
        "refused: {} has etcd 3.6, which members older than etcd 3.5.26 may not survive; upgrade "
        "to v1.{}.{} or later of v1.{} first, or annotate the Plan with {}=true",
        move.to.text(), kMinorOfEtcd36, kPatchBeforeEtcd36, kMinorOfEtcd36, kAllowEtcdJump);
}

}  // namespace

bool changes_etcd(const Version& from, const Version& to) {
    return has_etcd_36(from) != has_etcd_36(to);
}

std::optional<std::string> refusal(const Plan& plan, const Move& move) {
    if (!comparable(move.from, move.to)) {
        return format(
            "refused: nothing tells which of {} and {} is newer; a Plan for another patch version "
            "can be compared",
            move.from.text(), move.to.text());
    }
    if (move.to < move.from) {
        return format("refused: {} is lower than {}, which the node runs; k3s can't be downgraded",
                      move.to.text(), move.from.text());
    }
    if (move.to.major != move.from.major) {
        return format("refused: from {} to {} is another major version", move.from.text(),
                      move.to.text());
    }
    if (move.to.minor > move.from.minor + 1 && !allows(plan, kAllowSkippedMinor)) {
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
    if (move.to.minor >= kMinorWithoutCgroup1 && move.cgroup_v1) {
        return format(
            "refused: the kubelet of {} ends on a host with cgroup v1, as this one; boot it with "
            "cgroup v2 (systemd.unified_cgroup_hierarchy=1 on the kernel's command line), or give "
            "k3s --kubelet-arg=fail-cgroupv1=false",
            move.to.text());
    }
    return refused_by_etcd(plan, move);
}

std::optional<std::string> older_build(const Plan& plan, const std::string& from,
                                       const std::string& to) {
    const auto from_month = month_of(from);
    const auto to_month = month_of(to);
    if (from_month && to_month && *to_month < *from_month && !allows(plan, kAllowOlderBuild)) {
        return format(
            "refused: the release was built in {}, before the one that is installed, built in {}; "
            "annotate the Plan with {}=true to allow it",
            *to_month, *from_month, kAllowOlderBuild);
    }
    return std::nullopt;
}

bool any_known(const std::vector<ServerVersion>& servers) {
    return std::ranges::any_of(servers, [](const ServerVersion& server) {
        return parse_version(server.kubelet_version).has_value();
    });
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
