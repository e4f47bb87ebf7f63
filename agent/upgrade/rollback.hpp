// SPDX-License-Identifier: Apache-2.0
// Whether a new version that does not work is rolled back.
#pragma once

#include <optional>
#include <string>

namespace kua::upgrade {

enum class Rollback {
    automatic,  ///< On agents; on servers within a minor version.
    always,
    never,
};

/// Why the new version is to stay where it is, although it does not work; absent when it is to be
/// rolled back. `is_server`: the host runs `k3s server`. A version that can't be understood counts
/// as another minor.
std::optional<std::string> why_not_rolled_back(Rollback rollback, bool is_server,
                                               const std::string& from, const std::string& to);

}  // namespace kua::upgrade
