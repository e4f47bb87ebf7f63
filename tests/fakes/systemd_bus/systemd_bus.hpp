// SPDX-License-Identifier: Apache-2.0
// Stands in for systemd on the bus: org.freedesktop.systemd1 with units whose states and restarts a
// test decides. Where it differs from systemd: only the methods, properties and signals that
// lib/systemd uses exist; RestartUnit, StopUnit and StartUnit make a job and nothing else happens
// unless the owner says so; the subscription is one flag for all clients and never ends;
// PropertiesChanged names the properties of both interfaces at once; jobs never replace one
// another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace kua::fakes {

struct FakeUnit {
    std::string name;
    std::string load_state = "loaded";
    std::string active_state = "active";
    std::string sub_state = "running";
    std::vector<std::string> exec_start{};
    std::vector<std::string> environment{};
    /// Path, and whether it may be missing.
    std::vector<std::pair<std::string, bool>> environment_files{};
    std::uint32_t main_pid = 0;
    std::uint64_t main_started = 0;  ///< Microseconds of CLOCK_MONOTONIC; 0: never.
    std::uint32_t n_restarts = 0;
    std::uint32_t job = 0;  ///< Its number; 0: none.
    std::string result = "success";
    /// Pid and command line, the latter quoted as systemd quotes it.
    std::vector<std::pair<std::uint32_t, std::string>> processes{};
};

/// One such call under way. May be used from any thread, and be kept; when the bus is gone,
/// its methods do nothing.
class FakeJob {
  public:
    struct State;
    explicit FakeJob(std::shared_ptr<State> state);

    [[nodiscard]] const std::string& unit() const;
    [[nodiscard]] const std::string& method() const;  ///< `RestartUnit`, …
    /// The method's answer: the job's path.
    void reply();
    /// The method's answer: an error.
    void refuse(const std::string& error_name, const std::string& message);
    /// JobRemoved.
    void end(const std::string& result);

  private:
    std::shared_ptr<State> state_;
};

/// Serves a bus from construction to destruction, in a thread of its own.
class SystemdBus {
  public:
    using OnJob = std::function<void(FakeJob)>;

    /// Throws std::exception when there is no bus, or somebody else owns the name.
    SystemdBus(const std::string& address, std::vector<FakeUnit> units);
    ~SystemdBus();
    SystemdBus(const SystemdBus&) = delete;
    SystemdBus& operator=(const SystemdBus&) = delete;

    /// What such a call does; called in the bus's thread. Without it, the job is `done` right after
    /// the reply.
    void on_job(OnJob action);

    /// Changes (or adds) a unit and sends PropertiesChanged, if somebody subscribed.
    void set(const FakeUnit& unit);

    /// JobRemoved for a job that nobody asked us for.
    void end_foreign_job(const std::string& unit, const std::string& result);

    /// systemd forgets a unit in which nothing runs, until it is loaded again.
    void forget(const std::string& unit);

    /// How often the unit's state was read.
    [[nodiscard]] int reads(const std::string& unit) const;

    /// Returns when the unit's state has been read at least `count` times; throws after 30 seconds.
    void wait_for_reads(const std::string& unit, int count) const;

    struct State;

  private:
    std::shared_ptr<State> state_;
};

}  // namespace kua::fakes
