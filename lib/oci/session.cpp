// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/session.hpp"

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/fs/files.hpp"
#include "lib/http/retry_after.hpp"
#include "lib/http/url.hpp"
#include "lib/oci/authorizer.hpp"

namespace kua::oci {

namespace {

constexpr int kOk = 200;
constexpr int kPartial = 206;
constexpr int kUnauthorized = 401;
constexpr int kNotFound = 404;
constexpr int kTooMany = 429;
constexpr int kMostRedirects = 5;
constexpr Duration kTimeout{30'000};
constexpr Duration kStalled{60'000};
constexpr std::size_t kMostPem = 1U << 20U;
constexpr std::size_t kMostReason = 64U << 10U;

std::string read_pem(const std::string& path, const std::string& key) {
    if (path.empty()) return {};
    auto pem = with_context(key, [&path] { return fs::read_file(path, kMostPem); });
    if (!pem) throw Error(ErrorKind::invalid, format("{}: {} does not exist", key, path));
    return *std::move(pem);
}

/// What a registry's JSON says of its refusal: ` (DENIED: …)`; empty when it says nothing.
std::string reason_of(http::Answer& answer, const std::stop_token& stop) {
    try {
        std::string body;
        for (auto piece = answer.read(stop); !piece.empty(); piece = answer.read(stop)) {
            body += piece;
            if (body.size() > kMostReason) return {};
        }
        const Json parsed = parse_json(body, "answer");
        const Json* errors = find(parsed, {"errors"});
        if (errors == nullptr || !errors->is_array() || errors->empty()) return {};
        const std::string code = string_at(errors->front(), {"code"});
        return code.empty() ? "" : format(" ({})", excerpt(code, 60));
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) throw;
        return {};  // The status says enough.
    }
}

Error refusal(http::Answer& answer, const std::stop_token& stop) {
    const int status = answer.head().status;
    const std::string said = format("answers {}{}", status, reason_of(answer, stop));
    if (status == kUnauthorized || status == 403) {
        return {ErrorKind::invalid,
                said + ": correct configs.<host>.auth in registries.yaml, or the image's name"};
    }
    const bool again = status >= 500 || status == kTooMany || status == 408;
    return {again ? ErrorKind::transient : ErrorKind::invalid, said};
}

bool is_same_origin(const std::string& left, const std::string& right) {
    return http::parse_url(left).origin == http::parse_url(right).origin;
}

}  // namespace

Session::Session(http::Client& client, Clock& clock, Endpoint endpoint, std::uint64_t most_rate)
    : client_(client), clock_(clock), endpoint_(std::move(endpoint)), most_rate_(most_rate) {}

std::string Session::name() const { return endpoint_.url; }

void Session::load_tls() {
    if (loaded_) return;
    const TlsFiles& files = endpoint_.tls;
    tls_.ca_pem = read_pem(files.ca_file, files.named + ".ca_file");
    tls_.certificate_pem = read_pem(files.cert_file, files.named + ".cert_file");
    tls_.key_pem = read_pem(files.key_file, files.named + ".key_file");
    tls_.system_too = true;
    tls_.verify = !files.insecure_skip_verify;
    loaded_ = true;
}

http::Request Session::request(const Wanted& wanted) const {
    http::Request request;
    request.url = format("{}/{}/{}", endpoint_.url, endpoint_.repository, wanted.path);
    if (!endpoint_.mirrored.empty()) request.url += "?ns=" + url_encode(endpoint_.mirrored);
    request.tls = tls_;
    request.most_redirects = kMostRedirects;
    request.most_body = wanted.most_body;
    request.timeout = wanted.stalls ? Duration::zero() : kTimeout;
    request.idle_timeout = kStalled;
    if (wanted.stalls) request.most_rate = most_rate_;
    if (!wanted.accept.empty()) request.headers["Accept"] = wanted.accept;
    if (!authorization_.empty()) request.headers["Authorization"] = authorization_;
    if (wanted.offset > 0) request.headers["Range"] = format("bytes={}-", wanted.offset);
    return request;
}

std::unique_ptr<http::Answer> Session::ask(const Wanted& wanted, const std::stop_token& stop) {
    bool logged_in = false;
    http::Patience patience(clock_);
    while (true) {
        auto answer = client_.open(request(wanted), stop);
        const http::Response head = answer->head();
        if (head.status == kOk || head.status == kPartial || head.status == kNotFound) {
            return answer;
        }
        // A blob store that it was redirected to gets no credentials.
        if (head.status == kUnauthorized && !logged_in && is_same_origin(head.url, endpoint_.url)) {
            answer.reset();
            authorization_.clear();
            authorization_ =
                authorize(client_, endpoint_, tls_, head.header("WWW-Authenticate"), stop);
            logged_in = true;
            continue;
        }
        const Error refused = refusal(*answer, stop);
        answer.reset();
        if (!patience.waited_for(head, stop)) throw Error(refused);
    }
}

std::unique_ptr<http::Answer> Session::open(const Wanted& wanted, const std::stop_token& stop) {
    try {
        load_tls();
        auto answer = ask(wanted, stop);
        failing_ = false;
        return answer;
    } catch (const Error&) {
        failing_ = true;
        throw;
    }
}

}  // namespace kua::oci
