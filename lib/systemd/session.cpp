// SPDX-License-Identifier: Apache-2.0
// Written for sdbus-c++ 1.2 (Debian 12). For 2.x: names become strong types (sdbus::ServiceName,
// ObjectPath, InterfaceName, MethodName, SignalName), an error's name likewise, handlers take their
// message by value and an std::optional<sdbus::Error>, finishRegistration goes, and
// createSessionBusConnectionWithAddress keeps its name. Beside `Session`, only dbus_units.cpp uses
// them.
#include "lib/systemd/session.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>

#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"

namespace kua::systemd {

namespace {

constexpr const char* kService = "org.freedesktop.systemd1";

/// The bus or systemd is away, says an error's name; otherwise systemd has answered, and the answer
/// is no.
bool is_absence(std::string_view name) {
    static constexpr std::array<std::string_view, 8> kAway{
        "org.freedesktop.DBus.Error.NoReply",        "org.freedesktop.DBus.Error.Disconnected",
        "org.freedesktop.DBus.Error.NoServer",       "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.Timeout",
        "org.freedesktop.DBus.Error.TimedOut",       "org.freedesktop.DBus.Error.LimitsExceeded"};
    // sd-bus' own errors about its socket are errno values.
    return name.starts_with("System.Error.") ||
           name.starts_with("org.freedesktop.DBus.Error.Spawn.") ||
           std::find(kAway.begin(), kAway.end(), name) != kAway.end();
}

[[noreturn]] void throw_answer(const sdbus::Error& error, std::string_view deed) {
    if (is_absence(error.getName())) {
        throw Error(ErrorKind::transient, format("{}: systemd does not answer: {} ({})", deed,
                                                 one_line(error.getMessage()), error.getName()));
    }
    throw Refusal(
        format("{}: systemd refused: {} ({})", deed, one_line(error.getMessage()), error.getName()),
        error.getName());
}

}  // namespace

/// sdbus-c++ puts the errno's text in brackets behind its own.
Error bus_is_away(const sdbus::Error& error) {
    return {ErrorKind::transient, format("the D-Bus connection failed: {} ({})",
                                         one_line(error.getMessage()), error.getName())};
}

Patience::Patience(Duration timeout, const std::stop_token& stop)
    : stop_(stop),
      // "For ever" must not overflow.
      deadline_(std::chrono::steady_clock::now() +
                std::min<Duration>(timeout, std::chrono::hours(24 * 365))),
      event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      wake_(stop, Wake{event_.get()}) {
    if (!event_) {
        throw Error(ErrorKind::failed, format("making an eventfd: {}", errno_text(errno)));
    }
}

void Patience::check_stop() const {
    if (stop_.stop_requested()) {
        throw Error(ErrorKind::stopped, "waiting for systemd: stopped");
    }
}

Duration Patience::left() const {
    return std::max(Duration(0),
                    std::chrono::ceil<Duration>(deadline_ - std::chrono::steady_clock::now()));
}

void Patience::Wake::operator()() const noexcept { ::eventfd_write(event, 1); }

Session::Session(const std::string& address)
    : connection_(address.empty() ? sdbus::createSystemBusConnection()
                                  : sdbus::createSessionBusConnectionWithAddress(address)) {}

std::unique_ptr<sdbus::IProxy> Session::proxy(const std::string& path) {
    return sdbus::createProxy(*connection_, kService, path);
}

bool Session::is_alive() {
    try {
        while (connection_->processPendingRequest()) {
        }
        return true;
    } catch (const sdbus::Error&) {
        return false;
    }
}

bool Session::turn(const Patience& patience) {
    patience.check_stop();
    if (connection_->processPendingRequest()) {
        return true;
    }
    const Duration left = patience.left();
    if (left == Duration(0)) {
        return false;
    }
    const auto data = connection_->getEventLoopPollData();
    std::array<pollfd, 2> watched{{{data.fd, data.events, 0}, {patience.event(), POLLIN, 0}}};
    Duration timeout = std::min(left, longest_piece());
    if (const auto relative = data.getRelativeTimeout()) {
        timeout = std::min(timeout, std::chrono::ceil<Duration>(*relative));
    }
    const Waiting waiting(timeout);
    if (::poll(watched.data(), watched.size(), static_cast<int>(timeout.count())) < 0 &&
        errno != EINTR) {
        throw Error(ErrorKind::failed, format("waiting for D-Bus: {}", errno_text(errno)));
    }
    return true;
}

sdbus::MethodReply Session::answer_to(sdbus::MethodCall& message, sdbus::IProxy& proxy,
                                      const Patience& patience, const std::string& method) {
    struct Outcome {
        std::optional<sdbus::MethodReply> reply;
        std::optional<sdbus::Error> error;
    };
    const auto outcome = std::make_shared<Outcome>();
    auto pending = proxy.callMethod(
        message,
        [outcome](sdbus::MethodReply& reply, const sdbus::Error* error) {
            if (error != nullptr) {
                outcome->error = *error;
            } else {
                outcome->reply = reply;
            }
        },
        std::min(kCallTimeout, patience.left() + Duration(1)));
    while (!outcome->reply && !outcome->error) {
        if (!turn(patience)) {
            pending.cancel();
            throw Error(ErrorKind::transient, format("{}: no answer from systemd in time", method));
        }
    }
    if (outcome->error) {
        throw_answer(*outcome->error, method);
    }
    return std::move(*outcome->reply);
}

}  // namespace kua::systemd
