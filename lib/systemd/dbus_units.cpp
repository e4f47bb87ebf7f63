// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/dbus_units.hpp"

#include <sdbus-c++/sdbus-c++.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/systemd/command_line.hpp"
#include "lib/systemd/session.hpp"

namespace kua::systemd {

namespace {

constexpr const char* kManagerPath = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";
constexpr const char* kUnit = "org.freedesktop.systemd1.Unit";
constexpr const char* kServiceUnit = "org.freedesktop.systemd1.Service";
constexpr const char* kNoSuchUnit = "org.freedesktop.systemd1.NoSuchUnit";
constexpr const char* kProperties = "org.freedesktop.DBus.Properties";

using Properties = std::map<std::string, sdbus::Variant>;

template <typename Value>
Value value_of(const Properties& properties, const std::string& name) {
    const auto found = properties.find(name);
    return found == properties.end() ? Value() : found->second.get<Value>();
}

Properties all_properties(Session& session, sdbus::IProxy& unit, const Patience& patience,
                          const char* interface) {
    return session.ask<Properties>(unit, patience, kProperties, "GetAll", std::string(interface));
}

/// systemd's description of one ExecStart line: path, argv, ignore failure, four times of the last
/// run, pid, code, status.
using ExecCommand =
    sdbus::Struct<std::string, std::vector<std::string>, bool, std::uint64_t, std::uint64_t,
                  std::uint64_t, std::uint64_t, std::uint32_t, std::int32_t, std::int32_t>;

/// One of ListUnits: name, description, load state, active state, sub state, followed unit, path,
/// job, job's type, job's path.
using ListedUnit =
    sdbus::Struct<std::string, std::string, std::string, std::string, std::string, std::string,
                  sdbus::ObjectPath, std::uint32_t, std::string, sdbus::ObjectPath>;

/// Without it systemd sends no signals at all. It ends with the connection.
void subscribe(Session& session, sdbus::IProxy& manager, const Patience& patience) {
    session.call(manager, patience, kManager, "Subscribe");
}

std::string unit_path(Session& session, sdbus::IProxy& manager, const Patience& patience,
                      const std::string& name) {
    return session.ask<sdbus::ObjectPath>(manager, patience, kManager, "LoadUnit", name);
}

/// systemd counts microseconds of CLOCK_MONOTONIC, which is the steady clock; 0 is never.
std::optional<Duration> age_of(std::uint64_t moment) {
    if (moment == 0) {
        return std::nullopt;
    }
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<Duration>(now - std::chrono::microseconds(moment));
}

std::optional<UnitState> read_state(Session& session, sdbus::IProxy& unit, const Patience& patience,
                                    const std::string& name) {
    const Properties general = all_properties(session, unit, patience, kUnit);
    UnitState state;
    state.name = value_of<std::string>(general, "Id");
    if (state.name.empty()) {
        state.name = name;
    }
    state.load_state = value_of<std::string>(general, "LoadState");
    // Name and message of a D-Bus error, both empty where there was none.
    using LoadError = sdbus::Struct<std::string, std::string>;
    state.load_error = value_of<LoadError>(general, "LoadError").get<1>();
    state.active_state = value_of<std::string>(general, "ActiveState");
    state.sub_state = value_of<std::string>(general, "SubState");
    // Number and path; no job has the number 0.
    using Job = sdbus::Struct<std::uint32_t, sdbus::ObjectPath>;
    state.has_job = value_of<Job>(general, "Job").get<0>() != 0;
    // systemd makes an object for every name it is asked about.
    if (state.load_state == "not-found") {
        return std::nullopt;
    }
    if (state.name.ends_with(".service")) {
        const Properties service = all_properties(session, unit, patience, kServiceUnit);
        const auto commands = value_of<std::vector<ExecCommand>>(service, "ExecStart");
        if (!commands.empty()) {
            state.exec_path = commands.front().get<0>();
            state.exec_start = commands.front().get<1>();
        }
        state.kill_mode = value_of<std::string>(service, "KillMode");
        state.environment = value_of<std::vector<std::string>>(service, "Environment");
        using Files = std::vector<sdbus::Struct<std::string, bool>>;
        for (const auto& file : value_of<Files>(service, "EnvironmentFiles")) {
            state.environment_files.push_back({file.get<0>(), file.get<1>()});
        }
        state.main_pid = value_of<std::uint32_t>(service, "MainPID");
        state.main_age =
            age_of(value_of<std::uint64_t>(service, "ExecMainStartTimestampMonotonic"));
        state.n_restarts = value_of<std::uint32_t>(service, "NRestarts");
        state.result = value_of<std::string>(service, "Result");
    }
    return state;
}

/// `method` is one of the Manager's that take a unit's name and a mode, and answer with a job.
JobResult run_job(Session& session, const char* method, const std::string& name,
                  const Patience& patience) {
    const auto manager = session.proxy(kManagerPath);
    // All jobs that end from now on: ours has no name before the method's answer, and may end
    // before it comes.
    std::map<std::string, std::string> ended;
    std::optional<sdbus::Error> malformed;
    manager->registerSignalHandler(kManager, "JobRemoved", [&](sdbus::Signal& signal) {
        try {
            std::uint32_t id = 0;
            sdbus::ObjectPath job;
            std::string unit;
            std::string result;
            signal >> id >> job >> unit >> result;
            ended[job] = result;
        } catch (const sdbus::Error& error) {
            malformed = error;  // Thrown below: this is called from C.
        }
    });
    manager->finishRegistration();
    subscribe(session, *manager, patience);
    const auto job = session.ask<sdbus::ObjectPath>(*manager, patience, kManager, method, name,
                                                    std::string("replace"));
    while (true) {
        if (malformed) {
            throw sdbus::Error(*malformed);
        }
        if (const auto found = ended.find(job); found != ended.end()) {
            return {found->second};
        }
        ended.clear();
        if (!session.turn(patience)) {
            throw Error(ErrorKind::transient, "systemd's job has not ended in time");
        }
    }
}

/// Reads the unit's state, and again each time that systemd says it has changed, until one is what
/// is waited for; the last one when the time is over.
UnitState wait_until(Session& session, const std::string& name, const Patience& patience,
                     const std::function<bool(const UnitState&)>& wanted) {
    // Reading a state may take as long as any call, even when little of the whole time is left.
    const auto read_patience = [&] { return Patience(kCallTimeout, patience.stop()); };
    const auto manager = session.proxy(kManagerPath);
    subscribe(session, *manager, read_patience());
    const auto unit = session.proxy(unit_path(session, *manager, read_patience(), name));
    bool changed = true;
    unit->registerSignalHandler(kProperties, "PropertiesChanged",
                                [&changed](sdbus::Signal& /*signal*/) { changed = true; });
    unit->finishRegistration();
    UnitState last;
    while (true) {
        if (changed) {
            changed = false;
            auto state = read_state(session, *unit, read_patience(), name);
            if (!state) {
                throw Error(ErrorKind::failed, "no such unit");
            }
            last = std::move(*state);
            if (wanted(last)) {
                return last;
            }
        } else if (!session.turn(patience)) {
            return last;
        }
    }
}

}  // namespace

struct DbusUnits::State {
    std::string address;
    std::unique_ptr<Session> session;

