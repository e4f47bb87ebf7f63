// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/rollback.hpp"

#include "agent/plan/version.hpp"
#include "lib/base/format.hpp"

namespace kua::upgrade {

namespace {

bool same_minor(const std::string& from, const std::string& to) {
    const auto one = plan::parse_version(from);
    const auto other = plan::parse_version(to);
    return one && other && one->major == other->major && one->minor == other->minor;
}

}  // namespace

std::optional<std::string> why_not_rolled_back(Rollback rollback, bool is_server,
                                               const std::string& from, const std::string& to) {
    switch (rollback) {
        case Rollback::always:
            return std::nullopt;
        case Rollback::never:
            return "the configuration says rollback: never";
        case Rollback::automatic:
            break;
    }
    if (!is_server || same_minor(from, to)) {
        return std::nullopt;
    }
    return format("{} may have migrated the data store, which {} may not read (rollback: auto)", to,
                  from);
}

}  // namespace kua::upgrade
