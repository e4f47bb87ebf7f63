// SPDX-License-Identifier: Apache-2.0
// The program's commands; each returns its exit status and explains itself on standard error.
#pragma once

#include <filesystem>
#include <string>

namespace kua::commands {

/// The service: runs until SIGTERM or SIGINT. Bad configuration or credentials don't end it: they
/// are reported, and it goes on by itself when they are mended. 0; 1 at once, with one line and
/// nothing changed, where another one has the state folder.
int run(const std::filesystem::path& config_path);

/// What the agent on this host is doing, on standard output. 0 when it runs and needs nobody, 1
/// when it does not run, 2 when it waits for a person
/// (`Blocked`, `Failed`).
int status(const std::filesystem::path& config_path, bool json);

/// Checks the configuration and what it points at. 0 when everything is in order, 1 otherwise; one
/// line per finding.
int check_config(const std::filesystem::path& config_path);

struct ReleaseOptions {
    std::string plan;                  ///< Empty: all Plans.
    std::string node;                  ///< Empty: this host's own.
    std::filesystem::path kubeconfig;  ///< Empty: found, see release.hpp.
    bool force = false;
};

/// Frees a node's Failed slots and removes its Blocked reports; with `force` also slots that are
/// held. One line per slot on standard output. 0 when something was freed, 1 when there was nothing
/// to free or all of it was refused. Throws Error when the lock can't be reached or no credentials
/// are found.
int release(const std::filesystem::path& config_path, const ReleaseOptions& options);

struct FetchOptions {
    std::string version;
    std::string image = "rancher/k3s-upgrade";  ///< As in a Plan's spec.upgrade.image.
    std::filesystem::path to;                   ///< Empty: only tried.
};

/// Fetches a release from the configured sources and verifies it as an upgrade would, without
/// touching k3s: to try the sources, or to fill a bundle. Prints the binary's SHA-256 and version,
/// and the files that it put into `to`. 0; throws Error as release::Staging::stage does.
int fetch(const std::filesystem::path& config_path, const FetchOptions& options);

/// Takes back what the agent has announced on this host's Node: for the package, when it is
/// removed. 0; throws Error when the Node can't be reached.
int withdraw(const std::filesystem::path& config_path);

/// Prints the names of an upgrade's steps in their order, one a line; with `json` all that is known
/// of them.
int steps(bool json);

/// Prints what a cluster needs (deploy/) for `kubectl apply -f -`.
int manifests();

}  // namespace kua::commands
