// SPDX-License-Identifier: Apache-2.0
#include "agent/commands/commands.hpp"
#include "agent/commands/local_k3s.hpp"
#include "agent/config.hpp"
#include "agent/node/cordon.hpp"
#include "lib/http/curl_client.hpp"
#include "lib/kube/client.hpp"
#include "lib/kube/kubeconfig.hpp"
#include "lib/systemd/dbus_units.hpp"

namespace kua::commands {

int withdraw(const std::filesystem::path& config_path) {
    const auto config = load_config(config_path);
    systemd::DbusUnits units;
    auto finder = make_finder(config, units);
    const auto kubeconfig = look_for_k3s(config, finder).kubeconfig;
    const auto node = config.node.name.empty()
                          ? kube::node_name(kube::read_kubeconfig(kubeconfig), kubeconfig)
                          : config.node.name;
    // The kubelet's API server is this host.
    http::CurlOptions direct;
    direct.proxy_from_environment = false;
    http::CurlClient http(direct);
    kube::Client api(http, kubeconfig);
    node::OwnNode(api, node).annotate({{plan::kAgent, std::nullopt}}, {});
    return 0;
}

}  // namespace kua::commands
