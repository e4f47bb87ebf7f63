// SPDX-License-Identifier: Apache-2.0
#include "lib/base/json.hpp"

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua {

namespace {

constexpr int kMostLevels = 200;

/// The reason in the library's message, without its own prefix ("[json.exception.parse_error.101]
/// ").
std::string reason(const Json::exception& error) {
    const std::string_view message = error.what();
    const std::size_t end = message.find("] ");
    return excerpt(end == std::string_view::npos ? message : message.substr(end + 2), 300);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view what) {
    const auto bounded = [&](int depth, Json::parse_event_t event, const Json& /*parsed*/) {
        const bool opens =
            event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
        // The outermost container is at depth 0.
        if (opens && depth >= kMostLevels) {
            throw Error(ErrorKind::invalid,
                        format("{}: JSON nested deeper than {} levels", what, kMostLevels));
        }
        return true;
    };
    try {
        return Json::parse(text.begin(), text.end(), bounded);
    } catch (const Json::exception& error) {
        throw Error(ErrorKind::invalid, format("{}: not JSON: {}", what, reason(error)));
    }
}

const Json* find(const Json& object, std::initializer_list<std::string_view> path) {
    const Json* value = &object;
    for (const std::string_view key : path) {
        if (!value->is_object()) {
            return nullptr;
        }
        const auto member = value->find(key);
        if (member == value->end()) {
            return nullptr;
        }
        value = &*member;
    }
    return value->is_null() ? nullptr : value;
}

std::string string_at(const Json& object, std::initializer_list<std::string_view> path) {
    const Json* const value = find(object, path);
    return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

bool bool_at(const Json& object, std::initializer_list<std::string_view> path, bool otherwise) {
    const Json* const value = find(object, path);
    return value != nullptr && value->is_boolean() ? value->get<bool>() : otherwise;
}

std::optional<std::int64_t> int_at(const Json& object,
                                   std::initializer_list<std::string_view> path) {
    const Json* const value = find(object, path);
    if (value == nullptr || !value->is_number_integer()) {
        return std::nullopt;
    }
    if (value->is_number_unsigned() &&
        value->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
        return std::nullopt;
    }
    return value->get<std::int64_t>();
}

}  // namespace kua
