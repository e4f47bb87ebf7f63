// SPDX-License-Identifier: Apache-2.0
// This host's k3s as the commands need it: also while it is down, and for a configuration that
// names parts of it.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "agent/config.hpp"
#include "agent/k3s/installation.hpp"
#include "lib/base/error.hpp"
#include "lib/systemd/units.hpp"

namespace kua::commands {

/// The program is asked for its version.
k3s::Finder make_finder(const Config& config, systemd::Units& units);

/// What could be found of it now.
struct LocalK3s {
    std::optional<k3s::Installation> found;
    std::optional<Error> trouble;  ///< Why it was not found.
    /// The kubelet's credentials: the configuration's, or where k3s writes them, by what was found,
    /// what ran here last, or k3s's default.
    std::filesystem::path kubeconfig;
};

/// The sources as configured, where they leave it to k3s with k3s's own settings for registries.
std::vector<release::SourceSettings> sources_of(const Config& config,
                                                const std::optional<k3s::Installation>& k3s);

/// Never throws for a k3s that can't be found.
LocalK3s look_for_k3s(const Config& config, k3s::Finder& finder);

}  // namespace kua::commands
