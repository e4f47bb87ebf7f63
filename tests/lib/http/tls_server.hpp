// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server on TLS whose every answer, and every misbehaviour, the test writes
// itself.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "lib/http/client.hpp"
#include "tests/lib/http/certificates.hpp"

namespace kua::test {

struct Received {
    std::string method;
    std::string target;
    http::Headers headers;
    std::string body;
};

/// One client's connection, in a thread of its own.
class Connection {
  public:
    virtual ~Connection() = default;
    /// The next request; absent when the client has closed.
    virtual std::optional<Received> receive() = 0;
    /// False when the client is gone. When the client does not read for 200 ms, `held_back` is
    /// called, once.
    virtual bool send(std::string_view data, const std::function<void()>& held_back = {}) = 0;
    /// Returns when the client closes (or the server is destroyed).
    virtual void wait_for_close() = 0;
    /// Ends the connection without a goodbye (RST).
    virtual void reset() = 0;
    /// Counts from 1.
    [[nodiscard]] virtual int number() const = 0;
    /// The common name of the client's certificate; empty without one.
    [[nodiscard]] virtual std::string client() const = 0;
};

/// `HTTP/1.1 <status> …` with Content-Length.
std::string answer(int status, std::string_view body, const std::string& headers = {});

/// Listens on 127.0.0.1 from construction to destruction.
class TlsServer {
  public:
    /// `client_ca`: asks clients for a certificate of that authority; empty: does not ask.
    TlsServer(const Identity& identity, std::function<void(Connection&)> handler,
              const std::string& client_ca = {});
    ~TlsServer();
    TlsServer(const TlsServer&) = delete;
    TlsServer& operator=(const TlsServer&) = delete;

    [[nodiscard]] std::string url(const std::string& path) const;
    /// How many connections were accepted so far.
    [[nodiscard]] int connections() const { return accepted_; }

  private:
    struct State;
    void accept_clients();

    std::unique_ptr<State> state_;
    std::function<void(Connection&)> handler_;
    int port_ = 0;
    std::atomic<int> accepted_ = 0;
    std::atomic<bool> closing_ = false;
    std::mutex mutex_;
    std::list<int> open_;
    std::list<std::jthread> clients_;
    std::jthread acceptor_;
};

/// Answers each request with what `reply` makes of it, on connections that stay open.
std::function<void(Connection&)> replying(std::function<std::string(const Received&)> reply);

}  // namespace kua::test
