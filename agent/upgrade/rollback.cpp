// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/rollback.hpp"

#include "agent/plan/rules.hpp"
#include "agent/plan/version.hpp"
#include "lib/base/format.hpp"

namespace kua::upgrade {

namespace {

bool same_minor(const std::optional<plan::Version>& one,
                const std::optional<plan::Version>& other) {
    return one && other && one->major == other->major && one->minor == other->minor;
}

}  // namespace

std::optional<std::string> why_not_rolled_back(Rollback rollback, const Role& role,
                                               const std::string& from, const std::string& to) {
    switch (rollback) {
        case Rollback::always:
            return std::nullopt;
        case Rollback::never:
            return "the configuration says rollback: never";
        case Rollback::automatic:
            break;
    }
    const auto one = plan::parse_version(from);
    const auto other = plan::parse_version(to);
    if (!role.is_server) {
        return std::nullopt;
    }
    if (same_minor(one, other)) {
        if (!role.etcd_member || !plan::changes_etcd(*one, *other)) {
            return std::nullopt;
        }
        return format(
            "{} has another minor version of etcd, whose data {} may not read "
            "(rollback: auto)",
            to, from);
    }
    return format("{} may have migrated the data store, which {} may not read (rollback: auto)", to,
                  from);
}

}  // namespace kua::upgrade
