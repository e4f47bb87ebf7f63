// SPDX-License-Identifier: Apache-2.0
// Answers a registry's 401: Basic credentials, or a token from where the registry says.
#pragma once

#include <stop_token>
#include <string>

#include "lib/http/client.hpp"
#include "lib/oci/challenge.hpp"
#include "lib/oci/registries.hpp"

namespace kua::oci {

/// The value of Authorization that satisfies a challenge in `www_authenticate`, which came from
/// `endpoint` itself: a token for pulling `endpoint.repository` where one is offered, else Basic.
/// Credentials go to the endpoint and to the realm it names, as with containerd; the realm must be
/// https, unless the endpoint is not. Throws Error{invalid} (no credentials, refused, an answer
/// that is no token), Error{transient}, Error{stopped}; never shows a secret.
std::string authorize(http::Client& client, const Endpoint& endpoint, const http::Tls& tls,
                      const std::string& www_authenticate, const std::stop_token& stop);

}  // namespace kua::oci
