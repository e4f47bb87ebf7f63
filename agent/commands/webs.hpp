// SPDX-License-Identifier: Apache-2.0
// The clients for what lies outside the cluster, with the proxies that this host goes through.
#pragma once

#include <optional>

#include "agent/k3s/installation.hpp"
#include "lib/http/curl_client.hpp"

namespace kua::commands {

/// Asks for the k3s unit's environment once: a proxy that changes counts with the next start.
class Webs {
  public:
    /// A unit that can't be found has no proxies to offer; nothing else depends on it here.
    explicit Webs(const k3s::Finder& finder);

    [[nodiscard]] http::Client& web() { return web_; }
    /// For registries, for which k3s can have proxies of their own.
    [[nodiscard]] http::Client& registry() { return registry_ ? *registry_ : web_; }

  private:
    struct Choice {
        http::Proxies web;
        http::Proxies images;
    };
    static Choice choose(const k3s::Finder& finder);
    explicit Webs(const Choice& choice);

    http::CurlClient web_;
    std::optional<http::CurlClient> registry_;  ///< Where the proxies differ.
};

}  // namespace kua::commands
