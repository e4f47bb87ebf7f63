// SPDX-License-Identifier: Apache-2.0
#include "lib/http/curl_sockets.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace kua::http {

namespace {

// Linux gives a connection up when this has passed since the first byte or keep-alive probe that
// was not acknowledged. Without it a connection to a host that vanished, which HTTP/2 requests keep
// using, would stay for a quarter of an hour (the trap that client-go fell into:
// kubernetes/client-go#374).
constexpr unsigned kUserTimeoutMs = 30'000;

long local_port_of(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return -1;
    if (address.ss_family == AF_INET) {
        return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
    }
    if (address.ss_family == AF_INET6) {
        return ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
    }
    return -1;
}

}  // namespace

int Sockets::open(int family, int type, int protocol) {
    // libcurl 7.88 does not ask for close-on-exec itself; the programs that we start must not
    // inherit the connection.
    const int fd = ::socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd < 0) return fd;
    if (type == SOCK_STREAM) {
        // A kernel that does not know it is no reason to do without the connection.
        (void)::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs,
                           sizeof(kUserTimeoutMs));
    }
    open_.insert(fd);
    return fd;
}

void Sockets::close(int fd) {
    open_.erase(fd);
    ::close(fd);
}

void Sockets::hang_up(long local_port) {
    for (const int fd : open_) {
        if (local_port_of(fd) == local_port) ::shutdown(fd, SHUT_RDWR);
    }
}

}  // namespace kua::http
