// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <iostream>

#include "agent/commands/commands.hpp"
#include "agent/config.hpp"
#include "agent/node/restart.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/kube/kubeconfig.hpp"
#include "lib/oci/registries.hpp"
#include "lib/systemd/dbus_units.hpp"

namespace kua::commands {

namespace {

/// Runs one check and prints its line; true when it passed.
bool check(const std::string& what, const std::function<std::string()>& find_out) {
    try {
        std::cout << "ok     " << what << ": " << find_out() << "\n";
        return true;
    } catch (const Error& error) {
        std::cout << "WRONG  " << what << ": " << error.what() << "\n";
        return false;
    }
}

void must_be_readable(const std::string& file, std::string_view key) {
    if (!file.empty() && !fs::read_file(file)) {
        throw Error(ErrorKind::invalid, format("{}: {} does not exist", key, file));
    }
}

/// What can be said of a source without asking it.
struct SourceChecks {
    std::vector<std::string>& warnings;

    std::string operator()(const release::HttpSettings& http) const {
        must_be_readable(http.ca_file, "source.http.ca_file");
        must_be_readable(http.credentials_file, "source.http.credentials_file");
        return "http " + http.base_url;
    }
    std::string operator()(const release::RegistrySettings& registry) const {
        const auto file = registry.file();
        warnings = oci::Registries::read(file).problems();
        return format("the Plan's image, {} {}", std::filesystem::exists(file) ? "by" : "without",
                      file.string());
    }
    std::string operator()(const release::BundleSettings& bundle) const {
        const bool present = std::filesystem::exists(bundle.directory);
        return format("bundles in {}{}", bundle.directory.string(),
                      present ? "" : ", which does not exist yet");
    }
};

}  // namespace

int check_config(const std::filesystem::path& config_path) {
    Config config;
    bool fine = check("configuration", [&] {
        config = load_config(config_path);
        const bool present = std::filesystem::exists(config_path);
        return config_path.string() + (present ? "" : " does not exist; the defaults are used");
    });
    if (!fine) {
        return 1;
    }
    fine &= check("credentials", [&] {
        const auto kubeconfig = kube::read_kubeconfig(config.node.kubeconfig);
        const auto name = config.node.name.empty()
                              ? kube::node_name(kubeconfig, config.node.kubeconfig)
                              : config.node.name;
        return format("node {} at {}", name, kubeconfig.server);
    });
    fine &= check("k3s", [&] {
        systemd::DbusUnits units;
        const auto unit = node::find_k3s(units, config.k3s.unit, config.k3s.binary);
        if (const auto reason = fs::why_not_writable(unit.binary.parent_path())) {
            throw Error(ErrorKind::invalid, format("{}: {}; k3s can't be replaced there",
                                                   unit.binary.parent_path().string(), *reason));
        }
        return format("{} runs {} as {}", unit.name, unit.binary.string(),
                      unit.is_server ? "server" : "agent");
    });
    for (const auto& source : config.sources) {
        std::vector<std::string> warnings;
        fine &= check("source", [&] { return std::visit(SourceChecks{warnings}, source); });
        for (const auto& warning : warnings) {
            std::cout << "warn   source: " << warning << "\n";
        }
    }
    if (!config.verify.public_keys.empty()) {
        fine &= check("verify.public_keys", [&] {
            (void)release::Signatures(config.verify.public_keys).fingerprint();
            return format("{} files; every release must be signed",
                          config.verify.public_keys.size());
        });
    }
    return fine ? 0 : 1;
}

}  // namespace kua::commands
