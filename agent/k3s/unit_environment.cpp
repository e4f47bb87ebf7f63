// SPDX-License-Identifier: Apache-2.0
#include "agent/k3s/unit_environment.hpp"

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/log/log.hpp"

namespace kua::k3s {

systemd::Environment unit_environment(systemd::Units& units, const std::string& unit) {
    constexpr std::size_t kMostBytes = 1U << 20U;
    systemd::Environment environment;
    const auto state = units.state(unit);
    if (!state) {
        return environment;
    }
    for (const auto& assignment : state->environment) {
        systemd::add_assignment(environment, assignment);
    }
    for (const auto& file : state->environment_files) {
        try {
            const auto text = fs::read_file(file.path, kMostBytes);
            if (!text && !file.may_be_missing) {
                log::warning(format("{} names {}, which does not exist", unit, file.path));
            }
            for (auto& [name, value] : systemd::parse_environment_file(text.value_or(""))) {
                environment.insert_or_assign(name, value);
            }
        } catch (const Error& error) {
            log::warning(format("the environment of {}: {}", unit, error.what()));
        }
    }
    return environment;
}

}  // namespace kua::k3s
