// SPDX-License-Identifier: Apache-2.0
#include "agent/k3s/installation.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "agent/k3s/titles.hpp"
#include "agent/k3s/unit_environment.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::k3s {

namespace {

constexpr std::array kUsualUnits{"k3s.service", "k3s-agent.service"};
constexpr auto kNodeArgs = "k3s.io/node-args";

Error invalid(const std::string& text) { return {ErrorKind::invalid, text}; }

bool is_loaded(const systemd::UnitState& state) { return state.load_state == "loaded"; }

bool is_up(const systemd::UnitState& state) {
    return state.active_state == "active" || state.active_state == "activating" ||
           state.active_state == "reloading";
}

/// Why systemd would not start it, with what to do; empty when it would.
std::string trouble_of(const systemd::UnitState& state) {
    if (is_loaded(state)) {
        return {};
    }
    if (state.load_state == "masked") {
        return state.name + " is masked";
    }
    return format(
        "systemd can't load {} ({}{}{}): correct its file, then `systemctl daemon-reload`",
        state.name, state.load_state, state.load_error.empty() ? "" : ": ", state.load_error);
}

bool is_usual(const std::string& unit) {
    return std::ranges::find(kUsualUnits, unit) != kUsualUnits.end();
}

std::filesystem::path canonical(const std::filesystem::path& path, const std::string& of) {
    std::error_code code;
    auto found = std::filesystem::canonical(path, code);
    if (code) {
        throw invalid(format("the program of {}, {}: {}", of, path.string(), code.message()));
    }
    return found;
}

std::string labels_that_say_server(const Json& node) {
    std::vector<std::string> found;
    const auto labels = kube::labels_of(node);
    for (const auto* name : {"node-role.kubernetes.io/control-plane",
                             "node-role.kubernetes.io/master", "node-role.kubernetes.io/etcd"}) {
        const auto label = labels.find(name);
        if (label != labels.end() && label->second == "true") {
            found.emplace_back(name);
        }
    }
    return join(found, ", ");
}

/// Of a path that k3s was told: without what means nothing in it.
std::filesystem::path plain(const std::filesystem::path& path) {
    auto text = path.lexically_normal();
    return text.has_filename() ? text : text.parent_path();
}

}  // namespace

/// A unit, and the processes of k3s's in it.
struct Finder::Running {
    systemd::UnitState state;
    std::optional<Title> title{};    ///< Of the process that is k3s, its role filled in.
    std::uint32_t pid = 0;           ///< Of that process.
    bool is_child = false;           ///< Of the unit's main process.
    std::optional<Memory> memory{};  ///< Where nothing runs at the moment.
};

bool reads_data_dir_variable(const plan::Version& version) {
    constexpr unsigned kMinor27 = 27;
    constexpr std::array<unsigned, 4> kFirstPatch{16, 12, 7, 3};  // Of 1.27, 1.28, 1.29, 1.30.
    if (version.major != 1 || version.minor < kMinor27) {
        return version.major > 1;
    }
    const auto index = version.minor - kMinor27;
    return index >= kFirstPatch.size() || version.patch >= kFirstPatch.at(index);
}

void check_against_node(const Installation& found, const Json& node,
                        const std::optional<plan::Version>& target) {
    const auto reported = kube::kubelet_version(node);
    if (reported != found.version.text() && found.version != target) {
        throw invalid(format(
            "{} is {}, but the Node reports {}: it was replaced and k3s not restarted since, or "
            "it is not what {} runs; restart k3s, or set k3s.binary in the configuration",
            found.binary.string(), found.version.text(), reported, found.unit));
    }
    if (const auto labels = labels_that_say_server(node); !found.is_server && !labels.empty()) {
        throw invalid(
            format("{} runs a k3s agent ({}), but the Node has the label {}; remove the "
                   "label if the node is a server no more",
                   found.unit, found.by.role, labels));
    }
    const auto annotations = kube::annotations_of(node);
    const auto text = annotations.find(kNodeArgs);
    const auto told = text == annotations.end() ? std::nullopt : Arguments::of_node(text->second);
    if (!told) {
        return;
    }
    if (!told->command().empty() && told->command() != found.role()) {
        throw invalid(format("{} runs a k3s {} ({}), but the Node's annotation {} says `k3s {}`",
                             found.unit, found.role(), found.by.role, kNodeArgs, told->command()));
    }
    const auto data_dir = told->value({"data-dir", "d"});
    if (data_dir && plain(data_dir->value) != plain(found.data_dir)) {
        throw invalid(
            format("k3s's data-dir was taken to be {} ({}), but the Node's annotation {} says {}; "
                   "set k3s.data_dir in the configuration",
                   found.data_dir.string(), found.by.data_dir, kNodeArgs, data_dir->value));
    }
}

