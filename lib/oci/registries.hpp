// SPDX-License-Identifier: Apache-2.0
// k3s's registries.yaml: where an image is really pulled from, and as whom.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/oci/reference.hpp"
#include "lib/oci/registries_file.hpp"

namespace kua::oci {

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
/// path is taken as it is, and `/v2` is meant when there is none. `_default` is `*`. Plain HTTP is
/// used where the file says `http://`, and for this host itself on a port other than 443 where it
/// says neither a scheme nor TLS settings. As k3s, it goes on behind what is wrong: an entry that
/// can't be used fails only who needs it.
class Registries {
  public:
    /// No mirrors, no credentials.
    Registries() = default;

    /// Reads the file; one that does not exist says nothing. Throws Error{invalid} for one that
    /// can't be read, is no YAML or no mapping.
    static Registries read(const std::filesystem::path& path);

    /// `name` stands in messages. Throws Error{invalid} as `read` does.
    static Registries parse(std::string_view text, std::string_view name);

    /// What is wrong in the file and was left out: one line each, with the file's name, the key,
    /// the value where it is no secret, and what to write instead.
    [[nodiscard]] const std::vector<std::string>& problems() const { return file_.problems; }

    /// Where to pull the image from, in order; never empty. Without `default_endpoint` (k3s's
    /// --disable-default-registry-endpoint) the registry itself is left out where a mirror's entry
    /// applies, unless that lists it. An endpoint whose `configs` entry can't be used is left out
    /// where there is another one of its kind. Throws Error{invalid} when what is needed can't be
    /// used, for a rewrite that gives no repository name, and when no endpoint is left.
    [[nodiscard]] std::vector<Endpoint> endpoints(const Reference& reference,
                                                  bool default_endpoint = true) const;

  private:
    [[nodiscard]] std::string rewritten(const std::string& key, const Mirror& mirror,
                                        const std::string& repository) const;
    [[nodiscard]] const RegistryConfig* config_of(const std::string& host) const;
    [[nodiscard]] std::optional<Endpoint> endpoint(const std::string& url,
                                                   std::string& why_not) const;

    RegistriesFile file_;
};

}  // namespace kua::oci
