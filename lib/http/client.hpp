// SPDX-License-Identifier: Apache-2.0
// HTTP as the agent needs it: bounded requests, streamed answers, cancellable at any moment.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "lib/base/clock.hpp"

namespace kua::http {

/// Case-insensitive header names.
struct HeaderLess {
    bool operator()(std::string_view left, std::string_view right) const;
    using is_transparent = void;
};
using Headers = std::map<std::string, std::string, HeaderLess>;

/// Whom to trust and who we are; PEM texts, not paths, so that a rotated certificate is a new
/// connection.
struct Tls {
    std::string ca_pem;           ///< Empty: the system's store.
    std::string certificate_pem;  ///< Empty: no client certificate.
    std::string key_pem;
    /// False: any certificate of any host will do (insecure_skip_verify), also where a redirect
    /// leads.
    bool verify = true;
    /// `ca_pem` counts besides the system's store, where that is a folder of hashed names (as
    /// Debian's is, and Red Hat's is not).
    bool system_too = false;
};

struct Request {
    std::string method = "GET";
    std::string url;
    Headers headers;
    std::string body;
    Tls tls;
    Duration connect_timeout{10'000};
    /// For the whole exchange; zero means no limit (a watch).
    Duration timeout{30'000};
    /// The exchange fails when not a single byte arrives for this long; zero means no limit.
    Duration idle_timeout{0};
    /// A longer answer fails (Error{invalid}); for `stream` it bounds the sum of what the consumer
    /// is given.
    std::uint64_t most_body = 64ULL << 20U;
    /// Bytes of the body per second, on average; zero means no limit. Waiting for that is no
    /// silence, but counts for `timeout`.
    std::uint64_t most_rate = 0;
    /// How many redirects are followed; each must be https when `url` is (a redirect from https to
    /// http fails), and credentials (Authorization, client certificate) are not sent to another
    /// host. Another host with a link-local address fails: it is this host's own business, which a
    /// server must not get at by redirecting.
    int most_redirects = 0;
};

struct Response {
    int status = 0;
    Headers headers;  ///< Of the last answer, when redirects were followed.
    std::string body;
    std::string url;  ///< Where the answer came from, after redirects.

    /// The header's value; empty when it is not there.
    [[nodiscard]] std::string header(std::string_view name) const;
};

/// The consumer of a streamed answer; both are called in the caller's thread, and may throw: the
/// transfer is ended then and the exception goes on to the caller.
struct Consumer {
    /// Once, before the first data; return false to have the body collected into Response::body
    /// instead (bounded by 1 MiB), as one wants it for an error status.
    std::function<bool(const Response& head)> on_head;
    std::function<void(std::string_view data)> on_data;
};

/// An answer that the caller reads at its own pace: what it does not read is held back at the
/// server. Must not outlive its client.
class Answer {
  public:
    virtual ~Answer() = default;
    /// Status, headers and final URL; the body is empty.
    [[nodiscard]] virtual const Response& head() const = 0;
    /// The next piece of the body, good until the next call; empty at the end of the whole answer,
    /// and only there. Throws as Client does; Request::most_body bounds the sum.
    virtual std::string_view read(const std::stop_token& stop) = 0;
};

/// The seam. May be used from several threads at once. Any status is an answer, not an error.
/// Throws Error{transient} when there is no answer (name resolution, refused, reset, timeout; the
/// message names method, URL without query and reason), Error{invalid} for what trying again can't
/// mend (a URL that is none, an untrusted certificate, wrong host name, too long an answer),
/// Error{stopped} on `stop`.
class Client {
  public:
    virtual ~Client() = default;
    virtual Response send(const Request& request, std::stop_token stop) = 0;
    virtual Response stream(const Request& request, const Consumer& consumer,
                            std::stop_token stop) = 0;
    /// Returns when the head is there. Request::timeout goes on running while the caller reads.
    virtual std::unique_ptr<Answer> open(const Request& request, std::stop_token stop) = 0;
};

}  // namespace kua::http
