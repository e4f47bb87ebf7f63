// SPDX-License-Identifier: Apache-2.0
#include "agent/commands/webs.hpp"

#include "agent/release/proxies.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::commands {

namespace {

http::Environment k3s_environment(const k3s::Finder& finder) {
    try {
        return finder.environment();
    } catch (const Error& error) {
        log::debug(format("the proxies of k3s are not known: {}", error.what()));
        return {};
    }
}

http::CurlOptions through(http::Proxies proxies) {
    http::CurlOptions options;
    options.proxies = std::move(proxies);
    return options;
}

}  // namespace

Webs::Choice Webs::choose(const k3s::Finder& finder) {
    const auto own = http::own_environment();
    const auto k3s = k3s_environment(finder);
    return {release::choose_proxies(own, k3s, release::Purpose::web),
            release::choose_proxies(own, k3s, release::Purpose::images)};
}

Webs::Webs(const k3s::Finder& finder) : Webs(choose(finder)) {}

Webs::Webs(const Choice& choice) : web_(through(choice.web)) {
    if (!(choice.images == choice.web)) {
        registry_.emplace(through(choice.images));
    }
}

}  // namespace kua::commands
