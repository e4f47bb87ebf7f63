// SPDX-License-Identifier: Apache-2.0
#include "agent/commands/local_k3s.hpp"

#include "agent/release/inspect.hpp"

namespace kua::commands {

k3s::Finder make_finder(const Config& config, systemd::Units& units) {
    const auto version_of =
        [inspector = release::Inspector::of_installed()](const std::filesystem::path& binary) {
            return inspector.version(binary, {});
        };
    return {units,
            {config.k3s.unit, config.k3s.binary, config.k3s.data_dir},
            version_of,
            config.folders.state / "k3s.json"};
}

std::vector<release::SourceSettings> sources_of(const Config& config,
                                                const std::optional<k3s::Installation>& k3s) {
    auto sources = config.sources;
    for (auto& source : sources) {
        auto* registry = std::get_if<release::RegistrySettings>(&source);
        if (registry == nullptr || !k3s) {
            continue;
        }
        if (registry->registries.empty()) {
            registry->registries = k3s->registries;
        }
        registry->default_endpoint = k3s->default_registry_endpoint;
    }
    return sources;
}

LocalK3s look_for_k3s(const Config& config, k3s::Finder& finder) {
    LocalK3s local;
    k3s::Installation place;
    place.data_dir = k3s::kDefaultDataDir;
    if (!config.k3s.data_dir.empty()) {
        place.data_dir = config.k3s.data_dir;
    } else if (const auto memory = finder.remembered()) {
        place.data_dir = memory->data_dir;
    }
    try {
        local.found = finder.find();
        place.data_dir = local.found->data_dir;
    } catch (const Error& error) {
        local.trouble = error;
    }
    local.kubeconfig = config.node.kubeconfig.empty() ? place.kubeconfig() : config.node.kubeconfig;
    return local;
}

}  // namespace kua::commands
