// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/client.hpp"

#include <charconv>
#include <limits>
#include <utility>

#include "lib/base/format.hpp"

namespace kua::kube {

namespace {

// etcd takes no object above 1.5 MiB by default; a watch's line holds one.
constexpr std::size_t kMostLine = 16U << 20U;

std::string words(int status) {
    switch (status) {
        case 400:
            return "bad request";
        case 401:
            return "unauthorized";
        case 403:
            return "forbidden";
        case 404:
            return "not found";
        case 409:
            return "conflict";
        case 410:
            return "gone";
        case 422:
            return "unprocessable";
        case 429:
            return "too many requests";
        case 500:
            return "internal server error";
        case 502:
            return "bad gateway";
        case 503:
            return "service unavailable";
        case 504:
            return "gateway timeout";
        default:
            return format("status {}", status);
    }
}

/// Several may come at once, and their memory grows in doublings. Lists are asked for in pages
/// (watch.cpp).
constexpr std::uint64_t kMostAnswer = 16ULL << 20U;

http::Request make_request(const Kubeconfig& config, const Call& call) {
    http::Request request;
    request.method = call.method;
    request.url = config.server + call.path;
    char separator = '?';
    for (const auto& [name, value] : call.query) {
        request.url += format("{}{}={}", separator, url_encode(name), url_encode(value));
        separator = '&';
    }
    request.headers.emplace("Accept", "application/json");
    if (!config.token.empty()) request.headers.emplace("Authorization", "Bearer " + config.token);
    if (!call.body.is_null()) {
        request.headers.emplace("Content-Type", call.content_type);
        request.body = call.body.dump();
    }
    request.tls = config.tls;
    request.timeout = call.timeout;
    request.most_body = kMostAnswer;
    return request;
}

Answer make_answer(const http::Response& response, std::string_view what) {
    Answer answer;
    answer.status = response.status;
    if (!response.body.empty()) {
        try {
            answer.body = parse_json(response.body, what);
        } catch (const Error&) {
            if (answer.ok()) throw;
            // A refusal from before the API's own code: "404 page not found", a load balancer's
            // HTML.
            answer.body = Json{{"message", excerpt(response.body, 200)}};
        }
    }
    const std::string after = response.header("Retry-After");
    int seconds = 0;
    const auto [end, code] = std::from_chars(after.data(), after.data() + after.size(), seconds);
    if (code == std::errc() && end == after.data() + after.size() && seconds >= 0) {
        answer.retry_after = std::chrono::seconds(seconds);
    }
    return answer;
}

bool was_written_just_now(const std::filesystem::path& path) {
    constexpr std::chrono::seconds kWriting{5};
    std::error_code code;
    const auto written = std::filesystem::last_write_time(path, code);
    const auto age = std::filesystem::file_time_type::clock::now() - written;
    return !code && age < kWriting && age > -kWriting;
}

constexpr std::string_view kPassing = "; it may still be loading its ";

Error passing(const Answer& answer, std::string_view what) {
    return {ErrorKind::transient,
            format("{}: the API server answers {}{}{} after a start ({})", what, answer.status,
                   kPassing, answer.status == 403 ? "RBAC rules" : "CRDs", answer.message())};
}

/// Another selection may be granted, and so may another verb.
std::string request_of(std::string_view verb, const std::string& path, const Query& query) {
    std::string request = format("{} {}", verb, path);
    for (const char* name : {"fieldSelector", "labelSelector"}) {
        const auto selector = query.find(name);
        if (selector != query.end()) request += format(" {}", selector->second);
    }
    return request;
}

/// Where a kind is not served, nothing of the API answers but the server's "404 page not found".
bool is_unknown_kind(const Answer& answer) {
    return answer.status == 404 && string_at(answer.body, {"kind"}) != "Status";
}

// Cuts a stream into lines, each a JSON value.
class Lines {
  public:
    explicit Lines(const std::function<void(const Json&)>& on_line, std::string what)
        : on_line_(on_line), what_(std::move(what)) {}

