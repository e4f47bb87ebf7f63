// SPDX-License-Identifier: Apache-2.0
// One connection to the bus, and how long its calls may wait. Private to this folder: it names
// sdbus-c++'s types.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <memory>
#include <stop_token>
#include <string>
#include <utility>

#include "lib/base/clock.hpp"
#include "lib/base/error.hpp"
#include "lib/base/unique_fd.hpp"

namespace kua::systemd {

/// libdbus' and sd-bus' usual limit for one method call.
inline constexpr Duration kCallTimeout{25'000};

/// How long a call may wait, and a descriptor that wakes it when `stop` is requested.
class Patience {
  public:
    /// Throws Error{failed}.
    Patience(Duration timeout, const std::stop_token& stop);

    [[nodiscard]] int event() const { return event_.get(); }
    [[nodiscard]] const std::stop_token& stop() const { return stop_; }

    /// Throws Error{stopped}.
    void check_stop() const;

    /// At least 0; rounded up, so that a wait does not end just before the deadline.
    [[nodiscard]] Duration left() const;

  private:
    struct Wake {
        int event;
        void operator()() const noexcept;
    };

    std::stop_token stop_;
    Monotonic deadline_;
    UniqueFd event_;
    std::stop_callback<Wake> wake_;
};

/// Its socket is read in the caller's thread, inside `turn` and `call`.
class Session {
  public:
    /// `address` is a D-Bus address; empty means the system bus. Throws sdbus::Error.
    explicit Session(const std::string& address);

    /// Of systemd's object at `path`.
    [[nodiscard]] std::unique_ptr<sdbus::IProxy> proxy(const std::string& path);

    /// False when the other side has gone since the last call.
    [[nodiscard]] bool is_alive();

    /// Handles messages that are there, or waits for some; false when the time is over. Throws
    /// sdbus::Error when the connection is gone, Error{stopped}.
    bool turn(const Patience& patience);

    /// Sends the call and waits for its answer, by `turn`, so that signals are taken in the order
    /// in which they come. Throws Error{transient, stopped}, and Refusal, which is Error{failed}.
    template <typename... Arguments>
    sdbus::MethodReply call(sdbus::IProxy& proxy, const Patience& patience,
                            const std::string& interface, const std::string& method,
                            const Arguments&... arguments) {
        auto message = proxy.createMethodCall(interface, method);
        (append(message, arguments), ...);
        return answer_to(message, proxy, patience, method);
    }

    /// `call` for an answer that carries one value.
    template <typename Value, typename... Arguments>
    Value ask(sdbus::IProxy& proxy, const Patience& patience, const std::string& interface,
              const std::string& method, const Arguments&... arguments) {
        auto reply = call(proxy, patience, interface, method, arguments...);
        Value value;
        reply >> value;
        return value;
    }

  private:
    template <typename Argument>
    static void append(sdbus::MethodCall& message, const Argument& argument) {
        message << argument;
    }

    sdbus::MethodReply answer_to(sdbus::MethodCall& message, sdbus::IProxy& proxy,
                                 const Patience& patience, const std::string& method);

    std::unique_ptr<sdbus::IConnection> connection_;
};

/// systemd has answered a call with an error: Error{failed}.
class Refusal : public Error {
  public:
    Refusal(const std::string& message, std::string name)
        : Error(ErrorKind::failed, message), name_(std::move(name)) {}

    /// D-Bus's name of the error, `org.freedesktop.systemd1.NoSuchUnit`.
    [[nodiscard]] const std::string& name() const { return name_; }

  private:
    std::string name_;
};

/// What an error of the connection itself becomes: Error{transient}.
Error bus_is_away(const sdbus::Error& error);

/// An adapter's edge: whatever sdbus-c++ throws about the connection itself is Error{transient}.
template <typename Action>
auto at_the_edge(Action&& action) -> decltype(action()) {
    try {
        return action();
    } catch (const sdbus::Error& error) {
        throw bus_is_away(error);
    }
}

}  // namespace kua::systemd
