// SPDX-License-Identifier: Apache-2.0
// Time zones of the host's tz database: what the clock on a wall shows, and when it shows it.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "lib/base/clock.hpp"

namespace kua::time {

/// A date, and a date with a time of day, as a clock on a wall shows them: without a zone.
using LocalDate = std::chrono::local_days;
using LocalTime = std::chrono::local_seconds;

/// The rules of one time zone; a value, cheap to copy. It judges as Go's `time` package does, which
/// is what system-upgrade-controller uses.
///
/// The database is read once, when the first zone but UTC is asked for: a new tzdata package counts
/// from the agent's next start. Daylight saving is known as far as the database's table goes (2037
/// on Debian 12).
class Zone {
  public:
    /// UTC.
    Zone() = default;

    /// Takes the names that Go's time.LoadLocation takes: "" and "UTC" are UTC (and need no
    /// database), "Local" is the host's own zone (UTC without /etc/localtime), anything else is a
    /// name from the database, such as Europe/Berlin, spelled as there. Throws Error{invalid} that
    /// names a zone the host doesn't know.
    static Zone find(const std::string& name);

    /// `Europe/Berlin`; `UTC`. For "Local", the name of the host's zone.
    [[nodiscard]] const std::string& name() const;

    /// What the clock shows at `time`, without the part of a second.
    [[nodiscard]] LocalTime local(WallTime time) const;

    /// When the clock shows `local`, by the rule of Go's time.Date. A time that comes twice, when
    /// clocks are set back, is the second one east of Greenwich (and in it), the first one west of
    /// it. A time that is skipped is taken as that much after the change in the east (02:30 is
    /// 03:30), and before it in the west (02:30 is 01:30).
    [[nodiscard]] WallTime wall(LocalTime local) const;

    /// The first moment at which the date is `date`; where midnight is skipped, the moment of the
    /// change.
    [[nodiscard]] WallTime begin(LocalDate date) const;

  private:
    struct Rules;

    std::shared_ptr<const Rules> rules_;  ///< None for UTC.
};

}  // namespace kua::time