    void add(std::string_view data) {
        for (;;) {
            const std::size_t end = data.find('\n');
            if (end == std::string_view::npos) break;
            if (begun_.empty()) {
                hand_over(data.substr(0, end));
            } else {
                begun_.append(data.substr(0, end));
                hand_over(begun_);
                begun_.clear();
            }
            data.remove_prefix(end + 1);
        }
        if (begun_.size() + data.size() > kMostLine) {
            throw Error(ErrorKind::invalid,
                        format("{}: a line is longer than {}", what_, human_bytes(kMostLine)));
        }
        begun_.append(data);
    }

  private:
    void hand_over(std::string_view line) {
        line = trim(line);
        if (!line.empty()) on_line_(parse_json(line, what_));
    }

    const std::function<void(const Json&)>& on_line_;
    std::string what_;
    std::string begun_;
};

}  // namespace

std::string Answer::message() const {
    std::string text = string_at(body, {"message"});
    return text.empty() ? words(status) : excerpt(text, 500);
}

Client::Client(http::Client& http, std::filesystem::path kubeconfig, std::function<Monotonic()> now)
    : http_(http), path_(std::move(kubeconfig)), now_(std::move(now)) {}

std::shared_ptr<const Kubeconfig> Client::credentials() {
    const std::lock_guard lock(mutex_);
    if (config_) return config_;
    try {
        config_ = std::make_shared<const Kubeconfig>(read_kubeconfig(path_));
    } catch (const Error& error) {
        // k3s was not there yet: who answers then has just started.
        refusals_.server_may_have_started(now_());
        if (error.kind() != ErrorKind::invalid || !was_written_just_now(path_)) throw;
        throw Error(ErrorKind::transient,
                    format("{} (k3s may be writing it just now)", error.what()));
    }
    return config_;
}

void Client::forget_credentials() {
    server_may_have_started();
    const std::lock_guard lock(mutex_);
    config_.reset();
}

void Client::server_may_have_started() { refusals_.server_may_have_started(now_()); }

bool Client::may_pass(const std::string& request, const Answer& answer, const std::string& what) {
    if (answer.status != 403 && !is_unknown_kind(answer)) {
        // 429 comes before anybody looks what may be done.
        const bool was_looked_at =
            answer.status < 500 && answer.status != 401 && answer.status != 429;
        if (was_looked_at) refusals_.granted(request);
        return false;
    }
    const auto verdict = refusals_.refused(request, answer.message(), now_());
    if (verdict == Refusals::Verdict::starting) throw passing(answer, what);
    return verdict == Refusals::Verdict::may_pass;
}

void Client::hear(const http::Response& response, std::string_view method,
                  const std::string& path) {
    const auto header = response.header("Warning");
    if (!header.empty()) warnings_.hear(header, format("{} {}", method, path));
}

// k3s writes new certificates when it starts, which is also when connections break and are refused.
template <typename Action>
auto Client::with_fresh_credentials_after_failure(Action&& action) {
    try {
        return action();
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::stopped) forget_credentials();
        throw;
    }
}

Answer Client::call(const Call& call, std::stop_token stop, bool keep_429) {
    const auto config = credentials();
    const http::Request request = make_request(*config, call);
    const http::Response response =
        with_fresh_credentials_after_failure([&] { return http_.send(request, std::move(stop)); });
    hear(response, call.method, call.path);
    const std::string what = format("{} {}{}", call.method, config->server, call.path);
    Answer answer = make_answer(response, what);
    if (answer.status == 401) {
        forget_credentials();
        throw Error(ErrorKind::transient,
                    format("{}: the API server does not accept the credentials of {} ({})", what,
                           path_.string(), answer.message()));
    }
    answer.may_pass = may_pass(request_of(call.method, call.path, call.query), answer, what);
    if (answer.status >= 500 && answer.status <= 599) server_may_have_started();
    if ((answer.status == 429 && !keep_429) || (answer.status >= 500 && answer.status <= 599)) {
        throw Error(ErrorKind::transient,
                    format("{}: {} {}", what, answer.status, answer.message()));
    }
    return answer;
}

