// SPDX-License-Identifier: Apache-2.0
// URLs taken apart, as far as redirects and messages need it.
#pragma once

#include <string>

namespace kua::http {

struct Url {
    std::string text;    ///< Whole, without a fragment.
    std::string scheme;  ///< Lower case: `https`.
    std::string host;    ///< Lower case; an IPv6 address in brackets.
    std::string port;    ///< `443`, also where the URL names none.
    std::string origin;  ///< `https://example.org:443`: whom credentials are meant for.
    std::string shown;   ///< Without user, query and fragment: fit for a message.
};

/// Throws Error{invalid} for anything but an absolute http or https URL, saying what is wrong with
/// it.
Url parse_url(const std::string& text);

/// The URL that `reference` (a Location header) means on a page at `base`. Throws Error{invalid}.
Url resolve_url(const Url& base, const std::string& reference);

}  // namespace kua::http
