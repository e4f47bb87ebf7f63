// SPDX-License-Identifier: Apache-2.0
// Text formatting for messages: the only place that names fmt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace kua {

using fmt::format;

/// `1.4 GB`, `61 MB`, `812 B`: decimal units, for people.
std::string human_bytes(std::uint64_t bytes);

/// The pieces joined with `separator`.
std::string join(const std::vector<std::string>& pieces, std::string_view separator);

/// The pieces between separators; empty pieces are kept. `split("", ',')` is one empty piece.
std::vector<std::string> split(std::string_view text, char separator);

/// Without white space (space, tab, CR, LF) at both ends.
std::string_view trim(std::string_view text);

/// True for well-formed UTF-8 (no overlong forms, no surrogates).
bool is_utf8(std::string_view text);

/// `text` as it may stand in one line of a log: control characters and line separators become a
/// space, bytes that are no UTF-8 a `?`.
std::string one_line(std::string_view text);

/// `one_line` of the first `most` bytes of `text`, cut at a UTF-8 boundary, with `…` where
/// something was cut: for putting what came from outside into a message.
std::string excerpt(std::string_view text, std::size_t most);

/// Percent-encodes everything but RFC 3986's unreserved characters (so `+` becomes `%2B`).
std::string url_encode(std::string_view text);

}  // namespace kua
