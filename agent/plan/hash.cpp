// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/hash.hpp"

#include <array>
#include <string_view>

#include "agent/plan/suc_types.hpp"
#include "lib/base/format.hpp"
#include "lib/crypto/digest.hpp"

namespace kua::plan {

namespace {

constexpr auto kDigestAnnotation = "upgrade.cattle.io/digest";

/// wrangler's data.GetValue, which walks through maps only: there is no way into a list.
const Json* at_path(const Json& object, const std::string& path) {
    const Json* value = &object;
    for (const auto& key : split(path, '.')) {
        if (!value->is_object() || !value->contains(key)) {
            return nullptr;
        }
        value = &(*value)[key];
    }
    return value;
}

/// Unicode's White_Space, in UTF-8: what Go's strings.TrimSpace takes off.
constexpr std::array<std::string_view, 25> kWhiteSpace{
    "\t",     "\n",     "\v",     "\f",     "\r",     " ",      "\u0085", "\u00a0", "\u1680",
    "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008",
    "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};

std::string trim_as_go(std::string_view text) {
    const auto space_at = [&](bool end) -> std::size_t {
        for (const auto space : kWhiteSpace) {
            if (end ? text.ends_with(space) : text.starts_with(space)) {
                return space.size();
            }
        }
        return 0;
    };
    while (const auto length = space_at(false)) {
        text.remove_prefix(length);
    }
    while (const auto length = space_at(true)) {
        text.remove_suffix(length);
    }
    return std::string(text);
}

/// wrangler's convert.ToString: of a list the first item, nothing for nil, no white space around.
std::string digest_text(const Json& value) {
    static const Json nil;
    const auto& single = !value.is_array() ? value : value.empty() ? nil : value[0];
    return single.is_null() ? std::string() : trim_as_go(go_text(single));
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
        auto object = as_suc_writes(plan.object);
        // SUC has put it there before it computes the hash.
        if (!latest_version.empty() && object["status"].is_object()) {
            object["status"]["latestVersion"] = latest_version;
        }
        for (const auto& path : split(annotation->second, ',')) {
            if (const auto* value = at_path(object, path)) {
                hasher.update(digest_text(*value));
            }
        }
    }
    return hasher.finish();
}

}  // namespace kua::plan
