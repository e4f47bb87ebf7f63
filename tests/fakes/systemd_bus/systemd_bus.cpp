// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/systemd_bus/systemd_bus.hpp"

#include <sdbus-c++/sdbus-c++.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>

namespace kua::fakes {

namespace {

constexpr const char* kName = "org.freedesktop.systemd1";
constexpr const char* kManagerPath = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";
constexpr const char* kUnit = "org.freedesktop.systemd1.Unit";
constexpr const char* kService = "org.freedesktop.systemd1.Service";

/// As systemd's bus_label_escape: all but letters and digits become `_xx`.
sdbus::ObjectPath path_of(const std::string& unit) {
    static constexpr std::string_view kHex = "0123456789abcdef";
    std::string path = std::string(kManagerPath) + "/unit/";
    for (const char character : unit) {
        const bool plain = (character >= 'a' && character <= 'z') ||
                           (character >= 'A' && character <= 'Z') ||
                           (character >= '0' && character <= '9');
        if (plain) {
            path += character;
        } else {
            const auto byte = static_cast<unsigned char>(character);
            path += '_';
            path += kHex[byte >> 4U];
            path += kHex[byte & 0x0FU];
        }
    }
    return path;
}

using ExecCommand =
    sdbus::Struct<std::string, std::vector<std::string>, bool, std::uint64_t, std::uint64_t,
                  std::uint64_t, std::uint64_t, std::uint32_t, std::int32_t, std::int32_t>;
using UnitProcess = sdbus::Struct<std::string, std::uint32_t, std::string>;
using ListedUnit =
    sdbus::Struct<std::string, std::string, std::string, std::string, std::string, std::string,
                  sdbus::ObjectPath, std::uint32_t, std::string, sdbus::ObjectPath>;

}  // namespace

struct SystemdBus::State {
    explicit State(const std::string& address)
        : connection(sdbus::createSessionBusConnectionWithAddress(address)) {}

    mutable std::mutex mutex;
    mutable std::condition_variable read_by_someone;
    std::map<std::string, FakeUnit> units;
    std::set<std::string> forgotten;
    std::map<std::string, int> reads;
    OnJob job_action;
    bool subscribed = false;
    std::uint32_t jobs = 0;
    std::unique_ptr<sdbus::IConnection> connection;
    std::unique_ptr<sdbus::IObject> manager;
    std::map<std::string, std::unique_ptr<sdbus::IObject>> objects;
    std::thread loop;

    /// When the bus has gone, there is nobody left to tell.
    template <typename Action>
    static void unless_bus_is_gone(Action&& action) {
        try {
            action();
        } catch (const sdbus::Error& error) {
            gone(error);
        }
    }
    static void gone(const sdbus::Error& /*error*/) {}

    bool has_subscriber() const {
        const std::lock_guard lock(mutex);
        return subscribed;
    }

    FakeUnit unit(const std::string& name) const {
        const std::lock_guard lock(mutex);
        return units.at(name);
    }

    void send_job_removed(std::uint32_t id, const std::string& path, const std::string& name,
                          const std::string& result) {
        if (!has_subscriber()) {
            return;
        }
        unless_bus_is_gone([&] {
            manager->emitSignal("JobRemoved")
                .onInterface(kManager)
                .withArguments(id, sdbus::ObjectPath(path), name, result);
        });
    }

