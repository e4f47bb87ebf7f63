// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/hash.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "lib/base/clock.hpp"
#include "lib/base/format.hpp"
#include "lib/crypto/digest.hpp"

namespace kua::plan {

namespace {

constexpr auto kDigestAnnotation = "upgrade.cattle.io/digest";

/// wrangler's data.GetValue: a key of a map, or the number of an item in a list.
const Json* at_path(const Json& object, const std::string& path) {
    const Json* value = &object;
    for (const auto& key : split(path, '.')) {
        if (value->is_object() && value->contains(key)) {
            value = &(*value)[key];
            continue;
        }
        std::string_view digits = key;
        digits.remove_prefix(digits.starts_with('+') ? 1 : 0);
        std::size_t index = 0;
        const auto* const past = digits.data() + digits.size();
        const auto [end, code] = std::from_chars(digits.data(), past, index);
        const bool is_number = code == std::errc() && end == past;
        if (!value->is_array() || !is_number || index >= value->size()) {
            return nullptr;
        }
        value = &(*value)[index];
    }
    return value;
}

/// Fields of SUC's Go structs that are left out when they are empty (`omitempty`). All lists and
/// texts are, too, but for kAlwaysWritten; a pointer to false or 0 (drain.ignoreDaemonSets) is not.
constexpr std::array kOmittedWhenFalse = {"cordon", "disableEviction", "exclusive", "force",
                                          "ignoreUpdates"};
constexpr std::array kOmittedWhenZero = {"concurrency", "skipWaitForDeleteTimeout"};
constexpr std::array kLabels = {"matchLabels", "postCompleteLabels"};
constexpr std::array kAlwaysWritten = {"destination", "fieldPath", "image",  "key",     "name",
                                       "operator",    "path",      "source", "resource"};

template <std::size_t size>
bool is_one_of(const std::string& key, const std::array<const char*, size>& keys) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
}

bool is_omitted(const std::string& key, const Json& value) {
    switch (value.type()) {
        case Json::value_t::null:
            return true;
        case Json::value_t::boolean:
            return value == false && is_one_of(key, kOmittedWhenFalse);
        case Json::value_t::string:
            return value.get_ref<const std::string&>().empty() && !is_one_of(key, kAlwaysWritten);
        case Json::value_t::array:
            return value.empty();
        case Json::value_t::object:
            return value.empty() && is_one_of(key, kLabels);
        default:
            return value == 0 && is_one_of(key, kOmittedWhenZero);
    }
}

/// How Go prints a time.Duration: `1h30m0s`, `1.5s`, `300ms`, `0s`. What is finer than a
/// millisecond is not kept.
std::string go_duration(Duration duration) {
    if (duration > Duration::zero() && duration < std::chrono::seconds(1)) {
        return format("{}ms", duration.count());
    }
    const std::chrono::hh_mm_ss clock(duration);
    auto seconds = format("{}.{:03}", clock.seconds().count(), clock.subseconds().count());
    seconds.erase(seconds.find_last_not_of('0') + 1);
    if (seconds.ends_with('.')) {
        seconds.pop_back();
    }
    if (clock.hours().count() > 0) {
        return format("{}h{}m{}s", clock.hours().count(), clock.minutes().count(), seconds);
    }
    return clock.minutes().count() > 0 ? format("{}m{}s", clock.minutes().count(), seconds)
                                       : format("{}s", seconds);
}

/// A part of the spec as SUC sees it: read into its Go structs and written again.
Json as_go_writes(const Json& value) {
    if (value.is_array()) {
        Json list = Json::array();
        for (const auto& item : value) {
            list.push_back(as_go_writes(item));
        }
        return list;
    }
    if (!value.is_object()) {
        return value;
    }
    Json object = Json::object();
    for (const auto& [key, item] : value.items()) {
        if (!is_omitted(key, item)) {
            // A label is a map's entry to Go, not a field: an empty one is written.
            object[key] = is_one_of(key, kLabels) ? item : as_go_writes(item);
        }
    }
    return object;
}

/// The Plan as SUC sees it.
Json object_as_go_writes(const Plan& plan) {
    auto object = plan.object;
    const auto spec = object.find("spec");
    if (spec == object.end()) {
        return object;
    }
    *spec = as_go_writes(*spec);
    const auto delay = string_at(*spec, {"postCompleteDelay"});
    // One that can't be read is such a problem, and would keep the whole Plan from SUC.
    if (!delay.empty() && !plan.problem) {
        (*spec)["postCompleteDelay"] = go_duration(parse_duration(delay));
    }
    return object;
}

/// wrangler's convert.ToString: of a list the first item, nothing for nil, no white space around.
std::string digest_text(const Json& value) {
    if (value.is_array()) {
        return value.empty() || value[0].is_null() ? std::string()
                                                   : std::string(trim(go_text(value[0])));
    }
    return value.is_null() ? std::string() : std::string(trim(go_text(value)));
}

}  // namespace

std::string go_text(const Json& value) {
    switch (value.type()) {
        case Json::value_t::null:
            return "<nil>";
        case Json::value_t::string:
            return value.get<std::string>();
        case Json::value_t::array: {
            std::vector<std::string> items;
            for (const auto& item : value) {
                items.push_back(go_text(item));
            }
            return "[" + join(items, " ") + "]";
        }
        case Json::value_t::object: {
            // nlohmann::json keeps keys sorted, as fmt does when it prints a map.
            std::vector<std::string> items;
            for (const auto& [key, item] : value.items()) {
                items.push_back(key + ":" + go_text(item));
            }
            return "map[" + join(items, " ") + "]";
        }
        default:
            return value.dump();
    }
}

std::string latest_hash(const Plan& plan, const std::string& latest_version) {
    crypto::Hasher hasher(crypto::Algorithm::sha224);
    hasher.update(latest_version);
    hasher.update(plan.service_account_name);
    const auto annotation = plan.annotations.find(kDigestAnnotation);
    if (annotation != plan.annotations.end() && !annotation->second.empty()) {
        const auto object = object_as_go_writes(plan);
        for (const auto& path : split(annotation->second, ',')) {
            if (const auto* value = at_path(object, path)) {
                hasher.update(digest_text(*value));
            }
        }
    }
    return hasher.finish();
}

}  // namespace kua::plan
