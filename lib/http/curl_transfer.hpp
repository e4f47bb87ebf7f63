// SPDX-License-Identifier: Apache-2.0
// One exchange under way: filled by CurlClient's thread, emptied by the caller's. Private to this
// folder.
#pragma once

#include <array>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/http/client.hpp"
#include "lib/http/curl_client.hpp"
#include "lib/http/curl_easy.hpp"
#include "lib/http/curl_sockets.hpp"
#include "lib/http/url.hpp"

namespace kua::http {

/// Owns libcurl's easy handle and everything its callbacks touch, so that a caller may walk away at
/// any moment: whoever lets go last (the caller or the client's thread) frees it.
class Transfer {
  public:
    /// Throws Error{invalid} for a request that can't be made. `sockets` lives as long as the
    /// connections. `by_redirect`: the server that answers must not be a link-local one.
    Transfer(const Request& request, const Url& url, const CurlOptions& options, Sockets* sockets,
             bool by_redirect);
    ~Transfer();
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;

    // For the client's thread.

    [[nodiscard]] CURL* easy() const { return easy_.get(); }
    /// libcurl is done with it; `curl_code` is its verdict.
    void finish(int curl_code);
    /// When the last byte came; absent when none did.
    std::optional<Monotonic> last_arrival();
    /// Since when nothing came, if the caller gave up because of that.
    std::optional<Monotonic> silent_since();
    /// The client goes away.
    void abandon();

    // For the caller's thread. Both throw the exchange's failure, a timeout, or Error{stopped}.

    /// Waits for status and headers.
    Response await_head(const std::stop_token& stop);
    /// Waits for data and moves what came since the last call into `data`; false at the end of a
    /// whole answer.
    /// `*resume` tells that libcurl was held back and has to be told to go on.
    bool await_data(std::string& data, bool* resume, const std::stop_token& stop);

    /// `GET https://example.org/x: <reason>`
    [[nodiscard]] Error error(ErrorKind kind, std::string_view reason) const;

  private:
    static curl_socket_t on_open(void* self, curlsocktype purpose, curl_sockaddr* socket);
    static int on_connected(void* self, char* remote, char* local, int remote_port, int local_port);
    static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self);
    static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self);
    bool take_header(std::string_view line);
    std::size_t take_body(std::string_view data);
    void wait(std::unique_lock<std::mutex>& lock, const std::stop_token& stop, bool for_head);

    const std::string title_;  // "GET https://example.org/x"
    const std::string body_;
    const Duration timeout_;
    const Duration idle_timeout_;
    const Monotonic started_;
    Sockets* const sockets_;
    const std::uint64_t most_rate_;
    const std::size_t most_pending_;
    Monotonic not_before_;  // only in the caller's thread: when it may have more
    bool watches_address_ = false;

    // These only in the client's thread.
    std::array<char, 512> curl_text_{};  // CURLOPT_ERRORBUFFER
    std::size_t header_bytes_ = 0;
    bool refused_address_ = false;

    std::mutex mutex_;
    std::condition_variable_any changed_;
    Response head_;
    bool head_complete_ = false;
    std::string pending_;
    bool held_back_ = false;
    bool finished_ = false;
    // Not yet an Error: copies of one share a text that the threads would release together.
    std::optional<std::pair<ErrorKind, std::string>> failure_;
    Monotonic last_arrival_;
    std::optional<Monotonic> silent_since_;

    HeaderList headers_;
    Easy easy_;  // goes first: it uses all the others
};

}  // namespace kua::http
