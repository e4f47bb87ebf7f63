// SPDX-License-Identifier: Apache-2.0
// http::Client with libcurl: one thread drives all transfers, so that HTTP/2 shares one connection
// per server.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "lib/http/client.hpp"
#include "lib/http/proxies.hpp"

namespace kua::http {

struct CurlOptions {
    std::string user_agent = "k3s-upgrade-agent";
    /// Without `proxies`: they come from this process's environment (https_proxy, no_proxy) when
    /// true; no proxy at all when false.
    bool proxy_from_environment = true;
    std::optional<Proxies> proxies{};
};

/// Owns a thread and libcurl's multi handle. Requests to one server with the same credentials go
/// over one connection where HTTP/2 allows. Transfers under way fail with Error{stopped} when the
/// client goes.
class CurlClient final : public Client {
  public:
    explicit CurlClient(CurlOptions options = {});
    ~CurlClient() override;
    CurlClient(const CurlClient&) = delete;
    CurlClient& operator=(const CurlClient&) = delete;

    Response send(const Request& request, std::stop_token stop) override;
    Response stream(const Request& request, const Consumer& consumer,
                    std::stop_token stop) override;
    std::unique_ptr<Answer> open(const Request& request, std::stop_token stop) override;

  private:
    class Engine;
    class Reading;
    /// Follows redirects; what it gives has its head.
    std::unique_ptr<Reading> begin(const Request& request, const std::stop_token& stop);

    std::unique_ptr<Engine> engine_;
};

}  // namespace kua::http
