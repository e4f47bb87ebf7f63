// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/intent.hpp"

#include <set>

#include "lib/crypto/digest.hpp"

namespace kua::plan {

namespace {

/// All nodes' slots share a megabyte, and nobody gains anything by making two texts meet.
constexpr std::size_t kDigits = 16;

std::string short_digest(const std::string& text) {
    return crypto::hex_digest(crypto::Algorithm::sha256, text).substr(0, kDigits);
}

std::string text_of(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// The labels' keys that a LabelSelector names.
std::set<std::string> keys_of(const Json* selector) {
    std::set<std::string> keys;
    if (selector == nullptr) {
        return keys;
    }
    if (const auto* labels = find(*selector, {"matchLabels"}); labels && labels->is_object()) {
        for (const auto& [key, value] : labels->items()) {
            keys.insert(key);
        }
    }
    if (const auto* all = find(*selector, {"matchExpressions"}); all && all->is_array()) {
        for (const auto& expression : *all) {
            keys.insert(string_at(expression, {"key"}));
        }
    }
    return keys;
}

}  // namespace

Intent intent_of(const Plan& plan, const std::string& latest_version, const Labels& labels) {
    const auto* written = find(plan.object, {"spec"});
    Json spec = written != nullptr && written->is_object() ? *written : Json::object();
    auto keys = keys_of(find(spec, {"nodeSelector"}));
    keys.insert(label_of(plan.name));
    for (const auto* field : {"concurrency", "window", "nodeSelector"}) {
        spec.erase(field);
    }
    Json named = Json::object();
    for (const auto& key : keys) {
        if (const auto label = labels.find(key); label != labels.end()) {
            named[key] = label->second;
        }
    }
    return {short_digest(latest_version + "\n" + text_of(spec)), short_digest(text_of(named))};
}

}  // namespace kua::plan
