// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/kube/tcp_proxy.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <stdexcept>
#include <utility>

namespace kua::test {

namespace {

sockaddr_in on_loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    return address;
}

// Several sockets may be bound to one port when all of them say so.
UniqueFd bound_socket(int port) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int yes = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes));
    const sockaddr_in address = on_loopback(port);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        throw std::runtime_error("the test's proxy can't bind");
    }
    return fd;
}

}  // namespace

TcpProxy::TcpProxy(int target) : target_(target), place_(bound_socket(0)) {
    sockaddr_in address{};
    socklen_t size = sizeof(address);
    ::getsockname(place_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    restore();
}

TcpProxy::~TcpProxy() {
    refuse();
    threads_.clear();
}

void TcpProxy::restore() {
    refusing_ = false;
    listener_ = bound_socket(port_);
    if (::listen(listener_.get(), 128) != 0) throw std::runtime_error("the proxy can't listen");
    acceptor_ = std::jthread([this] { accept_clients(); });
}

void TcpProxy::refuse() {
    refusing_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);  // wakes accept
    if (acceptor_.joinable()) acceptor_.join();
    listener_.reset();
    cut();
}

void TcpProxy::cut() {
    const std::lock_guard lock(mutex_);
    for (const Pair& pair : pairs_) {
        ::shutdown(pair.client.get(), SHUT_RDWR);
        ::shutdown(pair.server.get(), SHUT_RDWR);
    }
}

void TcpProxy::accept_clients() {
    while (!refusing_) {
        UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!client) continue;
        UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const sockaddr_in address = on_loopback(target_);
        if (::connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
            0) {
            continue;
        }
        ++accepted_;
        const int from = client.get();
        const int to = server.get();
        const std::lock_guard lock(mutex_);
        Pair& pair = pairs_.emplace_back();  // until the proxy goes
        pair.client = std::move(client);
        pair.server = std::move(server);
        threads_.emplace_back([=, &pair] { pass_on(from, to, pair.stalled); });
        threads_.emplace_back([=, &pair] { pass_on(to, from, pair.stalled); });
    }
}

void TcpProxy::stall() {
    const std::lock_guard lock(mutex_);
    for (Pair& pair : pairs_) pair.stalled = true;
}

void TcpProxy::pass_on(int from, int to, const std::atomic<bool>& stalled) {
    std::array<char, 16'384> buffer{};
    for (;;) {
        const ssize_t count = ::recv(from, buffer.data(), buffer.size(), 0);
        if (count <= 0) break;
        if (stalled) continue;  // swallowed
        for (ssize_t sent = 0; sent < count;) {
            const ssize_t some = ::send(to, buffer.data() + sent,
                                        static_cast<std::size_t>(count - sent), MSG_NOSIGNAL);
            if (some <= 0) return;
            sent += some;
        }
    }
    ::shutdown(to, SHUT_RDWR);
}

}  // namespace kua::test
