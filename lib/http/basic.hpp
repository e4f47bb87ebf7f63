// SPDX-License-Identifier: Apache-2.0
// The Basic scheme of authorization (RFC 7617).
#pragma once

#include <string>
#include <string_view>

namespace kua::http {

/// The value of Authorization for `user:password`.
std::string basic_authorization(std::string_view user_and_password);

}  // namespace kua::http
