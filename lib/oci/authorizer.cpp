// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/authorizer.hpp"

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/http/address.hpp"
#include "lib/http/basic.hpp"
#include "lib/http/url.hpp"

namespace kua::oci {

namespace {

constexpr std::uint64_t kMostToken = 1ULL << 20U;
constexpr std::size_t kMostTokenLength = 64U << 10U;
constexpr int kMostRedirects = 3;
constexpr Duration kTimeout{30'000};

std::string basic(const Credentials& credentials) {
    return http::basic_authorization(credentials.username + ':' + credentials.password);
}

std::string query(const std::vector<std::pair<std::string, std::string>>& fields) {
    std::vector<std::string> pairs;
    for (const auto& [name, value] : fields) {
        if (!value.empty()) pairs.push_back(name + '=' + url_encode(value));
    }
    return join(pairs, "&");
}

http::Request token_request(const Endpoint& endpoint, const Challenge& challenge,
                            const http::Url& realm) {
    http::Request request;
    request.timeout = kTimeout;
    request.most_body = kMostToken;
    const std::string service = challenge.parameter("service");
    std::string scope = challenge.parameter("scope");
    if (scope.empty()) scope = format("repository:{}:pull", endpoint.repository);
    if (!endpoint.credentials.identity_token.empty()) {
        request.method = "POST";
        request.url = realm.text;
        request.headers["Content-Type"] = "application/x-www-form-urlencoded";
        request.body = query({{"grant_type", "refresh_token"},
                              {"refresh_token", endpoint.credentials.identity_token},
                              {"client_id", "k3s-upgrade-agent"},
                              {"service", service},
                              {"scope", scope}});
        return request;
    }
    request.most_redirects = kMostRedirects;
    request.url = realm.text + (realm.text.find('?') == std::string::npos ? '?' : '&') +
                  query({{"service", service}, {"scope", scope}});
    if (!endpoint.credentials.empty()) {
        request.headers["Authorization"] = basic(endpoint.credentials);
    }
    return request;
}

std::string fetch_token(http::Client& client, const Endpoint& endpoint, http::Tls tls,
                        const Challenge& challenge, const std::stop_token& stop) {
    const http::Url realm = with_context("the registry's auth realm", [&challenge] {
        return http::parse_url(challenge.parameter("realm"));
    });
    const http::Url registry = http::parse_url(endpoint.url);
    if (realm.scheme != "https" && registry.scheme == "https") {
        throw Error(ErrorKind::invalid,
                    format("the auth realm {} is not https: nothing is sent there", realm.shown));
    }
    // The name of the realm is the registry's word, as a redirect's target is.
    const auto address = http::parse_address(realm.host);
    if (realm.origin != registry.origin && address && http::is_link_local(*address)) {
        throw Error(ErrorKind::invalid,
                    format("the auth realm {} is a link-local address: nothing is sent there",
                           realm.shown));
    }
    http::Request request = token_request(endpoint, challenge, realm);
    if (realm.origin != registry.origin) {
        tls.certificate_pem.clear();
        tls.key_pem.clear();
    }
    request.tls = std::move(tls);
    const http::Response response = client.send(request, stop);
    if (response.status != 200) {
        const bool again = response.status >= 500 || response.status == 429;
        throw Error(
            again ? ErrorKind::transient : ErrorKind::invalid,
            format("{} answers {} to the request for a token{}", realm.shown, response.status,
                   again ? ""
                         : "; correct configs.<host>.auth in registries.yaml, or the "
                           "image's name"));
    }
    const Json answer = parse_json(response.body, "the answer of " + realm.shown);
    std::string token = string_at(answer, {"token"});
    if (token.empty()) token = string_at(answer, {"access_token"});
    const bool printable =
        std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < '\x7f'; });
    if (token.empty() || token.size() > kMostTokenLength || !printable) {
        throw Error(ErrorKind::invalid, format("the answer of {} holds no token", realm.shown));
    }
    return "Bearer " + token;
}

}  // namespace

std::string authorize(http::Client& client, const Endpoint& endpoint, const http::Tls& tls,
                      const std::string& www_authenticate, const std::stop_token& stop) {
    const auto challenges = parse_challenges(www_authenticate);
    for (const Challenge& challenge : challenges) {
        if (challenge.scheme == "bearer" && !challenge.parameter("realm").empty()) {
            return fetch_token(client, endpoint, tls, challenge, stop);
        }
    }
    for (const Challenge& challenge : challenges) {
        if (challenge.scheme != "basic") continue;
        if (endpoint.credentials.username.empty()) {
            throw Error(ErrorKind::invalid,
                        "wants a user name and password: add configs.<host>.auth to "
                        "registries.yaml");
        }
        return basic(endpoint.credentials);
    }
    throw Error(ErrorKind::invalid, "answers 401 without a way to log in that is known here");
}

}  // namespace kua::oci
