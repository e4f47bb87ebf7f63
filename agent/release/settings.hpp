// SPDX-License-Identifier: Apache-2.0
// Where releases come from, as the configuration says it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "agent/release/signatures.hpp"
#include "agent/release/source.hpp"
#include "lib/base/clock.hpp"
#include "lib/http/client.hpp"

namespace kua::release {

struct BundleSettings {
    std::filesystem::path directory = "/var/lib/k3s-upgrade-agent/bundles";

    bool operator==(const BundleSettings&) const = default;
};

/// What k3s reads without --private-registry.
inline constexpr auto kDefaultRegistries = "/etc/rancher/k3s/registries.yaml";

struct RegistrySettings {
    /// Empty where the configuration names none: then it is k3s's own (--private-registry).
    std::filesystem::path registries{};
    /// Whether an image's own registry may be asked where it has a mirror; false for k3s's
    /// --disable-default-registry-endpoint (from 1.26.13, 1.27.10, 1.28.6 and 1.29.1 on).
    bool default_endpoint = true;

    bool operator==(const RegistrySettings&) const = default;
    /// The file to be read.
    [[nodiscard]] std::filesystem::path file() const {
        return registries.empty() ? kDefaultRegistries : registries;
    }
};

struct HttpSettings {
    std::string base_url = "https://github.com/k3s-io/k3s/releases/download";
    std::string ca_file{};           ///< PEM; empty: the system's store.
    std::string credentials_file{};  ///< Empty: none.

    bool operator==(const HttpSettings&) const = default;
};

using SourceSettings = std::variant<BundleSettings, RegistrySettings, HttpSettings>;

/// What a source is made of; all of it must live as long.
struct Means {
    http::Client& web;           ///< For releases over HTTP.
    http::Client& registry_web;  ///< For registries: k3s can have other proxies for images.
    Clock& clock;
    const Signatures& signatures;
    std::uint64_t most_rate = 0;  ///< Bytes per second; 0: no limit.
};

/// The sources for this host, in the same order. Throws Error{invalid} for a machine that k3s is
/// not released for.
std::vector<std::unique_ptr<Source>> make_sources(const std::vector<SourceSettings>& settings,
                                                  const Means& means);

}  // namespace kua::release
