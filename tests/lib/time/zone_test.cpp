// SPDX-License-Identifier: Apache-2.0
// Against the host's own tz database. What is expected of skipped and repeated times is what Go's
// time.Date answers.
#include "lib/time/zone.hpp"

#include <gmock/gmock.h>

#include "lib/base/error.hpp"

namespace kua::time {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

LocalDate date(int year, int month, int day) {
    return LocalDate(std::chrono::year(year) / month / day);
}

LocalTime at(LocalDate day, int hour, int minute, int second = 0) {
    return day + hours(hour) + minutes(minute) + seconds(second);
}

TEST(Zone, IsUtcByDefault) {
    for (const Zone& zone : {Zone(), Zone::find(""), Zone::find("UTC")}) {
        EXPECT_EQ(zone.name(), "UTC");
        EXPECT_EQ(zone.local(parse_rfc3339("2026-11-23T21:36:12.9Z")),
                  at(date(2026, 11, 23), 21, 36, 12));
        EXPECT_EQ(to_rfc3339(zone.wall(at(date(2026, 11, 23), 21, 36, 12))),
                  "2026-11-23T21:36:12Z");
        EXPECT_EQ(to_rfc3339(zone.begin(date(2026, 11, 23))), "2026-11-23T00:00:00Z");
    }
}

TEST(Zone, SaysWhatTheClockShows) {
    struct Case {
        std::string zone;
        std::string time;
        LocalTime shown;
    };
    const std::vector<Case> cases = {
        {"Europe/Berlin", "2026-01-15T12:00:00Z", at(date(2026, 1, 15), 13, 0)},
        {"Europe/Berlin", "2026-07-15T12:00:00Z", at(date(2026, 7, 15), 14, 0)},
        {"Europe/Berlin", "2026-07-15T22:00:00Z", at(date(2026, 7, 16), 0, 0)},
        {"America/New_York", "2026-07-15T03:59:59Z", at(date(2026, 7, 14), 23, 59, 59)},
        {"Asia/Kathmandu", "2026-01-15T12:00:00Z", at(date(2026, 1, 15), 17, 45)},
        {"Etc/GMT+5", "2026-01-15T12:00:00Z", at(date(2026, 1, 15), 7, 0)},
        // The two seconds at which the clocks change.
        {"Europe/Berlin", "2026-03-29T00:59:59Z", at(date(2026, 3, 29), 1, 59, 59)},
        {"Europe/Berlin", "2026-03-29T01:00:00Z", at(date(2026, 3, 29), 3, 0)},
        {"Europe/Berlin", "2026-10-25T00:59:59Z", at(date(2026, 10, 25), 2, 59, 59)},
        {"Europe/Berlin", "2026-10-25T01:00:00Z", at(date(2026, 10, 25), 2, 0)},
    };
    for (const auto& [zone, time, shown] : cases) {
        EXPECT_TRUE(Zone::find(zone).local(parse_rfc3339(time)) == shown) << zone << ' ' << time;
    }
}

TEST(Zone, SaysWhenTheClockShowsIt) {
    struct Case {
        std::string name;
        std::string zone;
        LocalTime shown;
        std::string time;
    };
    const std::vector<Case> cases = {
        {"winter", "Europe/Berlin", at(date(2026, 1, 15), 13, 0), "2026-01-15T12:00:00Z"},
        {"summer", "Europe/Berlin", at(date(2026, 7, 15), 14, 0), "2026-07-15T12:00:00Z"},
        {"skipped in the east: an hour later", "Europe/Berlin", at(date(2026, 3, 29), 2, 30),
         "2026-03-29T01:30:00Z"},
        {"just after the skipped hour", "Europe/Berlin", at(date(2026, 3, 29), 3, 0),
         "2026-03-29T01:00:00Z"},
        {"twice in the east: the second", "Europe/Berlin", at(date(2026, 10, 25), 2, 30),
         "2026-10-25T01:30:00Z"},
        {"before what comes twice", "Europe/Berlin", at(date(2026, 10, 25), 1, 59, 59),
         "2026-10-24T23:59:59Z"},
        {"skipped in Greenwich: an hour later", "Europe/London", at(date(2026, 3, 29), 1, 30),
         "2026-03-29T01:30:00Z"},
        {"twice in Greenwich: the second", "Europe/London", at(date(2026, 10, 25), 1, 30),
         "2026-10-25T01:30:00Z"},
        {"skipped in the west: an hour earlier", "America/New_York", at(date(2026, 3, 8), 2, 30),
         "2026-03-08T06:30:00Z"},
        {"twice in the west: the first", "America/New_York", at(date(2026, 11, 1), 1, 30),
         "2026-11-01T05:30:00Z"},
        {"half an hour of daylight saving", "Australia/Lord_Howe", at(date(2026, 10, 4), 2, 15),
         "2026-10-03T15:45:00Z"},
    };
    for (const auto& [name, zone, shown, time] : cases) {
        EXPECT_EQ(to_rfc3339(Zone::find(zone).wall(shown)), time) << name;
    }
}

TEST(Zone, KnowsTheFirstMomentOfADate) {
    EXPECT_EQ(to_rfc3339(Zone::find("Europe/Berlin").begin(date(2026, 3, 29))),
              "2026-03-28T23:00:00Z");
    // Chile goes from 24:00 to 01:00 ...
    EXPECT_EQ(to_rfc3339(Zone::find("America/Santiago").begin(date(2026, 9, 6))),
              "2026-09-06T04:00:00Z");
    // ... and Cuba from 01:00 back to 00:00.
    EXPECT_EQ(to_rfc3339(Zone::find("America/Havana").begin(date(2026, 11, 1))),
              "2026-11-01T04:00:00Z");
}

TEST(Zone, LocalIsTheHostsOwn) {
    const auto zone = Zone::find("Local");
    EXPECT_FALSE(zone.name().empty());
    EXPECT_TRUE(Zone::find(zone.name()).local(WallTime()) == zone.local(WallTime()));
}

TEST(Zone, NamesTheOneItDoesNotKnow) {
    for (const std::string name : {"Mars/Olympus", "europe/berlin", "CEST", "../../../etc/passwd",
                                   "/etc/localtime", " UTC", "UTC+1", "local", "Europe/"}) {
        try {
            Zone::find(name);
            ADD_FAILURE() << name;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid) << name;
            EXPECT_THAT(error.what(), HasSubstr('"' + name + "\" is no time zone")) << name;
        }
    }
}

}  // namespace
}  // namespace kua::time
