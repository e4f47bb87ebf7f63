// SPDX-License-Identifier: Apache-2.0
// What the agent reads out of an X.509 certificate: who it names, and until when.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.hpp"

namespace kua::crypto {

struct Certificate {
    std::string common_name;
    std::vector<std::string> organizations;
    WallTime not_before;
    WallTime not_after;
};

/// Reads the first certificate of a PEM text. `name` (a file's path) stands in messages. Throws
/// Error{invalid}.
Certificate read_certificate(std::string_view pem, std::string_view name);

}  // namespace kua::crypto
