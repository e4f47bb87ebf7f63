// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <csignal>
#include <iostream>
#include <limits>

#include "agent/commands/commands.hpp"
#include "agent/config.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"

namespace kua::commands {

namespace {

constexpr int kNotRunning = 1;
constexpr int kNeedsAPerson = 2;

std::optional<Json> read_json(const std::filesystem::path& path) {
    const auto text = fs::read_file(path);
    if (!text) {
        return std::nullopt;
    }
    return parse_json(*text, path.string());
}

/// Absent when there is no such process, or it is hidden.
std::optional<std::string> process_name(std::int64_t pid) {
    try {
        const auto name = fs::read_file(format("/proc/{}/comm", pid));
        return name ? std::optional<std::string>(trim(*name)) : std::nullopt;
    } catch (const Error&) {
        // It ended while its name was read.
        return std::nullopt;
    }
}

/// A pid may have been given to another process since, this one among them.
bool runs(const Json& status) {
    const auto pid = int_at(status, {"pid"});
    if (!pid || *pid <= 0 || *pid > std::numeric_limits<pid_t>::max() || *pid == getpid()) {
        return false;
    }
    // Linux cuts a process's name to 15 bytes.
    static constexpr std::string_view kProcessName = "k3s-upgrade-age";
    if (const auto name = process_name(*pid)) {
        return *name == kProcessName;
    }
    // Where /proc hides other users' processes (hidepid), EPERM tells that it is there.
    return kill(static_cast<pid_t>(*pid), 0) != 0 && errno == EPERM;
}

void line(std::string_view name, const std::string& value) {
    if (!value.empty()) {
        std::cout << format("{:<13}{}\n", format("{}:", name), value);
    }
}

void print(const Json& status, const std::optional<Json>& last, bool running) {
    line("agent", running ? string_at(status, {"agentVersion"}) + ", running"
                          : "not running (systemctl status k3s-upgrade-agent)");
    const auto unit = string_at(status, {"unit"});
    line("node", string_at(status, {"node"}) + (unit.empty() ? "" : " (" + unit + ")") +
                     (bool_at(status, {"coordinator"}, false) ? ", coordinator" : ""));
    line("version", string_at(status, {"version"}));
    const auto plan = string_at(status, {"plan"});
    if (!plan.empty()) {
        line("plan", format("{} to {}", plan, string_at(status, {"target"})));
    }
    auto phase = string_at(status, {"phase"});
    if (const auto percent = int_at(status, {"percent"})) {
        phase += format(", {}%", *percent);
    }
    line("phase", phase);
    line("message", string_at(status, {"message"}));
    line("since", string_at(status, {"updated"}));
    if (last) {
        const auto message = string_at(*last, {"message"});
        line("last result", format("{}: {} from {} to {}, {}{}", string_at(*last, {"result"}),
                                   string_at(*last, {"plan"}), string_at(*last, {"fromVersion"}),
                                   string_at(*last, {"version"}), string_at(*last, {"finished"}),
                                   message.empty() ? "" : ": " + message));
    }
}

}  // namespace

int status(const std::filesystem::path& config_path, bool json) {
    Config config;
    try {
        config = load_config(config_path);
    } catch (const Error& error) {
        // The agent may run with what it read before; the folders are hardly ever moved.
        std::cerr << error.what() << "\n";
    }
    const auto status = read_json(config.folders.run / "status.json");
    const auto last = read_json(config.folders.state / "last-result.json");
    const bool running = status && runs(*status);
    const auto shown = status.value_or(Json::object());
    if (json) {
        Json all = shown;
        all["running"] = running;
        all["last"] = last.value_or(Json());
        std::cout << all.dump(2) << "\n";
    } else {
        print(shown, last, running);
    }
    if (!running) {
        return kNotRunning;
    }
    const auto phase = string_at(shown, {"phase"});
    return phase == "Blocked" || phase == "Failed" || phase == "Misconfigured" ? kNeedsAPerson : 0;
}

}  // namespace kua::commands
