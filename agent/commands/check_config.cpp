// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <iostream>

#include "agent/commands/commands.hpp"
#include "agent/commands/local_k3s.hpp"
#include "agent/config.hpp"
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
        const auto found = find_out();  // Before the line is begun: it may be another.
        std::cout << "ok     " << what << ": " << found << "\n";
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

/// What was found of this host's k3s, and by what evidence, a line each.
bool check_found(const k3s::Installation& found) {
    const auto say = [](const char* what, const std::string& value, const std::string& by) {
        return check(what, [&] { return format("{} ({})", value, by); });
    };
    bool fine = check("k3s unit", [&] {
        auto text = format("{} ({})", found.unit, found.by.unit);
        if (!found.is_active()) {
            throw Error(ErrorKind::invalid, text);
        }
        return text;
    });
    fine &= say("k3s role", found.role(), found.by.role);
    fine &= check("k3s program", [&] {
        const auto folder = found.binary.parent_path();
        if (const auto reason = fs::why_not_writable(folder)) {
            throw Error(ErrorKind::invalid,
                        format("{}: {}; k3s can't be replaced there", folder.string(), *reason));
        }
        return format("{}, {} ({})", found.binary.string(), found.version.text(), found.by.binary);
    });
    return say("k3s data-dir", found.data_dir.string(), found.by.data_dir) && fine;
}

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
    systemd::DbusUnits units;
    auto finder = make_finder(config, units);
    const auto local = look_for_k3s(config, finder);
    fine &= local.found ? check_found(*local.found)
                        : check("k3s", [&]() -> std::string { throw Error(*local.trouble); });
    fine &= check("credentials", [&] {
        const auto kubeconfig = kube::read_kubeconfig(local.kubeconfig);
        const auto name = config.node.name.empty() ? kube::node_name(kubeconfig, local.kubeconfig)
                                                   : config.node.name;
        return format("node {} at {}", name, kubeconfig.server);
    });
    for (const auto& source : sources_of(config, local.found)) {
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
