// SPDX-License-Identifier: Apache-2.0
// Stands in for systemd: units are what a test says they are. Different from it: jobs are over at
// once, their outcomes come from the test, and nothing is ever started.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/systemd/units.hpp"

namespace kua::test {

class FakeUnits final : public systemd::Units {
  public:
    /// A unit that is loaded and active, and has been so for long.
    systemd::UnitState& add(const std::string& name, std::vector<std::string> exec_start) {
        systemd::UnitState unit;
        unit.name = name;
        unit.load_state = "loaded";
        unit.active_state = "active";
        unit.sub_state = "running";
        unit.exec_start = std::move(exec_start);
        unit.exec_path = unit.exec_start.empty() ? "" : unit.exec_start.front();
        unit.result = "success";
        units[name] = unit;
        set_running(units[name], true);
        return units[name];
    }

    std::optional<systemd::UnitState> state(const std::string& name) override {
        const auto unit = units.find(name);
        return unit == units.end() ? std::nullopt : std::optional(unit->second);
    }

    std::vector<std::string> running_services() override {
        std::vector<std::string> names;
        for (const auto& [name, unit] : units) {
            if (unit.active_state == "active" || unit.active_state == "activating" ||
                unit.active_state == "reloading") {
                names.push_back(name);
            }
        }
        return names;
    }

    std::vector<systemd::UnitProcess> processes(const std::string& name) override {
        if (!units.contains(name)) {
            throw Error(ErrorKind::failed, "no unit " + name);
        }
        return on_processes ? on_processes(name) : running[name];
    }

    systemd::JobResult restart(const std::string& name, Duration timeout,
                               std::stop_token stop) override {
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped, "stopped");
        }
        restarted.push_back(name);
        timeouts.push_back(timeout);
        const auto job = on_restart ? on_restart(name) : systemd::JobResult{"done"};
        change(name, job, "inactive", "active");
        return job;
    }

    systemd::JobResult stop(const std::string& name, Duration /*timeout*/,
                            std::stop_token stop) override {
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped, "stopped");
        }
        stopped.push_back(name);
        const auto job = on_stop ? on_stop(name) : systemd::JobResult{"done"};
        change(name, job, "active", "inactive");
        return job;
    }

    systemd::JobResult start(const std::string& name, Duration /*timeout*/,
                             std::stop_token stop) override {
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped, "stopped");
        }
        started.push_back(name);
        const auto job = on_start ? on_start(name) : systemd::JobResult{"done"};
        change(name, job, "inactive", "active");
        return job;
    }

    systemd::UnitState wait_settled(const std::string& name, Duration timeout,
                                    std::stop_token stop) override {
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped, "stopped");
        }
        timeouts.push_back(timeout);
        if (on_wait_settled) {
            on_wait_settled(name);
        }
        const auto unit = state(name);
        if (!unit) {
            throw Error(ErrorKind::failed, "no unit " + name);
        }
        return *unit;
    }

    std::optional<systemd::UnitState> wait_unsettled(const systemd::UnitState& settled,
                                                     Duration timeout,
                                                     std::stop_token stop) override {
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped, "stopped");
        }
        watched.push_back(timeout);
        if (on_wait_unsettled) {
            on_wait_unsettled(settled.name);
        }
        const auto now = state(settled.name);
        return now && systemd::runs_on(settled, *now) ? std::nullopt : now;
    }

    std::map<std::string, systemd::UnitState> units;
    /// What runs in each unit; a job changes nothing about it.
    std::map<std::string, std::vector<systemd::UnitProcess>> running;
    /// Instead of it; may throw.
    std::function<std::vector<systemd::UnitProcess>(const std::string& name)> on_processes;
    /// What a restart does and how its job ends; may throw. Without one every job is done.
    std::function<systemd::JobResult(const std::string& name)> on_restart;
    /// The same for a stop, and for a start.
    std::function<systemd::JobResult(const std::string& name)> on_stop;
    std::function<systemd::JobResult(const std::string& name)> on_start;
    std::function<void(const std::string& name)> on_wait_settled;
    /// What happens to a unit while it is watched; may throw.
    std::function<void(const std::string& name)> on_wait_unsettled;
    std::vector<std::string> restarted;  ///< Names, in order.
    std::vector<std::string> stopped;
    std::vector<std::string> started;
    std::vector<Duration> timeouts;  ///< What restart and wait_settled were given, in order.
    std::vector<Duration> watched;   ///< What wait_unsettled was given, in order.

  private:
    static constexpr std::uint32_t kPid = 100;
    static constexpr Duration kLong = std::chrono::hours(1000);

    /// The main process calls itself as k3s does, by its program and its command. What a test has
    /// put beside it stays.
    void set_running(systemd::UnitState& unit, bool runs) {
        auto& processes = running[unit.name];
        std::erase_if(processes, [](const auto& process) { return process.pid == kPid; });
        unit.main_pid = runs && !unit.exec_start.empty() ? kPid : 0;
        unit.main_age = kLong;
        if (unit.main_pid == 0) {
            return;
        }
        auto command = unit.exec_start.front();
        const auto role = std::ranges::find_if(unit.exec_start, [](const auto& argument) {
            return argument == "server" || argument == "agent";
        });
        if (role != unit.exec_start.end()) {
            command += " " + *role;
        } else {
            std::for_each(unit.exec_start.begin() + 1, unit.exec_start.end(),
                          [&command](const auto& argument) { command += " " + argument; });
        }
        processes.insert(processes.begin(), {unit.main_pid, command});
    }

    void change(const std::string& name, const systemd::JobResult& job, const std::string& from,
                const std::string& to) {
        const auto found = units.find(name);
        if (!job.done() || found == units.end()) {
            return;
        }
        auto& unit = found->second;
        if (unit.active_state == from) {
            unit.active_state = to;
        }
        if (unit.active_state == to) {
            set_running(unit, to == "active");
        }
    }
};

}  // namespace kua::test
