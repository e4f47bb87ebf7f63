// SPDX-License-Identifier: Apache-2.0
// Units over D-Bus, with sdbus-c++.
#pragma once

#include <memory>
#include <string>

#include "lib/systemd/units.hpp"

namespace kua::systemd {

/// Talks to org.freedesktop.systemd1. Connects on the first call, and again after the bus went away
/// (`systemctl restart dbus`); while no call is under way it listens to nothing, so that a busy
/// host's signals do not pile up. All happens in the caller's thread. Not for use by two threads at
/// once.
class DbusUnits final : public Units {
  public:
    /// `address` is a D-Bus address (tests: a private bus); empty means the system bus.
    explicit DbusUnits(std::string address = {});
    ~DbusUnits() override;
    DbusUnits(const DbusUnits&) = delete;
    DbusUnits& operator=(const DbusUnits&) = delete;

    std::optional<UnitState> state(const std::string& name) override;
    std::vector<std::string> running_services() override;
    std::vector<UnitProcess> processes(const std::string& name) override;
    JobResult restart(const std::string& name, Duration timeout, std::stop_token stop) override;
    JobResult stop(const std::string& name, Duration timeout, std::stop_token stop) override;
    JobResult start(const std::string& name, Duration timeout, std::stop_token stop) override;
    UnitState wait_settled(const std::string& name, Duration timeout,
                           std::stop_token stop) override;
    std::optional<UnitState> wait_unsettled(const UnitState& settled, Duration timeout,
                                            std::stop_token stop) override;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace kua::systemd
