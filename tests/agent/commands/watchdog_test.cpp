// SPDX-License-Identifier: Apache-2.0
#include "agent/commands/watchdog.hpp"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "lib/log/log.hpp"

namespace kua::commands {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class WatchdogTest : public ::testing::Test {
  protected:
    WatchdogTest() {
        log::set_sink([this](log::Level, std::string_view message, const log::Fields&) {
            said_.emplace_back(message);
        });
    }
    ~WatchdogTest() override { log::set_sink({}); }

    /// How often it was fed in that time.
    int fed_in(Duration time) {
        const int before = fed_;
        for (const auto end = now_ + time; now_ < end;) {
            now_ += watchdog_.look_every();
            watchdog_.look();
        }
        return fed_ - before;
    }

    Monotonic now_{1000s};
    int fed_ = 0;
    std::vector<std::string> said_;
    // WatchdogSec=5min.
    Watchdog watchdog_{150s, [this] { ++fed_; }, [this] { return now_; }};
};

TEST_F(WatchdogTest, IsFedInTimeWhileAllThreadsGoOn) {
    ASSERT_LE(watchdog_.look_every(), 150s);
    Pulse pulse(watchdog_.pulses(), "the node's loop");
    for (int hour = 0; hour < 10; ++hour) {
        EXPECT_EQ(fed_in(2min), 2min / watchdog_.look_every());
        pulse.mark();
    }
    {
        const Waiting waiting(30min);
        EXPECT_EQ(fed_in(30min), 30min / watchdog_.look_every());
    }
    EXPECT_THAT(said_, IsEmpty());
}

TEST_F(WatchdogTest, IsNotFedWhileAThreadHangs) {
    Pulse pulse(watchdog_.pulses(), "the node's loop");
    fed_in(5min);
    EXPECT_EQ(fed_in(30min), 0);
    EXPECT_THAT(said_, ElementsAre(AllOf(HasSubstr("the node's loop hangs"), HasSubstr("2m30s"))));
    said_.clear();
    pulse.mark();
    EXPECT_GT(fed_in(1min), 0);
    EXPECT_THAT(said_, ElementsAre(HasSubstr("the node's loop goes on")));
}

TEST_F(WatchdogTest, IsFedAtOnceAfterTheWholeProcessStoodStill) {
    Pulse pulse(watchdog_.pulses(), "the node's loop");
    fed_in(1min);
    now_ += 10min;
    watchdog_.look();
    EXPECT_EQ(fed_in(1min), 1min / watchdog_.look_every());
    pulse.mark();
    EXPECT_THAT(said_, IsEmpty());
}

TEST(Watchdog, LooksAsOftenAsSystemdWantsToBeTold) {
    for (const Duration interval : {Duration(10), Duration(500), Duration(10s), Duration(1h)}) {
        EXPECT_LE(Watchdog(interval, [] {}).look_every(), interval);
    }
}

}  // namespace
}  // namespace kua::commands
