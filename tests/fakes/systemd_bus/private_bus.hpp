// SPDX-License-Identifier: Apache-2.0
// A D-Bus daemon of a test's own: the real dbus-daemon, on a socket in a temporary folder.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

namespace kua::fakes {

/// Running from construction to destruction, except between `stop` and `start`. Lets everyone own
/// every name.
class PrivateBus {
  public:
    PrivateBus();
    ~PrivateBus();
    PrivateBus(const PrivateBus&) = delete;
    PrivateBus& operator=(const PrivateBus&) = delete;

    /// Stays the same after a restart.
    [[nodiscard]] std::string address() const;

    /// Ends the daemon as `kill -9` would: every connection breaks.
    void stop();
    /// Returns when the daemon takes connections.
    void start();

  private:
    std::filesystem::path folder_;
    pid_t daemon_ = -1;
};

}  // namespace kua::fakes
