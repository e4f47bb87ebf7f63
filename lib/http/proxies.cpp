// SPDX-License-Identifier: Apache-2.0
#include "lib/http/proxies.hpp"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/number.hpp"
#include "lib/http/address.hpp"

namespace kua::http {

namespace {

std::string lower_case(std::string_view text) {
    std::string result(text);
    // Names of hosts are ASCII, whatever the locale.
    std::transform(result.begin(), result.end(), result.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return result;
}

bool is_in_network(const Address& address, std::string_view network) {
    constexpr unsigned kBits = 128;
    constexpr unsigned kIpv4Bits = 32;
    const std::size_t slash = network.find('/');
    const auto base = parse_address(network.substr(0, slash));
    const auto bits = whole_number<unsigned>(network.substr(slash + 1));
    if (!base || !bits) return false;
    const bool ipv4 = network.find(':') == std::string_view::npos;
    if (*bits > (ipv4 ? kIpv4Bits : kBits)) return false;
    return same_network(address, *base, ipv4 ? kBits - kIpv4Bits + *bits : *bits);
}

bool is_named(std::string_view host, std::string_view name) {
    if (name.starts_with("*.")) name.remove_prefix(1);
    if (name.starts_with('.')) return host.ends_with(name);
    return host == name || (host.ends_with(name) && host.size() > name.size() &&
                            host[host.size() - name.size() - 1] == '.');
}

bool matches(const Url& url, const std::optional<Address>& address, std::string_view rule) {
    if (rule.find('/') != std::string_view::npos) return address && is_in_network(*address, rule);
    // An IPv6 address has a port only behind brackets.
    const std::size_t colon = rule.rfind(':');
    const bool has_port = colon != std::string_view::npos && !parse_address(rule);
    if (has_port) {
        if (rule.substr(colon + 1) != url.port) return false;
        rule = rule.substr(0, colon);
    }
    if (address) {
        const auto other = parse_address(rule);
        return other && *other == *address;
    }
    return is_named(url.host, rule);
}

bool goes_direct(const Url& url, std::string_view no_proxy) {
    const auto address = parse_address(url.host);
    if (url.host == "localhost" || (address && is_loopback(*address))) return true;
    for (const auto& piece : split(no_proxy, ',')) {
        const std::string rule = lower_case(trim(piece));
        if (rule == "*" || (!rule.empty() && matches(url, address, rule))) return true;
    }
    return false;
}

}  // namespace

Proxies proxies_of(const Environment& environment, const std::string& prefix) {
    const auto value = [&](const std::string& name) -> std::string {
        for (const auto& candidate : {prefix + name, prefix + lower_case(name)}) {
            const auto found = environment.find(candidate);
            if (found != environment.end() && !trim(found->second).empty()) return found->second;
        }
        return {};
    };
    return {value("HTTPS_PROXY"), value("HTTP_PROXY"), value("NO_PROXY")};
}

Environment own_environment() {
    Environment environment;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const std::size_t equals = text.find('=');
        if (equals == std::string_view::npos) continue;
        environment.insert_or_assign(std::string(text.substr(0, equals)),
                                     std::string(text.substr(equals + 1)));
    }
    return environment;
}

Proxies own_proxies() { return proxies_of(own_environment()); }

std::string proxy_for(const Url& url, const Proxies& proxies) {
    const std::string_view wanted = trim(url.scheme == "https" ? proxies.https : proxies.http);
    if (wanted.empty() || goes_direct(url, proxies.no_proxy)) return {};
    std::string proxy(wanted);
    if (proxy.find("://") == std::string::npos) proxy.insert(0, "http://");
    const std::string scheme = lower_case(proxy.substr(0, proxy.find("://")));
    constexpr std::string_view kAdvice = "it should be like http://proxy.example:3128";
    if (scheme != "http" && scheme != "https" && scheme != "socks5" && scheme != "socks5h") {
        throw Error(ErrorKind::invalid,
                    format("the proxy for {} is of a kind that is not known ({}); {}", url.scheme,
                           excerpt(scheme, 20), kAdvice));
    }
    try {
        // Only to see whether it can be read; as https, since it may be a kind that parse_url does
        // not take.
        parse_url("https" + proxy.substr(proxy.find("://")));
    } catch (const Error&) {
        // What is wrong with it may stand right behind the password.
        throw Error(ErrorKind::invalid,
                    format("the proxy for {} is not a usable URL; {}", url.scheme, kAdvice));
    }
    return proxy;
}

}  // namespace kua::http
