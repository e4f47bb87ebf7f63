// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/transient.hpp"

#include <unistd.h>

#include <chrono>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::systemd {

namespace {

constexpr auto kSystemdRun = "/usr/bin/systemd-run";
constexpr auto kSystemctl = "/usr/bin/systemctl";
/// How long systemd may take to make a unit, and to clear it away.
constexpr Duration kUnitTimeout{30'000};
/// What systemctl says of a unit that was never made, or is gone already.
constexpr int kNotLoaded = 5;

bool exists(const std::filesystem::path& path) {
    std::error_code code;
    return std::filesystem::exists(path, code);
}

void end_units(const std::string& names) noexcept {
    try {
        fs::Command command;
        command.program = kSystemctl;
        command.arguments = {"--quiet", "--no-ask-password", "stop", names};
        command.timeout = kUnitTimeout;
        const auto finished = fs::run(command);
        if (!finished.succeeded() && finished.exit_code != kNotLoaded) {
            log::warning(format("stopping {}: {}; systemd ends it by itself soon", names,
                                excerpt(finished.errors, 200)));
        }
    } catch (const std::exception& error) {
        log::warning(format("stopping {}: {}", names, error.what()));
    }
}

/// A unit's name; the unit is gone with all its processes when this goes.
class Unit {
  public:
    explicit Unit(const std::string& prefix)
        : name_(format("{}-{}-{}.service", prefix, ::getpid(),
                       std::chrono::steady_clock::now().time_since_epoch().count())) {}
    Unit(const Unit&) = delete;
    Unit& operator=(const Unit&) = delete;
    ~Unit() {
        if (!ended_) {
            end_units(name_);
        }
    }

    fs::Finished run(const Transient& transient, const std::stop_token& stop) {
        fs::Command command;
        command.program = kSystemdRun;
        command.arguments = {"--quiet",
                             "--pipe",
                             "--wait",
                             "--collect",
                             "--no-ask-password",
                             "--unit=" + name_,
                             "--description=" + transient.description};
        for (const auto& property : transient.properties) {
            command.arguments.push_back("--property=" + property);
        }
        // Only should we die: our own clock is the one that counts.
        command.arguments.push_back(format(
            "--property=RuntimeMaxSec={}",
            std::chrono::ceil<std::chrono::seconds>(transient.timeout + kUnitTimeout).count()));
        for (const auto& variable : transient.environment) {
            command.arguments.push_back("--setenv=" + variable);
        }
        command.arguments.insert(command.arguments.end(), {"--", transient.program.string()});
        command.arguments.insert(command.arguments.end(), transient.arguments.begin(),
                                 transient.arguments.end());
        command.timeout = transient.timeout;
        command.most_output = transient.most_output;
        auto finished = fs::run(command, stop);
        // systemd-run waits until the unit is gone; what was killed did not wait.
        ended_ = !finished.timed_out && finished.signal == 0;
        return finished;
    }

  private:
    std::string name_;
    bool ended_ = false;
};

}  // namespace

bool can_run_transient() {
    return ::geteuid() == 0 && exists("/run/systemd/system") && exists(kSystemdRun) &&
           exists(kSystemctl);
}

fs::Finished run_transient(const Transient& transient, const std::stop_token& stop) {
    return Unit(transient.prefix).run(transient, stop);
}

void end_transients(const std::string& prefix) noexcept {
    if (can_run_transient()) {
        end_units(prefix + "-*.service");
    }
}

}  // namespace kua::systemd
