// SPDX-License-Identifier: Apache-2.0
// Regular expressions over image names, as registries.yaml has them.
#pragma once

#include <string>

namespace kua::oci {

/// Throws Error{invalid} that says what is wrong with the pattern.
void check_pattern(const std::string& pattern);

/// `text` with every match replaced as Go's regexp.ReplaceAllString does it: `$1`, `${1}` for a
/// group, `$$` for a dollar. Bounded in time whatever the pattern. Throws Error{invalid}.
std::string replace_all(const std::string& text, const std::string& pattern,
                        const std::string& replacement);

}  // namespace kua::oci