    /// In a session of its own, which takes matches and subscription with it when it goes.
    [[nodiscard]] JobResult run_job(const char* method, const std::string& name,
                                    const Patience& patience) const {
        return at_the_edge([&] {
            patience.check_stop();
            Session own(address);
            return systemd::run_job(own, method, name, patience);
        });
    }

    /// Runs `action` with the kept session, or a new one; it is kept unless something about it
    /// failed.
    template <typename Action>
    auto with_session(Action&& action) {
        return at_the_edge([&] {
            std::unique_ptr<Session> used = std::move(session);
            if (!used || !used->is_alive()) {
                used = std::make_unique<Session>(address);
            }
            try {
                auto result = action(*used);
                session = std::move(used);
                return result;
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::failed) {
                    session = std::move(used);
                }
                throw;
            }
        });
    }
};

DbusUnits::DbusUnits(std::string address) : state_(std::make_unique<State>()) {
    state_->address = std::move(address);
}

DbusUnits::~DbusUnits() = default;

std::optional<UnitState> DbusUnits::state(const std::string& name) {
    return with_context(format("looking at {}", name), [&] {
        return state_->with_session([&](Session& session) {
            const Patience patience(kCallTimeout, {});
            const auto manager = session.proxy(kManagerPath);
            const auto unit = session.proxy(unit_path(session, *manager, patience, name));
            return read_state(session, *unit, patience, name);
        });
    });
}

