// SPDX-License-Identifier: Apache-2.0
// JSON values, the one type that travels everywhere, read without surprises.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace kua {

using Json = nlohmann::json;

/// Parses text from outside. `what` names it in the message ("the answer of https://…"). Throws
/// Error{invalid} for anything that is not one JSON value, or nests deeper than 200 levels.
Json parse_json(std::string_view text, std::string_view what);

/// The value at a path of object keys (`find(plan, {"spec", "drain"})`), or nullptr when a step is
/// missing, null or not an object.
const Json* find(const Json& object, std::initializer_list<std::string_view> path);

/// The string at the path; empty when it is missing or not a string.
std::string string_at(const Json& object, std::initializer_list<std::string_view> path);

/// The boolean at the path; `otherwise` when it is missing or not a boolean.
bool bool_at(const Json& object, std::initializer_list<std::string_view> path, bool otherwise);

/// The integer at the path; absent when it is missing, not an integer, or larger than 64 bits with
/// a sign hold.
std::optional<std::int64_t> int_at(const Json& object,
                                   std::initializer_list<std::string_view> path);

}  // namespace kua
