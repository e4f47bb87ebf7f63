// SPDX-License-Identifier: Apache-2.0
#include "lib/http/curl_transfer.hpp"

#include <curl/curl.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"
#include "lib/http/address.hpp"

namespace kua::http {

namespace {

static_assert(CURL_ERROR_SIZE <= 512);

// What may lie unread before libcurl is told to hold back.
constexpr std::size_t kMostPending = 256U << 10U;
constexpr std::size_t kLeastPending = 64U << 10U;
constexpr std::size_t kMostHeaderBytes = 256U << 10U;

int close_socket(void* sockets, curl_socket_t fd) {
    static_cast<Sockets*>(sockets)->close(fd);
    return 0;
}

std::optional<Address> address_of(const curl_sockaddr& socket) {
    Address address{};
    if (socket.family == AF_INET6) {
        sockaddr_in6 ipv6{};
        std::memcpy(&ipv6, &socket.addr, std::min<std::size_t>(sizeof(ipv6), socket.addrlen));
        std::memcpy(address.data(), &ipv6.sin6_addr, address.size());
        return address;
    }
    if (socket.family == AF_INET) {
        sockaddr_in ipv4{};
        std::memcpy(&ipv4, &socket.addr, std::min<std::size_t>(sizeof(ipv4), socket.addrlen));
        address[10] = address[11] = 0xff;
        std::memcpy(&address[12], &ipv4.sin_addr, 4);
        return address;
    }
    return std::nullopt;
}

std::optional<int> status_of(std::string_view line) {
    if (!line.starts_with("HTTP/")) return std::nullopt;
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    int status = 0;
    const auto digits = line.substr(space + 1);
    if (std::from_chars(digits.data(), digits.data() + digits.size(), status).ec != std::errc()) {
        return std::nullopt;
    }
    return status;
}

}  // namespace

Transfer::Transfer(const Request& request, const Url& url, const CurlOptions& options,
                   Sockets* sockets, bool by_redirect)
    : title_(request.method + " " + url.shown),
      body_(request.body),
      timeout_(request.timeout),
      idle_timeout_(request.idle_timeout),
      started_(std::chrono::steady_clock::now()),
      sockets_(sockets),
      most_rate_(request.most_rate),
      // A slow reader takes small pieces, so that the server is never left waiting for long.
      most_pending_(most_rate_ == 0
                        ? kMostPending
                        : std::clamp<std::uint64_t>(most_rate_ / 4, kLeastPending, kMostPending)),
      last_arrival_(started_) {
    head_.url = url.text;
    const std::string proxy = proxy_for(url, options.proxies.value_or(Proxies{}));
    // What a proxy asks for on our behalf is known by name only.
    watches_address_ = by_redirect && proxy.empty();
    headers_ = make_header_list(request.headers);
    easy_ = make_easy(request, body_, url, proxy, options.user_agent, headers_.get());
    CURL* easy = easy_.get();
    set_option(easy, CURLOPT_OPENSOCKETFUNCTION, &Transfer::on_open);
    set_option(easy, CURLOPT_OPENSOCKETDATA, static_cast<void*>(this));
    set_option(easy, CURLOPT_CLOSESOCKETFUNCTION, &close_socket);
    set_option(easy, CURLOPT_CLOSESOCKETDATA, static_cast<void*>(sockets));
    set_option(easy, CURLOPT_PREREQFUNCTION, &Transfer::on_connected);
    set_option(easy, CURLOPT_PREREQDATA, static_cast<void*>(this));
    set_option(easy, CURLOPT_ERRORBUFFER, curl_text_.data());
    set_option(easy, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
    set_option(easy, CURLOPT_HEADERDATA, static_cast<void*>(this));
    set_option(easy, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
    set_option(easy, CURLOPT_WRITEDATA, static_cast<void*>(this));
}

Transfer::~Transfer() = default;

curl_socket_t Transfer::on_open(void* self, curlsocktype /*purpose*/, curl_sockaddr* socket) {
    auto& transfer = *static_cast<Transfer*>(self);
    try {
        const auto address = address_of(*socket);
        if (transfer.watches_address_ && address && is_link_local(*address)) {
            // libcurl goes on with the host's other addresses, if it has some.
            transfer.refused_address_ = true;
            return CURL_SOCKET_BAD;
        }
        return transfer.sockets_->open(socket->family, socket->socktype, socket->protocol);
    } catch (const std::exception&) {  // out of memory; nothing may be thrown through C
        return CURL_SOCKET_BAD;
    }
}

// Before each request, also on a connection that stands already: another request may have made it.
int Transfer::on_connected(void* self, char* remote, char* /*local*/, int /*remote_port*/,
                           int /*local_port*/) {
    auto& transfer = *static_cast<Transfer*>(self);
    try {
        const auto address = parse_address(remote);
        if (transfer.watches_address_ && address && is_link_local(*address)) {
            transfer.refused_address_ = true;
            return CURL_PREREQFUNC_ABORT;
        }
        return CURL_PREREQFUNC_OK;
    } catch (const std::exception&) {
        return CURL_PREREQFUNC_ABORT;
    }
}

Error Transfer::error(ErrorKind kind, std::string_view reason) const {
    return {kind, format("{}: {}", title_, reason)};
}

std::size_t Transfer::on_header(char* data, std::size_t size, std::size_t count, void* self) {
    try {
        const std::string_view line(data, size * count);
        return static_cast<Transfer*>(self)->take_header(line) ? line.size() : 0;
    } catch (const std::exception&) {  // out of memory; nothing may be thrown through C
        return 0;
    }
}

std::size_t Transfer::on_body(char* data, std::size_t size, std::size_t count, void* self) {
    try {
        return static_cast<Transfer*>(self)->take_body({data, size * count});
    } catch (const std::exception&) {
        return 0;
    }
}

bool Transfer::take_header(std::string_view line) {
    const std::lock_guard lock(mutex_);
    last_arrival_ = std::chrono::steady_clock::now();
    header_bytes_ += line.size();
    if (header_bytes_ > kMostHeaderBytes) {
        failure_.emplace(ErrorKind::invalid, "the answer's headers are too long");
        return false;
    }
    if (head_complete_) return true;  // trailers
    line = trim(line);
    if (const auto status = status_of(line)) {
        head_.status = *status;
        head_.headers.clear();
    } else if (line.empty()) {
        // A status below 200 announces another one ("103 Early Hints").
        head_complete_ = head_.status >= 200;
        if (head_complete_) changed_.notify_all();
    } else if (const std::size_t colon = line.find(':'); colon != std::string_view::npos) {
        const std::string_view value = trim(line.substr(colon + 1));
        auto [place, fresh] =
            head_.headers.try_emplace(std::string(line.substr(0, colon)), std::string(value));
        if (!fresh) place->second.append(", ").append(value);
    }
    return true;
}

std::size_t Transfer::take_body(std::string_view data) {
    const std::lock_guard lock(mutex_);
    last_arrival_ = std::chrono::steady_clock::now();
    if (!pending_.empty() && pending_.size() + data.size() > most_pending_) {
        held_back_ = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    pending_.append(data);
    changed_.notify_all();
    return data.size();
}

void Transfer::finish(int curl_code) {
    const auto code = static_cast<CURLcode>(curl_code);
    const std::lock_guard lock(mutex_);
    if (code != CURLE_OK && !failure_) {
        if (refused_address_) {
            failure_.emplace(ErrorKind::invalid,
                             "another server redirects here, to a link-local address: refused");
        } else {
            auto [kind, reason] = verdict_of(easy_.get(), code, curl_text_.data());
            failure_.emplace(kind, std::move(reason));
        }
    }
    finished_ = true;
    changed_.notify_all();
}

void Transfer::abandon() {
    const std::lock_guard lock(mutex_);
    failure_.emplace(ErrorKind::stopped, "stopped");
    finished_ = true;
    changed_.notify_all();
}

// The caller keeps the time, not libcurl: libcurl does not count the time that a transfer waits for
// another's connection (CURLOPT_PIPEWAIT), and knows silence in whole seconds only.
void Transfer::wait(std::unique_lock<std::mutex>& lock, const std::stop_token& stop,
                    bool for_head) {
    const auto come = [&] { return finished_ || (for_head ? head_complete_ : !pending_.empty()); };
    const Monotonic waiting_since = std::chrono::steady_clock::now();
    for (;;) {
        if (stop.stop_requested()) throw error(ErrorKind::stopped, "stopped");
        if (come()) return;
        Monotonic until = Monotonic::max();
        if (timeout_ > Duration::zero()) until = started_ + timeout_;
        const Monotonic silent_until = std::max(waiting_since, last_arrival_) + idle_timeout_;
        const bool idle_first = idle_timeout_ > Duration::zero() && silent_until < until;
        if (idle_first) until = silent_until;
        const Duration piece = longest_piece();
        const Waiting waiting(piece);
        const Monotonic piece_end = std::chrono::steady_clock::now() + piece;
        if (changed_.wait_until(lock, stop, std::min(until, piece_end), come)) continue;
        if (stop.stop_requested() || std::chrono::steady_clock::now() < until) continue;
        if (!idle_first) {
            if (last_arrival_ == started_) silent_since_ = started_;
            throw error(ErrorKind::transient, format("not finished within {}", to_text(timeout_)));
        }
        if (std::max(waiting_since, last_arrival_) + idle_timeout_ <= until) {
            silent_since_ = last_arrival_;
            throw error(ErrorKind::transient,
                        format("the server was silent for {}", to_text(idle_timeout_)));
        }
    }
}

std::optional<Monotonic> Transfer::last_arrival() {
    const std::lock_guard lock(mutex_);
    if (last_arrival_ == started_) return std::nullopt;
    return last_arrival_;
}

std::optional<Monotonic> Transfer::silent_since() {
    const std::lock_guard lock(mutex_);
    return silent_since_;
}

Response Transfer::await_head(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    wait(lock, stop, true);
    // A failure in the body is told after the body that did come.
    if (!head_complete_) {
        if (failure_) throw error(failure_->first, failure_->second);
        throw error(ErrorKind::transient, "the connection ended before the answer began");
    }
    return head_;
}

bool Transfer::await_data(std::string& data, bool* resume, const std::stop_token& stop) {
    data.clear();
    std::unique_lock lock(mutex_);
    // Not libcurl's own limit: that one lets megabytes pass and then falls silent for as long as
    // they should have taken.
    const auto now = std::chrono::steady_clock::now();
    if (not_before_ > now) {
        wait_in_pieces(std::chrono::ceil<Duration>(not_before_ - now), stop, [&](Duration piece) {
            return changed_.wait_for(lock, stop, piece, [] { return false; });
        });
    }
    wait(lock, stop, false);
    *resume = std::exchange(held_back_, false);
    if (!pending_.empty()) {
        std::swap(data, pending_);
        if (most_rate_ > 0) {
            constexpr std::uint64_t kMicroseconds = 1'000'000;
            not_before_ = std::chrono::steady_clock::now() +
                          std::chrono::microseconds(data.size() * kMicroseconds / most_rate_);
        }
        return true;
    }
    if (failure_) throw error(failure_->first, failure_->second);
    return false;
}

}  // namespace kua::http
