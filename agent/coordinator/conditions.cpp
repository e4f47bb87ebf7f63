// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/conditions.hpp"

namespace kua::coordinator {

namespace {

// SUC leaves empty fields out; its Message column shows the first condition that has a message.
void put(Json& condition, const char* key, const std::string& value) {
    if (value.empty()) {
        condition.erase(key);
    } else {
        condition[key] = value;
    }
}

}  // namespace

Conditions::Conditions(const Json& status, WallTime now) : now_(to_rfc3339(now)) {
    const auto* present = find(status, {"conditions"});
    list_ = present != nullptr && present->is_array() ? *present : Json::array();
}

bool Conditions::set(const std::string& type, bool value, const std::string& reason,
                     const std::string& message) {
    auto& condition = at(type);
    const std::string status = value ? "True" : "False";
    const bool same_status = string_at(condition, {"status"}) == status;
    if (same_status && string_at(condition, {"reason"}) == reason &&
        string_at(condition, {"message"}) == message) {
        return false;
    }
    condition["status"] = status;
    condition["lastUpdateTime"] = now_;
    if (!same_status) {
        condition["lastTransitionTime"] = now_;
    }
    put(condition, "reason", reason);
    put(condition, "message", message);
    return true;
}

std::string Conditions::field(const std::string& type, std::string_view name) const {
    for (const auto& condition : list_) {
        if (string_at(condition, {"type"}) == type) {
            return string_at(condition, {name});
        }
    }
    return {};
}

Json& Conditions::at(const std::string& type) {
    for (auto& condition : list_) {
        if (string_at(condition, {"type"}) == type) {
            return condition;
        }
    }
    list_.push_back({{"type", type}});
    return list_.back();
}

}  // namespace kua::coordinator
