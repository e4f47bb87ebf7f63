// SPDX-License-Identifier: Apache-2.0
// The fake as a program: serves units on a bus until SIGTERM. A restart of a unit takes a given
// time and then runs a command, with the unit's name as $1: its job is `done` when the command
// succeeds, `failed` otherwise. Several units restart at the same time; their commands run one by
// one. Where it differs from systemd: see systemd_bus.hpp; also, no unit has a process: one is
// only said to be there, with the title that k3s gives itself, and its PID counts up by one with
// each restart.
//
//   fake-systemd-bus <bus address> <milliseconds> <command> <unit> <ExecStart's argv…> [, <unit> …]
//
// The command goes to /bin/sh; an empty one does nothing. The line `ready` on standard output says
// that the name is taken.

#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/base/error.hpp"
#include "lib/fs/process.hpp"
#include "tests/fakes/systemd_bus/systemd_bus.hpp"

namespace {

struct Options {
    std::string address;
    std::vector<kua::fakes::FakeUnit> units;
    kua::Duration duration{0};
    std::string command;
};

/// What k3s leaves of its command line, quoted as systemd quotes it.
std::string title_of(const kua::fakes::FakeUnit& unit) {
    const auto& argv = unit.exec_start;
    return argv.size() < 2 ? std::string() : "\"" + argv[0] + " " + argv[1] + "\"";
}

/// Carries restarts out beside the bus's own thread, which must go on answering.
class Restarter {
  public:
    Restarter(kua::fakes::SystemdBus& bus, const Options& options)
        : bus_(bus),
          duration_(options.duration),
          command_(options.command),
          thread_([this](const std::stop_token& stop) { run(stop); }) {
        for (const auto& unit : options.units) {
            units_[unit.name] = unit;
        }
    }

    void begin(kua::fakes::FakeJob job) {
        const std::lock_guard lock(mutex_);
        waiting_.push_back(std::move(job));
        changed_.notify_all();
    }

  private:
    void run(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            for (auto& job : next(stop)) {
                job.reply();
                show(job.unit(), "activating", "start");
                under_way_.emplace(clock_.monotonic() + duration_, std::move(job));
            }
            while (!under_way_.empty() && under_way_.begin()->first <= clock_.monotonic() &&
                   !stop.stop_requested()) {
                finish(under_way_.begin()->second, stop);
                under_way_.erase(under_way_.begin());
            }
        }
    }

    /// What was asked for; returns with nothing when a restart under way is due.
    std::vector<kua::fakes::FakeJob> next(const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        const auto asked = [this] { return !waiting_.empty(); };
        if (under_way_.empty()) {
            changed_.wait(lock, stop, asked);
        } else {
            changed_.wait_until(lock, stop, under_way_.begin()->first, asked);
        }
        return std::exchange(waiting_, {});
    }

    void finish(kua::fakes::FakeJob& job, const std::stop_token& stop) {
        const bool succeeded = run_command(job.unit(), stop);
        auto& unit = units_.at(job.unit());
        ++unit.main_pid;
        unit.processes = {{unit.main_pid, title_of(unit)}};
        unit.result = succeeded ? "success" : "exit-code";
        if (succeeded) {
            show(unit.name, "active", "running");
        } else {
            show(unit.name, "failed", "failed");
        }
        job.end(succeeded ? "done" : "failed");
    }

    [[nodiscard]] bool run_command(const std::string& unit, const std::stop_token& stop) const {
        if (command_.empty()) {
            return true;
        }
        kua::fs::Command command;
        command.program = "/bin/sh";
        command.arguments = {"-c", command_, "sh", unit};
        command.timeout = std::chrono::minutes(10);
        try {
            const auto finished = kua::fs::run(command, stop);
            std::fputs(finished.errors.c_str(), stderr);
            return finished.succeeded();
        } catch (const kua::Error& error) {
            std::fprintf(stderr, "%s\n", error.what());
            return false;
        }
    }

    void show(const std::string& unit, const char* active_state, const char* sub_state) {
        units_.at(unit).active_state = active_state;
        units_.at(unit).sub_state = sub_state;
        bus_.set(units_.at(unit));
    }

    kua::fakes::SystemdBus& bus_;
    kua::Duration duration_;
    std::string command_;
    std::map<std::string, kua::fakes::FakeUnit> units_;
    kua::SystemClock clock_;
    std::multimap<kua::Monotonic, kua::fakes::FakeJob> under_way_;  ///< By when each is due.
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::vector<kua::fakes::FakeJob> waiting_;
    std::jthread thread_;
};

/// Units and their ExecStart, with a comma of its own between one unit and the next.
std::vector<kua::fakes::FakeUnit> read_units(const std::vector<std::string>& words) {
    constexpr std::uint32_t kFirstPid = 1000;
    std::vector<kua::fakes::FakeUnit> units;
    bool is_name = true;
    for (const auto& word : words) {
        if (word == ",") {
            is_name = true;
        } else if (is_name) {
            units.emplace_back().name = word;
            units.back().main_pid = kFirstPid;
            is_name = false;
        } else {
            units.back().exec_start.push_back(word);
        }
    }
    for (auto& unit : units) {
        unit.processes = {{unit.main_pid, title_of(unit)}};
    }
    return units;
}

int serve(const Options& options) {
    // Before any thread begins, so that all of them have it blocked.
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &ending, nullptr);

    kua::fakes::SystemdBus bus(options.address, options.units);
    Restarter restarter(bus, options);
    bus.on_job([&restarter](kua::fakes::FakeJob job) { restarter.begin(std::move(job)); });
    std::puts("ready");
    std::fflush(stdout);
    int signal = 0;
    ::sigwait(&ending, &signal);
    bus.on_job({});
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 6) {
        std::fprintf(
            stderr,
            "usage: %s <bus address> <milliseconds> <command> <unit> <ExecStart's argv...> [, "
            "<unit> ...]\n",
            argv[0]);
        return 2;
    }
    try {
        Options options;
        options.address = argv[1];
        options.duration = kua::Duration(std::stol(argv[2]));
        options.command = argv[3];
        options.units = read_units({argv + 4, argv + argc});
        return serve(options);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "fake-systemd-bus: %s\n", error.what());
        return 1;
    }
}
