// SPDX-License-Identifier: Apache-2.0
#include "lib/http/basic.hpp"

#include "lib/base/base64.hpp"

namespace kua::http {

std::string basic_authorization(std::string_view user_and_password) {
    return "Basic " + base64_encode(user_and_password);
}

}  // namespace kua::http