http::Response Client::get_text(const std::string& path, const Query& query, std::stop_token stop) {
    const auto config = credentials();
    Call call;
    call.path = path;
    call.query = query;
    http::Request request = make_request(*config, call);
    request.headers["Accept"] = "text/plain, */*";
    auto response =
        with_fresh_credentials_after_failure([&] { return http_.send(request, std::move(stop)); });
    if (response.status == 401) {
        forget_credentials();
        throw Error(ErrorKind::transient,
                    format("GET {}{}: the API server does not accept the credentials of {}",
                           config->server, path, path_.string()));
    }
    hear(response, call.method, path);
    if (response.status == 403) {
        const std::string what = format("GET {}{}", config->server, path);
        may_pass(request_of(call.method, path, query), make_answer(response, what), what);
    }
    return response;
}

Json Client::must(const Call& call, std::stop_token stop) {
    Answer answer = this->call(call, std::move(stop));
    if (!answer.ok()) throw refusal(answer, format("{} {}", call.method, call.path));
    return std::move(answer.body);
}

std::optional<Json> Client::get(const std::string& path, std::stop_token stop) {
    Call call;
    call.path = path;
    Answer answer = this->call(call, std::move(stop));
    if (answer.status == 404) return std::nullopt;
    if (!answer.ok()) throw refusal(answer, "GET " + path);
    return std::move(answer.body);
}

Answer Client::watch(const std::string& path, const Query& query, Duration idle,
                     const std::function<void(const Json&)>& on_line, std::stop_token stop,
                     const std::function<void()>& on_open) {
    const auto config = credentials();
    Call call;
    call.path = path;
    call.query = query;
    call.timeout = Duration::zero();
    http::Request request = make_request(*config, call);
    request.idle_timeout = idle;
    request.most_body = std::numeric_limits<std::uint64_t>::max();

    const std::string what = format("watching {}{}", config->server, path);
    Lines lines(on_line, what);
    http::Consumer consumer;
    const std::string request_name = request_of("WATCH", path, query);
    consumer.on_head = [&](const http::Response& head) {
        hear(head, "WATCH", path);
        if (head.status != 200) return false;
        refusals_.granted(request_name);
        if (on_open) on_open();
        return true;
    };
    consumer.on_data = [&](std::string_view data) { lines.add(data); };
    const http::Response response = with_fresh_credentials_after_failure(
        [&] { return http_.stream(request, consumer, std::move(stop)); });
    Answer answer = make_answer(response, what);
    if (answer.status == 401) forget_credentials();
    answer.may_pass = may_pass(request_name, answer, what);
    if (answer.status >= 500) server_may_have_started();
    return answer;
}

Error refusal(const Answer& answer, std::string_view what) {
    const int status = answer.status;
    ErrorKind kind = ErrorKind::failed;
    if (status == 403 || status == 404) kind = ErrorKind::invalid;
    if (status == 409 || status == 429 || status >= 500) kind = ErrorKind::transient;
    return {kind, format("{}: {} {}", what, status, answer.message())};
}

Error refusal_with_remedy(const Answer& answer, std::string_view what) {
    if (answer.may_pass) return passing(answer, what);
    Error error = refusal(answer, what);
    if (answer.status == 404) {
        return {error.kind(),
                format("{}: the API server knows no such kind (no CRD): {}", what, kApplyDeploy)};
    }
    if (answer.status == 403) {
        return {error.kind(), format("{}: {}", error.what(), kApplyDeploy)};
    }
    return error;
}

bool is_passing(std::string_view problem) {
    return problem.find(kPassing) != std::string_view::npos;
}

}  // namespace kua::kube
