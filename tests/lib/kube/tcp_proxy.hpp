// SPDX-License-Identifier: Apache-2.0
// A TCP proxy that counts connections, cuts them, and refuses new ones for as long as a test wants.
#pragma once

#include <atomic>
#include <list>
#include <mutex>
#include <thread>

#include "lib/base/unique_fd.hpp"

namespace kua::test {

/// Stands on 127.0.0.1 and passes bytes on to 127.0.0.1:`target`.
class TcpProxy {
  public:
    explicit TcpProxy(int target);
    ~TcpProxy();
    TcpProxy(const TcpProxy&) = delete;
    TcpProxy& operator=(const TcpProxy&) = delete;

    [[nodiscard]] int port() const { return port_; }
    /// How many connections were accepted so far.
    [[nodiscard]] int connections() const { return accepted_; }
    /// Ends every connection now.
    void cut();
    /// Passes nothing on any more over the connections of now, without ending them.
    void stall();
    /// Ends every connection, and refuses new ones until `restore`.
    void refuse();
    void restore();

  private:
    struct Pair {
        UniqueFd client;
        UniqueFd server;
        std::atomic<bool> stalled = false;
    };
    void accept_clients();
    static void pass_on(int from, int to, const std::atomic<bool>& stalled);

    int target_;
    int port_ = 0;
    UniqueFd place_;  // bound, not listening: keeps the port while nobody listens
    UniqueFd listener_;
    std::atomic<int> accepted_ = 0;
    std::atomic<bool> refusing_ = false;
    std::mutex mutex_;
    std::list<Pair> pairs_;
    std::list<std::jthread> threads_;
    std::jthread acceptor_;
};

}  // namespace kua::test
