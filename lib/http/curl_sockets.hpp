// SPDX-License-Identifier: Apache-2.0
// The sockets that libcurl opens for one CurlClient: how they are set up, and how a dead one is
// hung up. Private to this folder.
#pragma once

#include <set>

namespace kua::http {

/// Only for the client's thread, and after that thread has ended.
class Sockets {
  public:
    /// A new socket, or -1. Close-on-exec; a vanished peer is noticed within a minute (see the
    /// source).
    int open(int family, int type, int protocol);
    void close(int fd);
    /// Shuts the connection down that uses this local port; all its transfers fail then, and nobody
    /// reuses it.
    void hang_up(long local_port);

  private:
    std::set<int> open_;
};

}  // namespace kua::http