    void add_object(const std::string& name);
    void add_manager(const std::weak_ptr<State>& self);
    void run_job(const std::weak_ptr<State>& self, const std::string& method,
                 sdbus::Result<sdbus::ObjectPath>&& answer, const std::string& name);
    sdbus::ObjectPath load(const std::string& name);
    std::vector<UnitProcess> processes_of(const std::string& name) const;
    std::vector<ListedUnit> listed_units() const;
};

struct FakeJob::State {
    std::weak_ptr<SystemdBus::State> bus;
    sdbus::Result<sdbus::ObjectPath> answer;
    std::uint32_t id = 0;
    std::string path;
    std::string unit;
    std::string method;
};

FakeJob::FakeJob(std::shared_ptr<State> state) : state_(std::move(state)) {}

const std::string& FakeJob::unit() const { return state_->unit; }

const std::string& FakeJob::method() const { return state_->method; }

void FakeJob::reply() {
    SystemdBus::State::unless_bus_is_gone(
        [&] { state_->answer.returnResults(sdbus::ObjectPath(state_->path)); });
}

void FakeJob::refuse(const std::string& error_name, const std::string& message) {
    SystemdBus::State::unless_bus_is_gone(
        [&] { state_->answer.returnError(sdbus::Error(error_name, message)); });
}

void FakeJob::end(const std::string& result) {
    if (const auto bus = state_->bus.lock()) {
        bus->send_job_removed(state_->id, state_->path, state_->unit, result);
    }
}

void SystemdBus::State::add_object(const std::string& name) {
    auto object = sdbus::createObject(*connection, path_of(name));
    const auto text = [&](const char* property, const char* interface, auto member) {
        object->registerProperty(property).onInterface(interface).withGetter(
            [this, name, member] { return unit(name).*member; });
    };
    text("LoadState", kUnit, &FakeUnit::load_state);
    text("ActiveState", kUnit, &FakeUnit::active_state);
    text("SubState", kUnit, &FakeUnit::sub_state);
    object->registerProperty("Job").onInterface(kUnit).withGetter([this, name] {
        const auto job = unit(name).job;
        return sdbus::Struct<std::uint32_t, sdbus::ObjectPath>(
            job, job == 0 ? "/" : kManagerPath + ("/job/" + std::to_string(job)));
    });
    text("MainPID", kService, &FakeUnit::main_pid);
    text("ExecMainStartTimestampMonotonic", kService, &FakeUnit::main_started);
    text("NRestarts", kService, &FakeUnit::n_restarts);
    text("Result", kService, &FakeUnit::result);
    text("Environment", kService, &FakeUnit::environment);
    object->registerProperty("EnvironmentFiles").onInterface(kService).withGetter([this, name] {
        std::vector<sdbus::Struct<std::string, bool>> files;
        for (const auto& [path, may_be_missing] : unit(name).environment_files) {
            files.emplace_back(path, may_be_missing);
        }
        return files;
    });
    object->registerProperty("Id").onInterface(kUnit).withGetter([this, name] {
        const std::lock_guard lock(mutex);
        ++reads[name];
        read_by_someone.notify_all();
        return name;
    });
    object->registerProperty("ExecStart").onInterface(kService).withGetter([this, name] {
        std::vector<ExecCommand> commands;
        if (const auto argv = unit(name).exec_start; !argv.empty()) {
            commands.emplace_back(argv.front(), argv, false, 0U, 0U, 0U, 0U, 0U, 0, 0);
        }
        return commands;
    });
    object->finishRegistration();
    objects[name] = std::move(object);
}

sdbus::ObjectPath SystemdBus::State::load(const std::string& name) {
    if (name.find('.') == std::string::npos || name.find("@.") != std::string::npos) {
        throw sdbus::Error("org.freedesktop.DBus.Error.InvalidArgs",
                           "Unit name " + name + " is not valid.");
    }
    {
        const std::lock_guard lock(mutex);
        FakeUnit missing;
        missing.name = name;
        missing.load_state = "not-found";
        missing.active_state = "inactive";
        missing.sub_state = "dead";
        units.try_emplace(name, missing);
    }
    if (!objects.contains(name)) {
        add_object(name);
    }
    return path_of(name);
}

std::vector<UnitProcess> SystemdBus::State::processes_of(const std::string& name) const {
    const std::lock_guard lock(mutex);
    const auto found = units.find(name);
    // systemd loads no unit for this.
    if (found == units.end() || found->second.load_state != "loaded" || forgotten.contains(name)) {
        throw sdbus::Error("org.freedesktop.systemd1.NoSuchUnit", "Unit " + name + " not loaded.");
    }
    std::vector<UnitProcess> processes;
    for (const auto& [pid, command] : found->second.processes) {
        processes.emplace_back("/system.slice/" + name, pid, command);
    }
    return processes;
}

std::vector<ListedUnit> SystemdBus::State::listed_units() const {
    const std::lock_guard lock(mutex);
    std::vector<ListedUnit> listed;
    for (const auto& [name, unit] : units) {
        listed.emplace_back(name, "", unit.load_state, unit.active_state, unit.sub_state, "",
                            path_of(name), 0U, "", sdbus::ObjectPath("/"));
    }
    return listed;
}

void SystemdBus::State::run_job(const std::weak_ptr<State>& self, const std::string& method,
                                sdbus::Result<sdbus::ObjectPath>&& answer,
                                const std::string& name) {
    auto state = std::make_shared<FakeJob::State>();
    state->bus = self;
    state->answer = std::move(answer);
    state->unit = name;
    state->method = method;
    OnJob action;
    bool known = false;
    {
        const std::lock_guard lock(mutex);
        state->id = ++jobs;
        const auto found = units.find(name);
        known = found != units.end() && found->second.load_state == "loaded";
        action = job_action;
    }
    state->path = std::string(kManagerPath) + "/job/" + std::to_string(state->id);
    FakeJob job(state);
    if (!known) {
        job.refuse("org.freedesktop.systemd1.NoSuchUnit", "Unit " + name + " not found.");
    } else if (action) {
        action(job);
    } else {
        job.reply();
        job.end("done");
    }
}

void SystemdBus::State::add_manager(const std::weak_ptr<State>& self) {
    manager = sdbus::createObject(*connection, kManagerPath);
    manager->registerMethod("Subscribe").onInterface(kManager).implementedAs([this] {
        const std::lock_guard lock(mutex);
        subscribed = true;
    });
    manager->registerMethod("LoadUnit")
        .onInterface(kManager)
        .implementedAs([this](const std::string& name) { return load(name); });
    manager->registerMethod("GetUnitProcesses")
        .onInterface(kManager)
        .implementedAs([this](const std::string& name) { return processes_of(name); });
    manager->registerMethod("ListUnits").onInterface(kManager).implementedAs([this] {
        return listed_units();
    });
    for (const auto* const method : {"RestartUnit", "StopUnit", "StartUnit"}) {
        manager->registerMethod(method).onInterface(kManager).implementedAs(
            [this, self, method](sdbus::Result<sdbus::ObjectPath>&& answer, const std::string& name,
                                 const std::string& /*mode*/) {
                run_job(self, method, std::move(answer), name);
            });
    }
    manager->registerSignal("JobRemoved")
        .onInterface(kManager)
        .withParameters<std::uint32_t, sdbus::ObjectPath, std::string, std::string>();
    manager->finishRegistration();
}

SystemdBus::SystemdBus(const std::string& address, std::vector<FakeUnit> units)
    : state_(std::make_shared<State>(address)) {
    for (FakeUnit& unit : units) {
        const std::string name = unit.name;
        state_->units[name] = std::move(unit);
        state_->add_object(name);
    }
    state_->add_manager(state_);
    state_->connection->requestName(kName);
    // Not sdbus-c++'s own thread, which ends the process when the bus goes away.
    state_->loop = std::thread([state = state_.get()] {
        State::unless_bus_is_gone([state] { state->connection->enterEventLoop(); });
    });
}

SystemdBus::~SystemdBus() {
    state_->connection->leaveEventLoop();
    state_->loop.join();
}

void SystemdBus::on_job(OnJob action) {
    const std::lock_guard lock(state_->mutex);
    state_->job_action = std::move(action);
}

void SystemdBus::set(const FakeUnit& unit) {
    bool subscribed = false;
    {
        const std::lock_guard lock(state_->mutex);
        state_->units.at(unit.name) = unit;
        subscribed = state_->subscribed;
    }
    if (subscribed) {
        State::unless_bus_is_gone([&] {
            sdbus::IObject& object = *state_->objects.at(unit.name);
            object.emitPropertiesChangedSignal(kUnit, {"ActiveState", "SubState", "Job"});
            object.emitPropertiesChangedSignal(kService, {"MainPID", "NRestarts", "Result"});
        });
    }
}

void SystemdBus::end_foreign_job(const std::string& unit, const std::string& result) {
    state_->send_job_removed(4711, std::string(kManagerPath) + "/job/4711", unit, result);
}

void SystemdBus::forget(const std::string& unit) {
    const std::lock_guard lock(state_->mutex);
    state_->forgotten.insert(unit);
}

int SystemdBus::reads(const std::string& unit) const {
    const std::lock_guard lock(state_->mutex);
    const auto found = state_->reads.find(unit);
    return found == state_->reads.end() ? 0 : found->second;
}

void SystemdBus::wait_for_reads(const std::string& unit, int count) const {
    std::unique_lock lock(state_->mutex);
    if (!state_->read_by_someone.wait_for(lock, std::chrono::seconds(60),
                                          [&] { return state_->reads[unit] >= count; })) {
        throw std::runtime_error("nobody reads the state of " + unit);
    }
}

}  // namespace kua::fakes
