// SPDX-License-Identifier: Apache-2.0
#include "lib/http/curl_client.hpp"

#include <curl/curl.h>
#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <map>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/number.hpp"
#include "lib/base/pulse.hpp"
#include "lib/http/address.hpp"
#include "lib/http/curl_transfer.hpp"
#include "lib/http/url.hpp"

namespace kua::http {

namespace {

// Connections that are kept open without a request: the API server, a registry, a release server.
constexpr long kMostIdleConnections = 8;
// A body that nobody asked to have streamed: the text of an error.
constexpr std::uint64_t kMostCollected = 1ULL << 20U;
// libcurl waits for the thread that looks up a name, which can't be stopped: with several name
// servers and search domains (resolv.conf) that takes minutes.
constexpr Duration kLongestLookup = std::chrono::minutes(5);

CurlOptions with_proxies(CurlOptions options) {
    if (!options.proxies) {
        options.proxies = options.proxy_from_environment ? own_proxies() : Proxies{};
    }
    return options;
}

void initialize_curl() {
    static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (code != CURLE_OK) {
        throw Error(ErrorKind::failed, format("libcurl: {}", curl_easy_strerror(code)));
    }
}

}  // namespace

/// The thread that drives all transfers, and how the callers' threads talk to it.
class CurlClient::Engine {
  public:
    explicit Engine(CurlOptions options) : options_(with_proxies(std::move(options))) {
        initialize_curl();
        multi_ = curl_multi_init();
        if (multi_ == nullptr) throw std::bad_alloc();
        curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
        curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, kMostIdleConnections);
        thread_ = std::jthread(
            watched("the HTTP client", [this](const std::stop_token& stop) { run(stop); }));
    }

    ~Engine() {
        thread_.request_stop();
        curl_multi_wakeup(multi_);
        {
            const Waiting waiting(kAsLongAsOthers);
            thread_.join();
        }
        // Their transfers have failed; they may still be on their way out of send() or stream().
        std::unique_lock lock(mutex_);
        callers_left_.wait(lock, [this] { return callers_ == 0; });
        curl_multi_cleanup(multi_);
    }

    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    [[nodiscard]] const CurlOptions& options() const { return options_; }
    Sockets* sockets() { return &sockets_; }

    enum class Deed { start, resume, cancel };

    /// Done soon, in the engine's thread. A cancelled transfer is shared with libcurl until then;
    /// nobody has to wait.
    void ask(Deed deed, const std::shared_ptr<Transfer>& transfer) {
        {
            const std::lock_guard lock(mutex_);
            if (closed_) {
                if (deed == Deed::start) transfer->abandon();
                return;
            }
            orders_.emplace_back(deed, transfer);
        }
        curl_multi_wakeup(multi_);
    }

    void enter() {
        const std::lock_guard lock(mutex_);
        ++callers_;
    }
    void leave() {
        const std::lock_guard lock(mutex_);
        --callers_;
        // Under the lock: the engine may be gone as soon as it is released.
        callers_left_.notify_all();
    }

  private:
    using Orders = std::vector<std::pair<Deed, std::shared_ptr<Transfer>>>;

    void run(const std::stop_token& stop) {
        // Signals are for the program's own thread; and OpenSSL writing to a closed socket must not
        // raise SIGPIPE.
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);

