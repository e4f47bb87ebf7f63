// SPDX-License-Identifier: Apache-2.0
// This host's k3s: which unit runs it, as what, from which program, with which folder. What runs is
// the evidence; files are hints.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/k3s/arguments.hpp"
#include "agent/plan/version.hpp"
#include "lib/base/json.hpp"
#include "lib/systemd/units.hpp"

namespace kua::k3s {

inline constexpr auto kDefaultDataDir = "/var/lib/rancher/k3s";

/// What was found, each with what it is known by.
struct Installation {
    std::string unit;              ///< `k3s.service`
    bool is_server = false;        ///< It runs `k3s server`.
    bool has_api_server = false;   ///< As a server, without --disable-apiserver.
    std::string port = "6443";     ///< Of its supervisor, and its API server where it has one.
    std::string state;             ///< Of the unit: `active`, `activating`, `failed`, …
    std::filesystem::path binary;  ///< The program that is replaced, symbolic links resolved.
    plan::Version version;         ///< That the program reports.
    std::filesystem::path data_dir;
    std::filesystem::path snapshots;   ///< Of etcd: --etcd-snapshot-dir.
    std::filesystem::path registries;  ///< --private-registry; empty: k3s's own default.
    /// False with --disable-default-registry-endpoint.
    bool default_registry_endpoint = true;
    /// Whether the kubelet would end on a host with cgroup v1 (its fail-cgroupv1, true from 1.35
    /// on).
    bool fails_on_cgroup_v1 = true;
    /// For people: `active`, `process 1234, "/usr/local/bin/k3s server"`.
    struct {
        std::string unit;
        std::string role;
        std::string binary;
        std::string data_dir;
    } by;

    /// Where k3s writes the kubelet's credentials.
    [[nodiscard]] std::filesystem::path kubeconfig() const {
        return data_dir / "agent" / "kubelet.kubeconfig";
    }
    [[nodiscard]] std::filesystem::path images() const { return data_dir / "agent" / "images"; }
    /// Where this host's own server answers. `server` is kubelet.kubeconfig's: that of a host
    /// without an API server names k3s's load balancer, on the loopback address, too, which leads
    /// to other hosts.
    [[nodiscard]] std::string own_server(const std::string& server) const {
        return has_api_server ? server : server.substr(0, server.rfind(':')) + ":" + port;
    }
    /// systemd takes it for started.
    [[nodiscard]] bool is_active() const { return state == "active" || state == "reloading"; }
    [[nodiscard]] std::string role() const { return is_server ? "server" : "agent"; }
};

/// Throws Error{invalid} that names both sides where the Node says something else of this host's
/// k3s than was found here: its kubelet's version, its role labels, or the arguments in k3s's
/// annotation `k3s.io/node-args`. A program that is `target` already is in order: an upgrade whose
/// journal was lost, or somebody by hand, has put it there, and k3s was not restarted yet.
void check_against_node(const Installation& found, const Json& node,
                        const std::optional<plan::Version>& target = {});

/// Whether K3S_DATA_DIR is one of k3s's settings: from 1.27.16, 1.28.12, 1.29.7 and 1.30.3 on.
/// Before that k3s itself set it, to something else.
bool reads_data_dir_variable(const plan::Version& version);

/// Looks at the host. May be used by one thread.
class Finder {
  public:
    /// What the configuration names; empty: found.
    struct Wanted {
        std::string unit;
        std::filesystem::path binary;
        std::filesystem::path data_dir;
    };
    /// The version that a program reports. Throws Error{invalid} for what is no k3s.
    using VersionOf = std::function<plan::Version(const std::filesystem::path&)>;

    /// `memory`: a file for what ran here last.
    Finder(systemd::Units& units, Wanted wanted, VersionOf version_of, std::filesystem::path memory)
        : units_(units),
          wanted_(std::move(wanted)),
          version_of_(std::move(version_of)),
          memory_(std::move(memory)) {}

    /// The k3s that runs here now, or that ran here last where its unit has failed or systemd is
    /// about to start it again. Throws Error{invalid} that names what was found
    /// and what to do when nothing runs k3s, or several services do, when the program, the role or
    /// the data-dir can't be told, and for what the agent does not support (a server without a
    /// kubelet, rootless k3s); Error{transient} when systemd can't be asked.
    Installation find();

    /// What was found last on this host, also before this process began.
    struct Memory {
        std::string unit;
        bool is_server = false;
        std::filesystem::path binary;
        std::filesystem::path data_dir;
    };
    [[nodiscard]] std::optional<Memory> remembered() const;

    /// Writes it down for the next process. What fails is logged.
    void remember(const Installation& found) const;

    /// The unit's environment, as far as the unit says it; of the unit that runs, or ran last.
    /// Empty when there is none. Throws Error{transient}.
    [[nodiscard]] systemd::Environment environment() const;

  private:
    struct Running;

    [[nodiscard]] Running look() const;
    [[nodiscard]] std::optional<Running> running(const systemd::UnitState& state,
                                                 bool any_name) const;
    [[nodiscard]] std::vector<systemd::UnitProcess> processes_of(const std::string& unit) const;
    [[nodiscard]] Running look_at_wanted() const;
    [[nodiscard]] std::optional<Running> about_to_run() const;
    [[nodiscard]] std::string not_running() const;
    void tell_program(const Running& running, Installation& found) const;
    plan::Version version_of(const std::filesystem::path& binary);
    void tell_data_dir(const Arguments& arguments, const systemd::Environment& environment,
                       Installation& found) const;

    systemd::Units& units_;
    Wanted wanted_;
    VersionOf version_of_;
    std::filesystem::path memory_;
    /// A program, told from others by its inode, size and time of change, and its version.
    std::optional<std::pair<std::string, plan::Version>> last_asked_;
};

}  // namespace kua::k3s