Installation Finder::find() {
    const auto running = look();
    Installation found;
    found.unit = running.state.name;
    found.state = running.state.active_state;
    found.by.unit =
        format("{}{}", wanted_.unit.empty() ? "" : "k3s.unit; it is ", running.state.active_state);
    const auto environment = unit_environment(units_, running.state.name);
    const auto& argv = running.state.exec_start;
    tell_program(running, found);
    // The arguments of a script that starts k3s are not k3s's.
    std::error_code code;
    const bool runs_it = std::filesystem::equivalent(running.state.exec_path, found.binary, code) ||
                         std::filesystem::path(running.state.exec_path).filename() == "k3s";
    std::vector<std::string> words;
    if (runs_it && argv.size() > 1) {
        words = systemd::expand({argv.begin() + 1, argv.end()}, environment);
    }
    const Arguments arguments(std::move(words), environment);
    auto role = running.title ? running.title->role : std::string();
    if (!role.empty()) {
        found.by.role = format("process {}, \"{} {}\"", running.pid, running.title->program, role);
    } else if (!arguments.command().empty()) {
        role = arguments.command();
        found.by.role = "the unit's arguments";
    } else if (running.memory) {
        role = running.memory->is_server ? "server" : "agent";
        found.by.role = "what ran here last";
    } else {
        throw invalid(
            format("{} runs {}, but neither its processes nor its arguments say whether "
                   "as server or as agent",
                   found.unit, found.binary.string()));
    }
    found.is_server = role == "server";
    // k3s: SupervisorPort is HTTPSPort unless it is told.
    if (const auto port = arguments.value({"supervisor-port"})) {
        found.port = port->value;
    } else if (const auto https = arguments.value({"https-listen-port"})) {
        found.port = https->value;
    }
    found.has_api_server = found.is_server && !arguments.is_set("disable-apiserver");
    for (const auto& [flag, why] :
         {std::pair("disable-agent", "a server without a kubelet has no Node to upgrade"),
          std::pair("rootless", "the program and the unit of rootless k3s are a user's")}) {
        if (arguments.is_set(flag)) {
            throw invalid(
                format("{} runs k3s with --{}, which is not supported: {}", found.unit, flag, why));
        }
    }
    found.version = version_of(found.binary);
    tell_data_dir(arguments, environment, found);
    const auto snapshots = arguments.value({"etcd-snapshot-dir"});
    found.snapshots = snapshots ? std::filesystem::path(snapshots->value)
                                : found.data_dir / "server" / "db" / "snapshots";
    if (const auto file = arguments.value({"private-registry"})) {
        found.registries = file->value;
    }
    found.default_registry_endpoint = !arguments.is_set("disable-default-registry-endpoint");
    const auto kubelet = arguments.values("kubelet-arg");
    found.fails_on_cgroup_v1 = std::ranges::find(kubelet, "fail-cgroupv1=false") == kubelet.end();
    return found;
}

Finder::Running Finder::look() const {
    if (!wanted_.unit.empty()) {
        return look_at_wanted();
    }
    std::vector<Running> found;
    const auto runs_k3s = [this](const std::string& name) {
        return std::ranges::any_of(processes_of(name), [](const auto& process) {
            const auto title = read_title(process.command);
            return title && is_called_k3s(*title);
        });
    };
    for (const auto& name : units_.running_services()) {
        if (!is_usual(name) && !runs_k3s(name)) {
            continue;
        }
        const auto state = units_.state(name);
        if (auto one = state ? running(*state, is_usual(name)) : std::nullopt) {
            found.push_back(std::move(*one));
        }
    }
    if (found.size() > 1) {
        std::vector<std::string> names;
        for (const auto& one : found) {
            names.push_back(one.state.name);
        }
        throw invalid(
            format("several services run k3s: {}; name this node's in k3s.unit in the "
                   "configuration",
                   join(names, ", ")));
    }
    if (!found.empty()) {
        return std::move(found.front());
    }
    if (auto one = about_to_run()) {
        return std::move(*one);
    }
    throw invalid(not_running());
}

