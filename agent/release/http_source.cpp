// SPDX-License-Identifier: Apache-2.0
#include "agent/release/http_source.hpp"

#include <algorithm>

#include "agent/release/http_download.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/fs/secret.hpp"
#include "lib/http/address.hpp"
#include "lib/http/basic.hpp"
#include "lib/http/retry_after.hpp"
#include "lib/http/url.hpp"
#include "lib/log/log.hpp"

namespace kua::release {

namespace {

constexpr int kMostRedirects = 5;
constexpr std::uint64_t kMostChecksums = 1ULL << 20U;
constexpr std::uint64_t kMostSignature = 64ULL << 10U;
constexpr std::uint64_t kMostBinary =
    1ULL << 30U;  // k3s is some 70 MB; a gigabyte is somebody's mistake.
constexpr std::uint64_t kMostCredentials = 16ULL << 10U;
constexpr Duration kStalled{60'000};
// A server may be slow, but not drip for ever.
constexpr Duration kLongest = std::chrono::hours(6);
constexpr int kOk = 200;

/// A URL fit for a message: without the password a mirror's may carry, and the signature in the
/// query of where GitHub redirects to.
std::string shown(const std::string& url) { return http::parse_url(url).shown; }

std::string no_release(const plan::Version& version) {
    return format("there is no release {} here; correct the Plan's version or the source",
                  version.text());
}

bool is_word(std::string_view text, std::string_view word) {
    return std::equal(text.begin(), text.end(), word.begin(), word.end(), [](char one, char other) {
        return (one >= 'A' && one <= 'Z' ? one - 'A' + 'a' : one) == other;
    });
}

/// The value of Authorization that a file of credentials means. No message shows any of it.
std::string authorization(const std::string& path) {
    constexpr auto kField = "source.http.credentials_file";
    const auto content =
        with_context(kField, [&] { return fs::read_secret(path, kMostCredentials); });
    const auto line = trim(content);
    const auto space = line.find(' ');
    const auto scheme = line.substr(0, space);
    const auto value =
        space == std::string_view::npos ? std::string_view() : trim(line.substr(space + 1));
    const bool printable = std::all_of(value.begin(), value.end(), [](char c) {
        return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
    });
    if (printable && is_word(scheme, "bearer") && !value.empty() &&
        value.find(' ') == std::string_view::npos) {
        return format("Bearer {}", value);
    }
    if (printable && is_word(scheme, "basic") && value.find(':') != std::string_view::npos) {
        return http::basic_authorization(value);
    }
    throw Error(
        ErrorKind::invalid,
        format("{}: {} must hold one line, `bearer TOKEN` or `basic USER:PASSWORD`", kField, path));
}

/// Credentials are sent where nobody can listen.
void check_private(const std::string& base_url) {
    const auto url = http::parse_url(base_url);
    const auto address = http::parse_address(url.host);
    const bool here = url.host == "localhost" || (address && http::is_loopback(*address));
    if (url.scheme != "https" && !here) {
        throw Error(ErrorKind::invalid,
                    format("source.http.credentials_file: not sent to {} without TLS; use https",
                           url.shown));
    }
}

}  // namespace

HttpSource::HttpSource(http::Client& client, Clock& clock, HttpSettings settings,
                       Architecture architecture, const Signatures& signatures,
                       std::uint64_t most_rate)
    : client_(client),
      clock_(clock),
      settings_(std::move(settings)),
      architecture_(std::move(architecture)),
      signatures_(signatures),
      most_rate_(most_rate) {
    while (settings_.base_url.ends_with('/')) {
        settings_.base_url.pop_back();
    }
}

std::string HttpSource::name() const { return "http " + shown(settings_.base_url); }

http::Request HttpSource::request(const plan::Version& version, const std::string& file,
                                  std::uint64_t most) const {
    http::Request request;
    request.url = format("{}/{}/{}", settings_.base_url, url_encode(version.text()), file);
    request.most_redirects = kMostRedirects;
    request.most_body = most;
    request.most_rate = most_rate_;
    if (!settings_.ca_file.empty()) {
        const auto pem = fs::read_file(settings_.ca_file);
        if (!pem) {
            throw Error(ErrorKind::invalid,
                        format("source.http.ca_file: {} does not exist", settings_.ca_file));
        }
        request.tls.ca_pem = *pem;
    }
    if (!settings_.credentials_file.empty()) {
        check_private(settings_.base_url);
        request.headers.emplace("Authorization", authorization(settings_.credentials_file));
    }
    return request;
}

std::string HttpSource::text(const http::Request& request, const std::string& missing,
                             const std::stop_token& stop) {
    http::Patience patience(clock_);
    for (;;) {
        auto response = client_.send(request, stop);
        if (patience.waited_for(response, stop)) {
            continue;
        }
        check_status(response, kOk, missing);
        check_not_encoded(response);
        return std::move(response.body);
    }
}

std::optional<std::string> HttpSource::checksum(const Wanted& wanted, std::stop_token stop) {
    const auto& version = wanted.version;
    const auto asked = request(version, architecture_.checksums, kMostChecksums);
    const auto where = shown(asked.url);
    const auto sums = text(asked, no_release(version), stop);
    if (signatures_.required()) {
        const auto signature =
            text(request(version, architecture_.checksums + ".sig", kMostSignature),
                 "verify.public_keys asks for a signature, and there is none; have it signed, or "
                 "use a source that is",
                 stop);
        signatures_.check(sums, signature, where);
    }
    return find_checksum(sums, architecture_.binary, where);
}

Fetched HttpSource::fetch(const Wanted& wanted, Sink& sink, std::stop_token stop) {
    const auto expected = *checksum(wanted, stop);
    auto asked = request(wanted.version, architecture_.binary, kMostBinary);
    asked.timeout = kLongest;
    asked.idle_timeout = kStalled;
    const auto where = shown(asked.url);
    HttpDownload download(
        client_, clock_,
        {std::move(asked), Part::binary, architecture_.binary, no_release(wanted.version)}, sink);
    auto actual = download.run(stop);
    if (actual != expected && download.in_pieces()) {
        // A disk that lost what was not synced, a mirror whose machines differ: no proof against
        // the release yet.
        log::info(
            format("{}: the pieces do not make the binary of the checksum file; fetching it "
                   "anew",
                   where));
        actual = download.run_anew(stop);
    }
    if (actual != expected) {
        throw Error(ErrorKind::invalid,
                    format("{}: the binary's SHA-256 is {}, the checksum file says {}; nothing was "
                           "installed",
                           where, actual, expected));
    }
    return {expected};
}

}  // namespace kua::release
