// SPDX-License-Identifier: Apache-2.0
// The text of k3s's registries.yaml taken apart, with what is wrong in it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kua::oci {

inline constexpr std::string_view kDockerHub = "docker.io";
inline constexpr std::string_view kDockerHubHost = "registry-1.docker.io";

struct Credentials {
    std::string username;
    std::string password;
    std::string identity_token;  ///< Exchanged for a token by OAuth2; used without a user name.

    [[nodiscard]] bool empty() const { return username.empty() && identity_token.empty(); }
};

/// Paths; empty when not given.
struct TlsFiles {
    std::string ca_file;  ///< Trusted besides the system's store (http::Tls::system_too).
    std::string cert_file;
    std::string key_file;
    bool insecure_skip_verify = false;
    std::string named;  ///< Where they are configured, for messages.
};

struct Rewrite {
    std::string pattern;
    std::string replacement;
};

struct Mirror {
    std::vector<std::string> urls;
    std::vector<Rewrite> rewrites;
    std::string broken;  ///< Why the entry can't be used; empty when it can.
};

struct RegistryConfig {
    Credentials credentials;
    TlsFiles tls;
    std::string broken;  ///< Why the entry can't be used; empty when it can.
};

/// By registry: lower-case host or host:port, or `*`.
struct RegistriesFile {
    std::string name;
    std::map<std::string, Mirror> mirrors;
    std::map<std::string, RegistryConfig> configs;
    std::vector<std::string> problems;  ///< One line each: file, key, value, what was done.
};

/// Takes what can be used, as k3s does, and lists in `problems` what can't: a broken entry is kept
/// with its reason; unknown keys, and endpoints and rewrites that are not valid, are left out.
/// `name` stands in messages. Throws Error{invalid} for a text that is no YAML, or no mapping.
RegistriesFile parse_registries_file(std::string_view text, std::string_view name);

/// Where no scheme is written: `http` for this host itself on a port other than 443 (k3s,
/// normalizeEndpointAddress) without TLS settings (with them containerd prefers https, too);
/// otherwise `https`. `host` may have a port.
std::string_view default_scheme(const std::string& host,
                                const std::map<std::string, RegistryConfig>& configs);

}  // namespace kua::oci