std::vector<systemd::UnitProcess> Finder::processes_of(const std::string& unit) const {
    try {
        return units_.processes(unit);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::failed) {
            throw;
        }
        return {};  // Transient units come and go.
    }
}

std::optional<Finder::Running> Finder::running(const systemd::UnitState& state,
                                               bool any_name) const {
    const auto processes = processes_of(state.name);
    const auto main = std::ranges::find(processes, state.main_pid, &systemd::UnitProcess::pid);
    Running found{state};
    if (main != processes.end() && state.main_pid != 0) {
        const auto title = read_title(main->command);
        if (title && (any_name || is_called_k3s(*title))) {
            found.title = title;
            found.pid = main->pid;
        }
    }
    for (const auto& process : processes) {
        const auto title = read_title(process.command);
        if (!title || !is_called_k3s(*title) || title->role.empty() || process.pid == found.pid) {
            continue;
        }
        if (!found.title) {
            found.title = title;  // What a script started and waits for.
            found.pid = process.pid;
            found.is_child = true;
        } else if (found.title->role.empty()) {
            found.title->role = title->role;  // The child of `--log` has no path in its title.
        }
    }
    const bool is_k3s = found.title && !found.title->role.empty();
    if (!is_k3s && !any_name) {
        return std::nullopt;
    }
    if (!found.title) {
        // While it starts, and between two starts of one that crashes, k3s has not named itself.
        auto memory = remembered();
        if (memory && memory->unit == state.name) {
            found.memory = std::move(memory);
        }
    }
    return found;
}

Finder::Running Finder::look_at_wanted() const {
    const auto state = units_.state(wanted_.unit);
    if (!state) {
        throw invalid(
            format("k3s.unit: there is no unit {} on this host; correct it in the "
                   "configuration or remove it",
                   wanted_.unit));
    }
    if (const auto trouble = trouble_of(*state); !trouble.empty()) {
        throw invalid("k3s.unit: " + trouble);
    }
    if (is_up(*state)) {
        return *running(*state, true);
    }
    if (auto one = about_to_run()) {
        return std::move(*one);
    }
    throw invalid(
        format("k3s.unit: {} does not run ({}); start it first: the agent starts no k3s "
               "that did not run",
               state->name, state->active_state));
}

std::optional<Finder::Running> Finder::about_to_run() const {
    auto memory = remembered();
    if (!memory || (!wanted_.unit.empty() && memory->unit != wanted_.unit)) {
        return std::nullopt;
    }
    const auto state = units_.state(memory->unit);
    if (!state || !is_loaded(*state) || state->active_state != "failed") {
        return std::nullopt;
    }
    return Running{*state, std::nullopt, 0, false, std::move(memory)};
}

std::string Finder::not_running() const {
    std::vector<std::string> seen;
    for (const auto* name : kUsualUnits) {
        const auto state = units_.state(name);
        if (!state) {
            continue;
        }
        const auto trouble = trouble_of(*state);
        seen.push_back(trouble.empty() ? format("{} is {}", name, state->active_state) : trouble);
    }
    if (seen.empty()) {
        return "no service runs k3s on this host, and there is no k3s.service or "
               "k3s-agent.service; install k3s, or set k3s.unit in the configuration";
    }
    return format("no service runs k3s on this host: {}; the agent starts no k3s that did not run",
                  join(seen, ", "));
}

