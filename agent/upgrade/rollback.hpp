// SPDX-License-Identifier: Apache-2.0
// Whether a new version that does not work is rolled back.
#pragma once

#include <optional>
#include <string>

namespace kua::upgrade {

enum class Rollback {
    automatic,  ///< On agents; on servers within a minor version of Kubernetes and of etcd.
    always,
    never,
};

/// What k3s is on this host.
struct Role {
    bool is_server = false;
    bool etcd_member = false;  ///< Of k3s's own etcd.
};

/// Why the new version is to stay where it is, although it does not work; absent when it is to be
/// rolled back. A version that can't be understood counts as another minor.
std::optional<std::string> why_not_rolled_back(Rollback rollback, const Role& role,
                                               const std::string& from, const std::string& to);

}  // namespace kua::upgrade
