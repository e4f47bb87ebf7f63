// SPDX-License-Identifier: Apache-2.0
// The hours in which a Plan may start on a node (spec.window), judged as
// system-upgrade-controller does.
#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <string>

#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"
#include "lib/time/zone.hpp"

namespace kua::plan {

/// A time window. The rules are those of kured's package timewindow, which SUC uses:
///
/// - The weekday of the moment itself must be among the days, in the window's zone. That holds also
///   past midnight: `days: [sat]`, 22:00 to 02:00, is open on Saturday from 00:00 to 02:00 and from
///   22:00 to 24:00, and closed on Sunday from 00:00 on.
/// - Start and end belong to the window, the end with its whole second (past midnight without that
///   second's last nanosecond). Start and end alike: it is open for that second.
/// - Start later than end: the window goes past midnight.
/// - Where daylight saving skips start or end, or lets it come twice, time::Zone::wall says what it
///   is. So a window may be shorter or longer that day, or not open at all.
/// - No days at all: it never opens.
class Window {
  public:
    /// Reads a TimeWindowSpec: `days` (0 to 6, 0 being Sunday, or su, sun, sunday, and so on, in
    /// lower or upper case), `startTime` and `endTime` (`22:00`, `22:00:30`, `10:00pm`, `22`,
    /// `10pm`; a leading zero may be left out except before a colon and am or pm: what Go's
    /// time.Parse makes of SUC's layouts), `timeZone` (time::Zone::find). `field` stands in
    /// messages ("spec.window"). Throws Error{invalid} that names field, value and what is allowed.
    Window(const Json& window, const std::string& field);

    [[nodiscard]] bool contains(WallTime time) const;

    /// The first moment not before `from` that the window contains; absent when there is none
    /// within two weeks, so that a day that daylight saving takes away is no reason.
    [[nodiscard]] std::optional<WallTime> next_opening(WallTime from) const;

    /// `Sat 22:00 to 02:00 Europe/Berlin`, for people.
    [[nodiscard]] std::string text() const;

  private:
    /// When it opens and closes on a day, both included; the end may come first.
    struct Hours {
        WallTime start;
        WallTime end;
    };
    [[nodiscard]] Hours hours_on(time::LocalDate date) const;

    std::array<bool, 7> days_{};  ///< By std::chrono::weekday::c_encoding: Sunday first.
    std::chrono::seconds start_{0};
    std::chrono::seconds end_{0};
    time::Zone zone_;
};

}  // namespace kua::plan
