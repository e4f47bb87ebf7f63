// SPDX-License-Identifier: Apache-2.0
#include "agent/commands/webs.hpp"

#include "agent/node/restart.hpp"
#include "agent/node/unit_environment.hpp"
#include "agent/release/proxies.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::commands {

namespace {

http::Environment k3s_environment(const Config& config, systemd::Units& units) {
    try {
        const auto unit = node::find_k3s(units, config.k3s.unit, config.k3s.binary);
        return node::unit_environment(units, unit.name);
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

Webs::Choice Webs::choose(const Config& config, systemd::Units& units) {
    const auto own = http::own_environment();
    const auto k3s = k3s_environment(config, units);
    return {release::choose_proxies(own, k3s, release::Purpose::web),
            release::choose_proxies(own, k3s, release::Purpose::images)};
}

Webs::Webs(const Config& config, systemd::Units& units) : Webs(choose(config, units)) {}

Webs::Webs(const Choice& choice) : web_(through(choice.web)) {
    if (!(choice.images == choice.web)) {
        registry_.emplace(through(choice.images));
    }
}

}  // namespace kua::commands
