// SPDX-License-Identifier: Apache-2.0
// Which requests go through which proxy; the rules are those of Go's programs, k3s among them.
#pragma once

#include <map>
#include <string>

#include "lib/http/url.hpp"

namespace kua::http {

/// As https_proxy, http_proxy and no_proxy hold them; empty: none.
struct Proxies {
    std::string https;  ///< For https URLs: `http://user:password@proxy.example:3128`; `http://`
                        ///< may be missing.
    std::string http;   ///< For http URLs.
    /// Whom to ask without one: `*`, or names, `.names`, addresses and networks (10.0.0.0/8), with
    /// a port or without, between commas. `example.org` stands for its subdomains, too;
    /// `.example.org` for them alone.
    std::string no_proxy;

    bool operator==(const Proxies&) const = default;
};

using Environment = std::map<std::string, std::string>;

/// The proxies of an environment: https_proxy, http_proxy and no_proxy in capitals or, where those
/// are missing or empty, in small letters. With a prefix (`CONTAINERD_`) only names that begin with
/// it count.
Proxies proxies_of(const Environment& environment, const std::string& prefix = {});

/// This process's.
Environment own_environment();

/// The proxies of this process's environment.
Proxies own_proxies();

/// The proxy for `url`, as a URL; empty: none. What runs on this host is never asked through one.
/// Throws Error{invalid} for a proxy that is no URL of one; credentials are never shown.
std::string proxy_for(const Url& url, const Proxies& proxies);

}  // namespace kua::http
