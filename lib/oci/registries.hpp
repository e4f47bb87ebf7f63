// SPDX-License-Identifier: Apache-2.0
// k3s's registries.yaml: where an image is really pulled from, and as whom.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.hpp"
#include "lib/oci/reference.hpp"

namespace kua::oci {

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

/// One place to pull an image from.
struct Endpoint {
    std::string url;  ///< `https://mirror.lan:5000/v2`: `/<repository>/manifests/…` follows.
    std::string repository;  ///< The image's name there, after rewrites.
    std::string mirrored;    ///< The registry it stands in for (`?ns=`); empty for that one itself.
    Credentials credentials;
    TlsFiles tls;
};

/// What the file says. As k3s takes it: `mirrors.<host>` or else `mirrors."*"`; every endpoint in
/// its order, then the registry itself, without rewrites; `configs.<host[:port]>` by the host of
/// the endpoint, or else the TLS settings (not the credentials) of `configs."*"`; an endpoint's
/// path is taken as it is, and `/v2` is meant when there is none. Plain HTTP is used only where the
/// file says `http://`.
class Registries {
  public:
    /// No mirrors, no credentials.
    Registries() = default;

    /// Reads the file; one that does not exist says nothing. Throws Error{invalid} naming the file,
    /// key and value.
    static Registries read(const std::filesystem::path& path);

    /// `name` stands in messages. Throws Error{invalid} as `read` does.
    static Registries parse(std::string_view text, std::string_view name);

    /// Where to pull the image from, in order; never empty. Throws Error{invalid} for a rewrite
    /// that gives no repository name.
    [[nodiscard]] std::vector<Endpoint> endpoints(const Reference& reference) const;

  private:
    struct Rewrite {
        std::string pattern;
        std::string replacement;
    };
    struct Mirror {
        std::vector<std::string> urls;
        std::vector<Rewrite> rewrites;
    };
    struct Config {
        Credentials credentials;
        TlsFiles tls;
    };

    void read_mirror(const std::string& host, const Json& value);
    void read_config(const std::string& host, const Json& value);
    [[nodiscard]] std::string rewritten(const std::string& key, const Mirror& mirror,
                                        const std::string& repository) const;
    [[nodiscard]] Endpoint endpoint(const std::string& url) const;

    std::string name_;
    std::map<std::string, Mirror> mirrors_;
    std::map<std::string, Config> configs_;
};

}  // namespace kua::oci
