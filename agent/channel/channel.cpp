// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/channel.hpp"

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/http/url.hpp"

namespace kua::channel {

namespace {

constexpr int kFound = 302;
constexpr int kNotModified = 304;
constexpr std::uint64_t kMostAnswer = 1ULL << 20U;
constexpr Duration kTimeout{15'000};

/// The last element of a URL's path, percent-decoded (GitHub's Location writes the plus as %2B).
std::string last_path_element(std::string url) {
    url = url.substr(0, url.find_first_of("?#"));
    while (url.ends_with('/')) {
        url.pop_back();
    }
    const auto element = url.substr(url.rfind('/') + 1);
    std::string decoded;
    for (std::size_t i = 0; i < element.size(); ++i) {
        if (element.compare(i, 3, "%2B") == 0 || element.compare(i, 3, "%2b") == 0) {
            decoded += '+';
            i += 2;
        } else {
            decoded += element[i];
        }
    }
    return decoded;
}

}  // namespace

Answer ask(http::Client& client, const std::string& url, const std::string& latest,
           const std::string& cluster_id, const std::string& etag, std::stop_token stop) {
    // A channel may ask for a token in its query: no message may show it.
    const auto shown = http::parse_url(url).shown;
    http::Request request;
    request.url = url;
    request.most_body = kMostAnswer;
    request.timeout = kTimeout;
    if (!cluster_id.empty()) {
        request.headers["X-SUC-Cluster-ID"] = cluster_id;
    }
    if (!latest.empty()) {
        request.headers["X-SUC-Latest-Version"] = latest;
    }
    if (!etag.empty()) {
        request.headers["If-None-Match"] = etag;
    }
    const auto response = client.send(request, std::move(stop));
    if (response.status == kNotModified && !etag.empty()) {
        return {{}, etag, true};
    }
    if (response.status < 200 || response.status >= 400) {
        const bool again = response.status >= 500 || response.status == 429;
        throw Error(again ? ErrorKind::transient : ErrorKind::invalid,
                    format("channel {} answers {}", shown, response.status));
    }
    const bool found = response.status == kFound;
    const auto named = last_path_element(found ? response.header("Location") : url);
    const auto version = plan::parse_version(named);
    if (!version) {
        throw Error(
            ErrorKind::invalid,
            format("channel {} names \"{}\", which is not a k3s version{}", shown,
                   excerpt(named, 80),
                   found ? "" : format(" (status {}, so its own URL counts)", response.status)));
    }
    return {*version, response.header("ETag"), false};
}

plan::Version resolve(http::Client& client, const std::string& url, const std::string& latest,
                      const std::string& cluster_id, std::stop_token stop) {
    return ask(client, url, latest, cluster_id, {}, std::move(stop)).version;
}

}  // namespace kua::channel
