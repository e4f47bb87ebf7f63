// SPDX-License-Identifier: Apache-2.0
// Through which proxies releases are fetched: the agent's own, else k3s's.
#pragma once

#include "lib/http/proxies.hpp"

namespace kua::release {

enum class Purpose {
    web,     ///< Releases over HTTP, channels.
    images,  ///< Registries: as k3s's containerd, for which CONTAINERD_HTTPS_PROXY and the like
             ///< win.
};

/// `own`: the agent's environment, `k3s`: that of the k3s unit. A variable that the agent's own
/// names, even as empty, is not looked for in the other.
http::Proxies choose_proxies(const http::Environment& own, const http::Environment& k3s,
                             Purpose purpose);

}  // namespace kua::release
