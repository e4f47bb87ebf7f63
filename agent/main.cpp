// SPDX-License-Identifier: Apache-2.0
// Joins lib/ and agent/ into the program k3s-upgrade-agent: its command line.
#include <CLI/CLI.hpp>
#include <iostream>

#include "agent/commands/commands.hpp"
#include "agent/config.hpp"

int main(int argc, char** argv) {
    CLI::App app("Upgrades k3s on this node as Plans (upgrade.cattle.io/v1) tell it to.",
                 "k3s-upgrade-agent");
    app.set_version_flag("--version", "k3s-upgrade-agent " KUA_VERSION);
    app.require_subcommand(1);
    std::string config = kua::kConfigFile;
    bool json = false;
    int exit_status = 0;
    const auto with_config = [&](CLI::App* command) {
        command->add_option("--config", config, "The configuration file")->capture_default_str();
        return command;
    };
    with_config(app.add_subcommand("run", "Run the agent (systemd does this)"))->callback([&] {
        exit_status = kua::commands::run(config);
    });
    auto* status =
        with_config(app.add_subcommand("status", "Show what the agent on this host is doing"));
    status->add_flag("--json", json, "For programs");
    status->callback([&] { exit_status = kua::commands::status(config, json); });
    with_config(app.add_subcommand("check-config", "Check the configuration and what it points at"))
        ->callback([&] { exit_status = kua::commands::check_config(config); });
    app.add_subcommand("manifests", "Print what a cluster needs, for kubectl apply -f -")
        ->callback([&] { exit_status = kua::commands::manifests(); });
    auto* steps =
        app.add_subcommand("steps", "Print the names of an upgrade's steps, in their order");
    steps->add_flag("--json", json, "For programs");
    steps->callback([&] { exit_status = kua::commands::steps(json); });
    kua::commands::ReleaseOptions options;
    auto* release = with_config(
        app.add_subcommand("release", "Free a node's Failed slot, so that it tries again"));
    release->add_option("--plan", options.plan, "Only the slot of this Plan");
    release->add_option("--node", options.node, "The node (default: this host's own)");
    release->add_option("--kubeconfig", options.kubeconfig,
                        "An administrator's, for another node (default: $KUBECONFIG, "
                        "/etc/rancher/k3s/k3s.yaml)");
    release->add_flag("--force", options.force, "Also a slot that is not Failed");
    release->callback([&] { exit_status = kua::commands::release(config, options); });
    with_config(app.add_subcommand("withdraw",
                                   "Take the agent's announcement off this host's Node (the "
                                   "package does this when it is removed)"))
        ->callback([&] { exit_status = kua::commands::withdraw(config); });
    kua::commands::FetchOptions fetching;
    auto* fetch = with_config(app.add_subcommand(
        "fetch", "Fetch and verify a release as an upgrade would, without touching k3s"));
    fetch->add_option("version", fetching.version, "The release, such as v1.31.4+k3s1")->required();
    fetch->add_option("--image", fetching.image, "As in a Plan's spec.upgrade.image")
        ->capture_default_str();
    fetch->add_option("--to", fetching.to, "Put the files into this folder");
    fetch->callback([&] { exit_status = kua::commands::fetch(config, fetching); });
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error);
    } catch (const std::exception& error) {
        std::cerr << "k3s-upgrade-agent: " << error.what() << "\n";
        return 1;
    }
    return exit_status;
}