std::vector<std::string> DbusUnits::running_services() {
    return with_context("listing units", [&] {
        return state_->with_session([](Session& session) {
            const Patience patience(kCallTimeout, {});
            const auto manager = session.proxy(kManagerPath);
            std::vector<std::string> names;
            for (const auto& unit :
                 session.ask<std::vector<ListedUnit>>(*manager, patience, kManager, "ListUnits")) {
                const std::string& name = unit.get<0>();
                const std::string& active = unit.get<3>();
                if (name.ends_with(".service") &&
                    (active == "active" || active == "activating" || active == "reloading")) {
                    names.push_back(name);
                }
            }
            std::ranges::sort(names);
            return names;
        });
    });
}

std::vector<UnitProcess> DbusUnits::processes(const std::string& name) {
    return with_context(format("looking at the processes of {}", name), [&] {
        return state_->with_session([&](Session& session) {
            const Patience patience(kCallTimeout, {});
            const auto manager = session.proxy(kManagerPath);
            const auto unit = session.proxy(unit_path(session, *manager, patience, name));
            if (!read_state(session, *unit, patience, name)) {
                throw Error(ErrorKind::failed, "no such unit");
            }
            // Control group, pid, command line.
            using Processes = std::vector<sdbus::Struct<std::string, std::uint32_t, std::string>>;
            std::vector<UnitProcess> found;
            try {
                for (const auto& process : session.ask<Processes>(*manager, patience, kManager,
                                                                  "GetUnitProcesses", name)) {
                    found.push_back({process.get<1>(), unquoted_command(process.get<2>())});
                }
            } catch (const Refusal& refusal) {
                // systemd forgets units in which nothing runs, and does not load them for this.
                if (refusal.name() != kNoSuchUnit) {
                    throw;
                }
            }
            return found;
        });
    });
}

JobResult DbusUnits::restart(const std::string& name, Duration timeout, std::stop_token stop) {
    return with_context(format("restarting {}", name), [&] {
        return state_->run_job("RestartUnit", name, Patience(timeout, stop));
    });
}

JobResult DbusUnits::stop(const std::string& name, Duration timeout, std::stop_token stop) {
    return with_context(format("stopping {}", name),
                        [&] { return state_->run_job("StopUnit", name, Patience(timeout, stop)); });
}

JobResult DbusUnits::start(const std::string& name, Duration timeout, std::stop_token stop) {
    return with_context(format("starting {}", name), [&] {
        return state_->run_job("StartUnit", name, Patience(timeout, stop));
    });
}

UnitState DbusUnits::wait_settled(const std::string& name, Duration timeout, std::stop_token stop) {
    return with_context(format("waiting for {}", name), [&] {
        return at_the_edge([&] {
            const Patience patience(timeout, stop);
            patience.check_stop();
            Session session(state_->address);
            return wait_until(session, name, patience, [](const UnitState& state) {
                return state.active_state == "active" ||
                       (state.active_state == "failed" && !state.has_job);
            });
        });
    });
}

std::optional<UnitState> DbusUnits::wait_unsettled(const UnitState& settled, Duration timeout,
                                                   std::stop_token stop) {
    return with_context(format("watching {}", settled.name), [&] {
        return at_the_edge([&]() -> std::optional<UnitState> {
            const Patience patience(timeout, stop);
            patience.check_stop();
            Session session(state_->address);
            auto last = wait_until(session, settled.name, patience, [&](const UnitState& state) {
                return !runs_on(settled, state);
            });
            return runs_on(settled, last) ? std::nullopt : std::optional(std::move(last));
        });
    });
}

}  // namespace kua::systemd
