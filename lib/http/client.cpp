// SPDX-License-Identifier: Apache-2.0
#include "lib/http/client.hpp"

#include <algorithm>

namespace kua::http {

namespace {

// Not std::tolower: header names are ASCII, whatever the locale.
char lower(char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

}  // namespace

bool HeaderLess::operator()(std::string_view left, std::string_view right) const {
    return std::lexicographical_compare(left.begin(), left.end(), right.begin(), right.end(),
                                        [](char a, char b) { return lower(a) < lower(b); });
}

std::string Response::header(std::string_view name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
}

}  // namespace kua::http
