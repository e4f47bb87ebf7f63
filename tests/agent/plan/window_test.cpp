// SPDX-License-Identifier: Apache-2.0
// The expectations are what Go and kured's timewindow, which system-upgrade-controller uses, say.
#include "agent/plan/window.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"

namespace kua::plan {
namespace {

using std::chrono::hours;
using test::error_of;
using ::testing::HasSubstr;

Json spec(const Json& days, const std::string& start, const std::string& end,
          const std::string& zone = "") {
    Json window = {{"days", days}, {"startTime", start}, {"endTime", end}};
    if (!zone.empty()) {
        window["timeZone"] = zone;
    }
    return window;
}

const Json kDaily = {"0", "1", "2", "3", "4", "5", "6"};

Window window(const Json& days, const std::string& start, const std::string& end,
              const std::string& zone = "") {
    return {spec(days, start, end, zone), "spec.window"};
}

TEST(Window, KnowsEverySpellingOfADay) {
    const std::vector<std::vector<std::string>> spellings = {
        {"0", "su", "sun", "sunday", "Sun"},   {"1", "mo", "mon", "monday", "MONDAY"},
        {"2", "tu", "tue", "tuesday", "Tu"},   {"3", "we", "wed", "wednesday", "wEd"},
        {"4", "th", "thu", "thursday", "Thu"}, {"5", "fr", "fri", "friday", "FR"},
        {"6", "sa", "sat", "saturday", "Sat"},
    };
    const auto sunday = parse_rfc3339("2026-11-22T12:00:00Z");
    for (std::size_t day = 0; day < spellings.size(); ++day) {
        for (const auto& spelling : spellings[day]) {
            const auto one = window(Json::array({spelling}), "00:00", "23:59:59");
            for (std::size_t other = 0; other < spellings.size(); ++other) {
                EXPECT_EQ(one.contains(sunday + hours(24 * other)), day == other)
                    << spelling << ' ' << other;
            }
        }
    }
}

TEST(Window, KnowsEveryFormOfATime) {
    struct Case {
        std::string written;
        std::string time;
    };
    const std::vector<Case> cases = {
        {"22:00", "22:00"},   {"08:05", "08:05"},       {"8:05", "08:05"},
        {"0:00", "00:00"},    {"22:00:30", "22:00:30"}, {"8:00:01", "08:00:01"},
        {"10:00pm", "22:00"}, {"09:05am", "09:05"},     {"12:00am", "00:00"},
        {"12:30pm", "12:30"}, {"00:30pm", "12:30"},     {"22", "22:00"},
        {"8", "08:00"},       {"00", "00:00"},          {"10pm", "22:00"},
        {"03pm", "15:00"},    {"3pm", "15:00"},         {"9am", "09:00"},
        {"12am", "00:00"},    {"12pm", "12:00"},        {"0am", "00:00"},
    };
    for (const auto& [written, time] : cases) {
        EXPECT_EQ(window({"mon"}, written, "23:59").text(), "Mon " + time + " to 23:59 UTC")
            << written;
        EXPECT_EQ(window({"mon"}, "00:00", written).text(), "Mon 00:00 to " + time + " UTC")
            << written;
    }
    for (const char* wrong :
         {"",         "24:00",  "24",    "22:60",  "22:00:60",   "22:0",   "22:00:0",
          "22:00:",   "22:",    ":00",   "3:04pm", "10:00PM",    "13pm",   "13:00pm",
          "10:00 pm", "10:00p", "pm",    "222",    "22:000",     " 22:00", "22:00 ",
          "-1",       "+1",     "22.00", "noon",   "10:00:00pm", "10pmx",  "1e1"}) {
        const auto error = error_of([&] { window({"mon"}, wrong, "23:59"); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << wrong;
        EXPECT_THAT(error.what(), HasSubstr("spec.window.startTime: must be a time of day"));
        EXPECT_THAT(error.what(), HasSubstr("is \"" + std::string(wrong) + "\""));
    }
}

TEST(Window, SaysWhatIsWrong) {
    struct Case {
        Json spec;
        std::string said;
    };
    const std::vector<Case> cases = {
        {"mon", "spec.window: must be a mapping, is \"mon\""},
        {spec("mon", "1", "2"), "spec.window.days: must be a list, is \"mon\""},
        {spec({"mon", "funday"}, "1", "2"), "spec.window.days: \"funday\" is no day; days are"},
        {spec({"7"}, "1", "2"), "spec.window.days: \"7\" is no day"},
        {spec({""}, "1", "2"), "spec.window.days: \"\" is no day"},
        {spec({"m"}, "1", "2"), "spec.window.days: \"m\" is no day"},
        {spec({1}, "1", "2"), "spec.window.days: 1 is no day"},
        {{{"days", {"mon"}}, {"endTime", "2"}},
         "spec.window.startTime: must be a time of day such "
         "as 22:00, 22:00:30, 22, 10:00pm or 10pm, and is "
         "missing"},
        {{{"days", {"mon"}}, {"startTime", "2"}}, "spec.window.endTime: must be"},
        {{{"days", {"mon"}}, {"startTime", "1"}, {"endTime", 2}}, "spec.window.endTime: must be"},
        {spec({"mon"}, "1", "2", "Mars/Olympus"),
         "spec.window.timeZone: \"Mars/Olympus\" is no time zone that this host knows"},
        {{{"startTime", "1"}, {"endTime", "2"}, {"timeZone", 1}},
         "spec.window.timeZone: must be a text, is 1"},
    };
    for (const auto& [spec, said] : cases) {
        const auto error = error_of([&, &read = spec] { Window(read, "spec.window"); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << spec;
        EXPECT_THAT(error.what(), HasSubstr(said)) << spec;
    }
}

TEST(Window, JudgesAsSucDoes) {
    const auto berlin = [](const Json& days, const std::string& start, const std::string& end) {
        return window(days, start, end, "Europe/Berlin");
    };
    struct Case {
        std::string name;
        Window window;
        std::string time;
        bool expected;
    };
    const std::vector<Case> cases = {
        // 2026-11-21 is a Saturday.
        {"before", window({"sat"}, "08:00", "10:00"), "2026-11-21T07:59:59.999Z", false},
        {"the start belongs to it", window({"sat"}, "08:00", "10:00"), "2026-11-21T08:00:00Z",
         true},
        {"so does the end", window({"sat"}, "08:00", "10:00"), "2026-11-21T10:00:00Z", true},
        {"with its whole second", window({"sat"}, "08:00", "10:00"),
         "2026-11-21T10:00:00.999999999Z", true},
        {"and no more", window({"sat"}, "08:00", "10:00"), "2026-11-21T10:00:01Z", false},
        {"another day", window({"sat"}, "08:00", "10:00"), "2026-11-22T09:00:00Z", false},
        {"one second", window({"sat"}, "08:00", "08:00"), "2026-11-21T08:00:00.5Z", true},
        {"after that second", window({"sat"}, "08:00", "08:00"), "2026-11-21T08:00:01Z", false},
        {"no days", window(Json::array(), "00:00", "23:59"), "2026-11-21T09:00:00Z", false},

        {"past midnight, in the evening", window({"sat"}, "22:00", "02:00"), "2026-11-21T22:00:00Z",
         true},
        {"past midnight, the next day is another", window({"sat"}, "22:00", "02:00"),
         "2026-11-22T01:00:00Z", false},
        {"past midnight, the morning of the same day", window({"sat"}, "22:00", "02:00"),
         "2026-11-21T01:00:00Z", true},
        {"past midnight, its end", window({"sat"}, "22:00", "02:00"), "2026-11-21T02:00:00.9Z",
         true},
        {"past midnight, the end's last nanosecond", window({"sat"}, "22:00", "02:00"),
         "2026-11-21T02:00:00.999999999Z", false},
        {"past midnight, in between", window({"sat"}, "22:00", "02:00"), "2026-11-21T12:00:00Z",
         false},
        {"past midnight on both days", window({"sat", "sun"}, "22:00", "02:00"),
         "2026-11-22T01:00:00Z", true},

        {"a zone's day is not UTC's", berlin({"sat"}, "00:00", "01:00"), "2026-11-20T23:30:00Z",
         true},
        {"and ends before UTC's", berlin({"sat"}, "23:00", "23:59"), "2026-11-21T23:30:00Z", false},
        {"winter time", berlin({"sat"}, "08:00", "10:00"), "2026-11-21T07:00:00Z", true},
        {"winter time, before", berlin({"sat"}, "08:00", "10:00"), "2026-11-21T06:59:59Z", false},
        {"summer time", berlin({"sat"}, "08:00", "10:00"), "2026-07-18T06:00:00Z", true},
        {"summer time, after", berlin({"sat"}, "08:00", "10:00"), "2026-07-18T08:00:01Z", false},

        // 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC. 2026-10-25: 03:00 becomes 02:00 then.
        {"a skipped start is an hour later", berlin({"sun"}, "02:30", "05:00"),
         "2026-03-29T01:29:59Z", false},
        {"from then on", berlin({"sun"}, "02:30", "05:00"), "2026-03-29T01:30:00Z", true},
        {"a skipped end is an hour later", berlin({"sun"}, "01:00", "02:30"),
         "2026-03-29T01:30:00Z", true},
        {"a repeated start is the second", berlin({"sun"}, "02:30", "05:00"),
         "2026-10-25T00:45:00Z", false},
        {"from the second on", berlin({"sun"}, "02:30", "05:00"), "2026-10-25T01:30:00Z", true},
        {"a repeated end is the second", berlin({"sun"}, "01:00", "02:30"), "2026-10-25T01:30:00Z",
         true},
        {"past midnight into the change", berlin({"sun"}, "22:00", "02:30"), "2026-10-25T01:15:00Z",
         true},
        {"in the west a repeated start is the first",
         window({"sun"}, "01:30", "05:00", "America/New_York"), "2026-11-01T05:30:00Z", true},
        {"in the west a skipped end is an hour earlier: closed for that day",
         window({"sun"}, "01:50", "02:10", "America/New_York"), "2026-03-08T06:55:00Z", false},
    };
    for (const auto& [name, window, time, expected] : cases) {
        EXPECT_EQ(window.contains(parse_rfc3339(time)), expected) << name;
    }
}

TEST(Window, KnowsWhenItOpensNext) {
    struct Case {
        std::string name;
        Window window;
        std::string from;
        std::string opens;
    };
    const std::vector<Case> cases = {
        {"it is open", window({"sat"}, "08:00", "10:00"), "2026-11-21T09:30:00.500000Z",
         "2026-11-21T09:30:00.500000Z"},
        {"later today", window({"sat"}, "08:00", "10:00"), "2026-11-21T00:00:00Z",
         "2026-11-21T08:00:00.000000Z"},
        {"next week", window({"sat"}, "08:00", "10:00"), "2026-11-21T10:00:01Z",
         "2026-11-28T08:00:00.000000Z"},
        {"the next of its days", window({"mon", "thu"}, "8", "10"), "2026-11-21T12:00:00Z",
         "2026-11-23T08:00:00.000000Z"},
        {"past midnight: with the day", window({"sat"}, "22:00", "02:00"), "2026-11-20T22:30:00Z",
         "2026-11-21T00:00:00.000000Z"},
        {"past midnight: in the evening", window({"sat"}, "22:00", "02:00"), "2026-11-21T02:00:01Z",
         "2026-11-21T22:00:00.000000Z"},
        {"in its zone", window({"sat"}, "22:00", "23:00", "America/New_York"),
         "2026-11-21T12:00:00Z", "2026-11-22T03:00:00.000000Z"},
        {"an hour later where it is skipped", window({"sun"}, "02:30", "05:00", "Europe/Berlin"),
         "2026-03-28T12:00:00Z", "2026-03-29T01:30:00.000000Z"},
        {"with the second one of what comes twice",
         window({"sun"}, "02:30", "05:00", "Europe/Berlin"), "2026-10-24T12:00:00Z",
         "2026-10-25T01:30:00.000000Z"},
        {"with the change where the day begins with it",
         window({"sun"}, "22:00", "05:00", "America/Santiago"), "2026-09-05T20:00:00Z",
         "2026-09-06T04:00:00.000000Z"},
        {"a week later where daylight saving closes it",
         window({"sun"}, "01:50", "02:10", "America/New_York"), "2026-03-01T12:00:00Z",
         "2026-03-15T05:50:00.000000Z"},
    };
    for (const auto& [name, window, from, opens] : cases) {
        const auto next = window.next_opening(parse_rfc3339(from));
        EXPECT_EQ(next ? to_rfc3339_micro(*next) : "never", opens) << name;
    }
    EXPECT_FALSE(window(Json::array(), "00:00", "23:59").next_opening(WallTime()));
}

TEST(Window, OpensAtTheFirstMinuteThatItContains) {
    // Minute by minute over both changes of the clocks, against what `contains` says.
    for (const char* zone : {"Europe/Berlin", "America/New_York", "America/Santiago", "UTC"}) {
        for (const auto& one : {window({"sat", "sun"}, "22:00", "02:30", zone),
                                window({"sun"}, "02:30", "03:30", zone)}) {
            for (const char* day : {"2026-03-06T12:00:00Z", "2026-03-27T12:00:00Z",
                                    "2026-09-04T12:00:00Z", "2026-10-23T12:00:00Z"}) {
                const auto from = parse_rfc3339(day);
                auto expected = from;
                while (!one.contains(expected)) {
                    expected += std::chrono::minutes(1);
                }
                EXPECT_TRUE(one.next_opening(from) == expected)
                    << one.text() << ' ' << day << ' ' << to_rfc3339(expected);
            }
        }
    }
}

TEST(Window, IsWrittenForPeople) {
    EXPECT_EQ(window({"sat"}, "10pm", "2", "Europe/Berlin").text(),
              "Sat 22:00 to 02:00 Europe/Berlin");
    EXPECT_EQ(window({"sun", "1", "we", "mon"}, "8:00", "16:30:15").text(),
              "Mon, Wed, Sun 08:00 to 16:30:15 UTC");
    EXPECT_EQ(window(kDaily, "8", "16", "UTC").text(), "daily 08:00 to 16:00 UTC");
    EXPECT_EQ(Window({{"startTime", "8"}, {"endTime", "9"}}, "spec.window").text(),
              "never: no days are named");
}

}  // namespace
}  // namespace kua::plan
