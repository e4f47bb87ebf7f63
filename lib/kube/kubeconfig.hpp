// SPDX-License-Identifier: Apache-2.0
// A kubeconfig file, as k3s writes it for its kubelet, read into what a connection needs.
#pragma once

#include <filesystem>
#include <string>

#include "lib/http/client.hpp"

namespace kua::kube {

struct Kubeconfig {
    std::string server;  ///< `https://127.0.0.1:6443`, without a slash at the end.
    http::Tls tls;
    std::string token;  ///< Empty when there is none.
};

/// Reads the current context (or the only one) of `path`, and the files it names (relative to the
/// kubeconfig's folder) or carries as *-data. Throws Error{invalid} that names the file, the field
/// and what is wrong with it (missing file, not YAML, no such context, unreadable or malformed
/// certificate, expired client certificate with its date); insecure-skip-tls-verify, exec and
/// auth-provider are refused as such.
Kubeconfig read_kubeconfig(const std::filesystem::path& path);

/// The node that a kubelet's client certificate names: its subject is `O = system:nodes, CN =
/// system:node:<name>` (Kubernetes, "Using Node Authorization"). Throws Error{invalid} when it is
/// somebody else's; `path` stands in the message.
std::string node_name(const Kubeconfig& config, const std::filesystem::path& path);

}  // namespace kua::kube
