// SPDX-License-Identifier: Apache-2.0
// /etc/k3s-upgrade-agent/config.yaml, read and checked. Every key is optional; a stock k3s node
// needs no file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "agent/node/hooks.hpp"
#include "agent/release/settings.hpp"
#include "agent/upgrade/node_loop.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"
#include "lib/log/log.hpp"

namespace kua {

struct Config {
    struct {
        std::string name;                  ///< Empty: from the kubelet's certificate.
        std::filesystem::path kubeconfig;  ///< Empty: where k3s writes it.
    } node;
    struct {
        std::string unit;                ///< Empty: found over D-Bus.
        std::filesystem::path binary;    ///< Empty: what the unit's main process names.
        std::filesystem::path data_dir;  ///< Empty: what k3s was told.
    } k3s;
    struct {
        std::string ns = "system-upgrade";
    } plans;
    /// In order. When the file names none: bundles, the Plan's image, GitHub.
    std::vector<release::SourceSettings> sources;
    struct {
        std::vector<std::filesystem::path> public_keys;  ///< Any: signatures are required.
    } verify;
    struct {
        upgrade::Lifted when_lifted = upgrade::Lifted::stop;
        upgrade::Foreign foreign = upgrade::Foreign::keep;
    } cordon;
    upgrade::Prefetch prefetch = upgrade::Prefetch::in_window;
    struct {
        std::uint64_t rate = 0;  ///< Bytes per second; 0: as fast as it comes.
        Duration jitter{0};      ///< A download begins at a random moment within this.
    } download;
    node::HookSettings hooks{"/etc/k3s-upgrade-agent/hooks.d"};
    struct {
        Duration timeout{300'000};  ///< From RestartUnit to active.
    } restart;
    struct {
        Duration timeout{300'000};  ///< Until Ready at the new version.
        Duration settle{30'000};    ///< From active on k3s must stay up for so long, before that.
    } health;
    upgrade::Rollback rollback = upgrade::Rollback::automatic;
    struct {
        bool backup = true;  ///< A server's data store is copied before it is upgraded.
    } datastore;
    struct {
        Duration patience{60'000};  ///< A budget that holds the drain is reported after this.
        int attempts = 3;           ///< That may run into spec.drain.timeout, in a row.
    } drain;
    struct {
        Duration ttl{900'000};  ///< A slot's.
    } lock;
    struct {
        Duration poll{900'000};    ///< Between two questions to a Plan's channel.
        Duration confirm{60'000};  ///< Until a new answer is asked for again.
        bool ask = true;           ///< This node asks the channel itself before it acts.
    } channel;
    struct {
        log::Level level = log::Level::info;
    } log;
    struct {
        std::filesystem::path state = "/var/lib/k3s-upgrade-agent";
        std::filesystem::path run = "/run/k3s-upgrade-agent";
    } folders;
};

inline constexpr auto kConfigFile = "/etc/k3s-upgrade-agent/config.yaml";

/// Understands a configuration that was parsed from `name`. Throws Error{invalid} that lists every
/// mistake, each with file, key, value and what to do: an unknown key, a wrong type, a value out of
/// range.
Config read_config(const Json& value, const std::string& name);

/// The configuration in `path`; the defaults when kConfigFile does not exist. Throws as
/// `read_config`, for any other file that does not exist, and for what is not YAML.
Config load_config(const std::filesystem::path& path);

}  // namespace kua
