// SPDX-License-Identifier: Apache-2.0
// Base64, as RFC 4648 has it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kua {

/// In one line, with padding.
std::string base64_encode(std::string_view bytes);

/// White space is skipped wherever it is: lines are folded by many. Absent for anything else that
/// is not base64 with its padding.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace kua