void Finder::tell_program(const Running& running, Installation& found) const {
    constexpr auto kRemedy = "set k3s.binary in the configuration to the k3s program that it runs";
    const auto& state = running.state;
    if (const auto trouble = trouble_of(state); !trouble.empty()) {
        throw invalid(format("{} runs, but could not be restarted: {}", state.name, trouble));
    }
    if (running.is_child && state.kill_mode == "process") {
        throw invalid(format(
            "{} starts {}, and k3s is a child of that (process {}): systemd stops the script and "
            "leaves k3s running (KillMode=process); let the script end in `exec {} …`",
            state.name, state.exec_path, running.pid, running.title->program));
    }
    std::filesystem::path path;
    const std::filesystem::path started = state.exec_path;
    if (!wanted_.binary.empty()) {
        path = wanted_.binary;
        found.by.binary = "k3s.binary";
    } else if (running.title && std::filesystem::path(running.title->program).is_absolute()) {
        path = running.title->program;
        found.by.binary = format("process {}", running.pid);
    } else if (running.memory) {
        path = running.memory->binary;
        found.by.binary = "what ran here last";
    } else if (started.filename() == "k3s") {
        path = started;
        found.by.binary = "the unit's ExecStart";
    } else {
        throw invalid(format("{} starts {}, and none of its processes names the k3s program; {}",
                             state.name, started.empty() ? "nothing" : started.string(), kRemedy));
    }
    found.binary = canonical(path, state.name);
}

plan::Version Finder::version_of(const std::filesystem::path& binary) {
    struct stat status {};
    if (::stat(binary.c_str(), &status) != 0) {
        throw invalid(format("{}: {}", binary.string(), errno_text(errno)));
    }
    const auto key = format("{} {} {} {}.{}", binary.string(), status.st_ino, status.st_size,
                            status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
    if (last_asked_ && last_asked_->first == key) {
        return last_asked_->second;
    }
    try {
        auto version = version_of_(binary);
        last_asked_.emplace(key, version);
        return version;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::invalid) {
            throw;
        }
        throw invalid(
            format("{}; if it is not the k3s program, set k3s.binary in the "
                   "configuration",
                   error.what()));
    }
}

void Finder::tell_data_dir(const Arguments& arguments, const systemd::Environment& environment,
                           Installation& found) const {
    const auto variable = environment.find("K3S_DATA_DIR");
    if (!wanted_.data_dir.empty()) {
        found.data_dir = wanted_.data_dir;
        found.by.data_dir = "k3s.data_dir";
    } else if (const auto told = arguments.value({"data-dir", "d"})) {
        found.data_dir = told->value;
        found.by.data_dir = told->where;
    } else if (variable != environment.end() && !variable->second.empty() &&
               reads_data_dir_variable(found.version)) {
        found.data_dir = variable->second;
        found.by.data_dir = "K3S_DATA_DIR of the unit";
    } else {
        found.data_dir = kDefaultDataDir;
        found.by.data_dir = "k3s's default";
    }
    if (!found.data_dir.is_absolute()) {
        throw invalid(
            format("k3s's data-dir {} ({}) is no absolute path; set k3s.data_dir in the "
                   "configuration",
                   found.data_dir.string(), found.by.data_dir));
    }
    found.data_dir = plain(found.data_dir);
}

std::optional<Finder::Memory> Finder::remembered() const {
    try {
        const auto text = fs::read_file(memory_);
        if (!text) {
            return std::nullopt;
        }
        const auto value = parse_json(*text, memory_.string());
        Memory memory{string_at(value, {"unit"}), string_at(value, {"role"}) == "server",
                      string_at(value, {"binary"}), string_at(value, {"dataDir"})};
        const bool whole =
            !memory.unit.empty() && memory.binary.is_absolute() && memory.data_dir.is_absolute();
        return whole ? std::optional(std::move(memory)) : std::nullopt;
    } catch (const Error& error) {
        log::warning(format("which k3s ran here last is not known: {}", error.what()));
        return std::nullopt;
    }
}

void Finder::remember(const Installation& found) const {
    const Json value = {{"unit", found.unit},
                        {"role", found.role()},
                        {"binary", found.binary.string()},
                        {"dataDir", found.data_dir.string()}};
    const auto text = value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
    try {
        if (fs::read_file(memory_) != text) {
            fs::write_file(memory_, text);
        }
    } catch (const Error& error) {
        log::warning(format("which k3s runs here could not be written down: {}", error.what()));
    }
}

systemd::Environment Finder::environment() const {
    try {
        return unit_environment(units_, look().state.name);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::transient) {
            throw;
        }
    }
    const auto memory = remembered();
    return memory ? unit_environment(units_, memory->unit) : systemd::Environment();
}

}  // namespace kua::k3s
