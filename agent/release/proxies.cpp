// SPDX-License-Identifier: Apache-2.0
#include "agent/release/proxies.hpp"

#include <algorithm>
#include <string>

namespace kua::release {

namespace {

constexpr auto kContainerd = "CONTAINERD_";

struct Variable {
    const char* capitals;
    const char* small;
    std::string http::Proxies::*value;
};
constexpr Variable kVariables[] = {
    {"HTTPS_PROXY", "https_proxy", &http::Proxies::https},
    {"HTTP_PROXY", "http_proxy", &http::Proxies::http},
    {"NO_PROXY", "no_proxy", &http::Proxies::no_proxy},
};

bool names(const http::Environment& environment, const Variable& variable, Purpose purpose) {
    if (environment.contains(variable.capitals) || environment.contains(variable.small)) {
        return true;
    }
    return purpose == Purpose::images &&
           (environment.contains(std::string(kContainerd) + variable.capitals) ||
            environment.contains(std::string(kContainerd) + variable.small));
}

http::Proxies proxies_in(const http::Environment& environment, Purpose purpose) {
    auto proxies = http::proxies_of(environment);
    if (purpose == Purpose::images) {
        const auto containerd = http::proxies_of(environment, kContainerd);
        for (const auto& variable : kVariables) {
            if (!(containerd.*variable.value).empty()) {
                proxies.*variable.value = containerd.*variable.value;
            }
        }
    }
    return proxies;
}

}  // namespace

http::Proxies choose_proxies(const http::Environment& own, const http::Environment& k3s,
                             Purpose purpose) {
    auto chosen = proxies_in(k3s, purpose);
    const auto ours = proxies_in(own, purpose);
    for (const auto& variable : kVariables) {
        if (names(own, variable, purpose)) {
            chosen.*variable.value = ours.*variable.value;
        }
    }
    return chosen;
}

}  // namespace kua::release
