// SPDX-License-Identifier: Apache-2.0
// What a WWW-Authenticate header asks for.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kua::oci {

struct Challenge {
    std::string scheme;                             ///< Lower case: `bearer`, `basic`.
    std::map<std::string, std::string> parameters;  ///< Names in lower case, values unquoted.

    /// The parameter's value; empty when it is not there.
    [[nodiscard]] std::string parameter(const std::string& name) const;
};

/// The challenges of one header's value, or of several joined with commas (RFC 9110, 11.6.1). What
/// makes no sense ends the list; nothing throws.
std::vector<Challenge> parse_challenges(std::string_view text);

}  // namespace kua::oci
