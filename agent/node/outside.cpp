// SPDX-License-Identifier: Apache-2.0
#include "agent/node/outside.hpp"

#include "lib/base/format.hpp"
#include "lib/systemd/transient.hpp"

namespace kua::node {

namespace {

constexpr auto kUnitPrefix = "k3s-upgrade-agent-hook";
constexpr std::size_t kMostOutput = 256U << 10U;
constexpr std::size_t kMostOfLastLine = 200;

}  // namespace

fs::Finished run_outside(const Outside& outside, const std::stop_token& stop) {
    if (systemd::can_run_transient()) {
        systemd::Transient transient;
        transient.prefix = kUnitPrefix;
        transient.description = outside.description;
        transient.properties = {"WorkingDirectory=/", "TimeoutStopSec=5"};
        for (const auto& file : outside.environment_files) {
            transient.properties.push_back(
                format("EnvironmentFile={}{}", file.may_be_missing ? "-" : "", file.path));
        }
        transient.environment = outside.environment;
        transient.program = outside.program;
        transient.arguments = outside.arguments;
        transient.timeout = outside.timeout;
        transient.most_output = kMostOutput;
        return systemd::run_transient(transient, stop);
    }
    fs::Command command;
    command.program = outside.program;
    command.arguments = outside.arguments;
    command.environment.insert(command.environment.end(), outside.environment.begin(),
                               outside.environment.end());
    command.timeout = outside.timeout;
    command.most_output = kMostOutput;
    return fs::run(command, stop);
}

std::string why_it_failed(const fs::Finished& finished, Duration timeout) {
    const auto how = finished.timed_out ? format("did not end within {}", to_text(timeout))
                     : finished.signal != 0
                         ? format("was ended by signal {}", finished.signal)
                         : format("failed with exit status {}", finished.exit_code);
    const auto text = trim(trim(finished.errors).empty() ? finished.output : finished.errors);
    const auto said = excerpt(text.substr(text.rfind('\n') + 1), kMostOfLastLine);
    return said.empty() ? how : format("{}: {}", how, said);
}

void end_outside_leftovers() noexcept { systemd::end_transients(kUnitPrefix); }

}  // namespace kua::node