        while (!stop.stop_requested()) {
            obey();
            int running = 0;
            curl_multi_perform(multi_, &running);
            collect();
            // Returns earlier for sockets, libcurl's own timers and curl_multi_wakeup.
            const Duration piece = longest_piece();
            const Waiting waiting(piece);
            curl_multi_poll(multi_, nullptr, 0, static_cast<int>(piece.count()), nullptr);
        }
        close();
    }

    void obey() {
        Orders orders;
        {
            const std::lock_guard lock(mutex_);
            orders.swap(orders_);
        }
        for (const auto& [deed, transfer] : orders) {
            CURL* easy = transfer->easy();
            if (deed == Deed::start) {
                const CURLMcode code = curl_multi_add_handle(multi_, easy);
                if (code == CURLM_OK) {
                    running_.emplace(easy, transfer);
                } else {
                    transfer->finish(CURLE_OUT_OF_MEMORY);
                }
            } else if (running_.contains(easy)) {  // otherwise it has ended meanwhile
                if (deed == Deed::resume) {
                    curl_easy_pause(easy, CURLPAUSE_CONT);
                } else {
                    long local_port = 0;
                    curl_easy_getinfo(easy, CURLINFO_LOCAL_PORT, &local_port);
                    remove(easy);
                    running_.erase(easy);
                    const auto since = transfer->silent_since();
                    if (since && local_port > 0) hang_up_if_dead(local_port, *since);
                }
            }
        }
    }

    // A connection that answers nobody though it stands (a proxy whose other side is gone, a server
    // that hangs) would be taken for the next HTTP/2 request again, and again. client-go pings for
    // that; we go by what came.
    void hang_up_if_dead(long local_port, Monotonic since) {
        for (const auto& [easy, transfer] : running_) {
            long port = 0;
            curl_easy_getinfo(easy, CURLINFO_LOCAL_PORT, &port);
            const auto arrival = transfer->last_arrival();
            if (port == local_port && arrival && *arrival > since) return;
        }
        sockets_.hang_up(local_port);
    }

    void remove(CURL* easy) {
        const Waiting waiting(kLongestLookup);
        curl_multi_remove_handle(multi_, easy);
    }

    void collect() {
        int left = 0;
        while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
            if (message->msg != CURLMSG_DONE) continue;
            // The message lives in the handle: copy before it is removed.
            CURL* easy = message->easy_handle;
            const CURLcode code = message->data.result;
            const auto found = running_.find(easy);
            if (found == running_.end()) continue;
            const std::shared_ptr<Transfer> transfer = found->second;
            running_.erase(found);
            remove(easy);
            transfer->finish(code);
        }
    }

    void close() {
        Orders orders;
        {
            const std::lock_guard lock(mutex_);
            closed_ = true;
            orders.swap(orders_);
        }
        for (const auto& [deed, transfer] : orders) {
            if (deed == Deed::start) transfer->abandon();
        }
        for (const auto& [easy, transfer] : running_) {
            remove(easy);
            transfer->abandon();
        }
        running_.clear();
    }

    const CurlOptions options_;
    Sockets sockets_;
    CURLM* multi_ = nullptr;
    std::map<CURL*, std::shared_ptr<Transfer>> running_;  // only in the engine's thread

    std::mutex mutex_;
    std::condition_variable callers_left_;
    Orders orders_;
    bool closed_ = false;
    int callers_ = 0;

    std::jthread thread_;
};

namespace {

bool is_redirect(int status) {
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// The request for the place that `answer` points to; RFC 9110, 15.4, as browsers and curl read it.
Request redirected(const Request& request, const Url& from, const Url& to, int status) {
    Request next = request;
    next.url = to.text;
    const bool becomes_get = (status == 303 && request.method != "HEAD") ||
                             ((status == 301 || status == 302) && request.method == "POST");
    if (becomes_get) {
        next.method = "GET";
        next.body.clear();
        next.headers.erase("Content-Type");
    }
    if (from.origin != to.origin) {
        for (const char* secret : {"Authorization", "Cookie", "Proxy-Authorization"}) {
            next.headers.erase(secret);
        }
        next.tls.certificate_pem.clear();
        next.tls.key_pem.clear();
    }
    return next;
}

std::optional<std::uint64_t> content_length(const Response& head) {
    return whole_number<std::uint64_t>(head.header("Content-Length"));
}

}  // namespace

/// An exchange under way; ends it when it goes out of scope before the end.
class CurlClient::Reading final : public Answer {
  public:
    Reading(Engine& engine, const Request& request, const Url& url, bool by_redirect)
        : presence_(engine),
          most_(request.most_body),
          transfer_(std::make_shared<Transfer>(request, url, engine.options(), engine.sockets(),
                                               by_redirect)) {
        engine.ask(Engine::Deed::start, transfer_);
    }
    ~Reading() override {
        if (!whole_) presence_.engine.ask(Engine::Deed::cancel, transfer_);
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

    void await_head(const std::stop_token& stop) { head_ = transfer_->await_head(stop); }

    void limit(std::uint64_t most) { most_ = std::min(most_, most); }

    /// Throws when the answer says itself that it is too long. HEAD names a length that does not
    /// come.
    void check_length(const std::string& method) const {
        if (method != "HEAD" && content_length(head_).value_or(0) > most_) throw too_long();
    }

    [[nodiscard]] Error error(ErrorKind kind, std::string_view reason) const {
        return transfer_->error(kind, reason);
    }

    [[nodiscard]] const Response& head() const override { return head_; }

    std::string_view read(const std::stop_token& stop) override {
        if (whole_) return {};
        bool resume = false;
        if (!transfer_->await_data(data_, &resume, stop)) {
            whole_ = true;
            return {};
        }
        if (resume) presence_.engine.ask(Engine::Deed::resume, transfer_);
        taken_ += data_.size();
        if (taken_ > most_) throw too_long();
        return data_;
    }

  private:
    struct Presence {
        Engine& engine;
        explicit Presence(Engine& entered) : engine(entered) { engine.enter(); }
        ~Presence() { engine.leave(); }
        Presence(const Presence&) = delete;
        Presence& operator=(const Presence&) = delete;
    };

    [[nodiscard]] Error too_long() const {
        return error(ErrorKind::invalid,
                     format("the answer is longer than {}", human_bytes(most_)));
    }

    Presence presence_;  // first in, last out: the engine waits for it
    std::uint64_t most_;
    std::uint64_t taken_ = 0;
    bool whole_ = false;
    std::string data_;
    Response head_;
    std::shared_ptr<Transfer> transfer_;
};

CurlClient::CurlClient(CurlOptions options)
    : engine_(std::make_unique<Engine>(std::move(options))) {}

CurlClient::~CurlClient() = default;

std::unique_ptr<CurlClient::Reading> CurlClient::begin(const Request& request,
                                                       const std::stop_token& stop) {
    Request current = request;
    Url url = parse_url(request.url);
    const std::string origin = url.origin;
    bool foreign = false;  // left the place that somebody asked for
    const Monotonic started = std::chrono::steady_clock::now();
    for (int redirects = 0;; ++redirects) {
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped, format("{} {}: stopped", current.method, url.shown));
        }
        auto reading = std::make_unique<Reading>(*engine_, current, url, foreign);
        reading->await_head(stop);
        const Response& head = reading->head();
        const std::string location = head.header("Location");
        if (request.most_redirects == 0 || !is_redirect(head.status) || location.empty()) {
            return reading;
        }
        if (redirects >= request.most_redirects) {
            throw reading->error(ErrorKind::invalid,
                                 format("more than {} redirects", request.most_redirects));
        }
        const Url target = with_context(url.shown, [&] { return resolve_url(url, location); });
        if (url.scheme == "https" && target.scheme != "https") {
            throw reading->error(ErrorKind::invalid,
                                 format("is redirected to {}, without TLS", target.shown));
        }
        foreign = foreign || target.origin != origin;
        const auto address = parse_address(target.host);
        if (foreign && address && is_link_local(*address)) {
            throw reading->error(
                ErrorKind::invalid,
                format("is redirected to {}, a link-local address: refused", target.shown));
        }
        current = redirected(current, url, target, head.status);
        url = target;
        if (request.timeout > Duration::zero()) {
            // One limit for all of it; at least a moment, since zero would mean none.
            const auto spent =
                std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - started);
            current.timeout = std::max(Duration(1), request.timeout - spent);
        }
    }
}

std::unique_ptr<Answer> CurlClient::open(const Request& request, std::stop_token stop) {
    auto reading = begin(request, stop);
    reading->check_length(request.method);
    return reading;
}

Response CurlClient::send(const Request& request, std::stop_token stop) {
    return stream(request, Consumer{}, std::move(stop));
}

Response CurlClient::stream(const Request& request, const Consumer& consumer,
                            std::stop_token stop) {
    const auto reading = begin(request, stop);
    Response response = reading->head();
    const bool wanted =
        consumer.on_data != nullptr && (consumer.on_head == nullptr || consumer.on_head(response));
    if (consumer.on_data != nullptr && !wanted) {
        reading->limit(kMostCollected);
    }
    reading->check_length(request.method);
    for (auto data = reading->read(stop); !data.empty(); data = reading->read(stop)) {
        if (wanted) {
            consumer.on_data(data);
        } else {
            response.body += data;
        }
    }
    return response;
}

}  // namespace kua::http
