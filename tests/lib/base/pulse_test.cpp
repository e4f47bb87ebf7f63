// SPDX-License-Identifier: Apache-2.0
#include "lib/base/pulse.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "lib/base/wakeup.hpp"
#include "tests/lib/base/shows_progress.hpp"

namespace kua {
namespace {

using namespace std::chrono_literals;

constexpr Duration kGrace = 100s;
constexpr Duration kLookEvery = kGrace / 5;

/// Time that goes on when the test says so; looked at as often as it should be.
class PulsesTest : public ::testing::Test {
  protected:
    /// The name of who is overdue after so much time; empty for nobody.
    std::string after(Duration time) {
        const auto end = now_ + time;
        while (now_ + kLookEvery < end) {
            now_ += kLookEvery;
            static_cast<void>(pulses_.look());
        }
        now_ = end;
        const auto overdue = pulses_.look();
        silent_ = overdue ? overdue->silent : 0s;
        return overdue ? overdue->name : "";
    }

    Monotonic now_{1000s};
    Pulses pulses_{kGrace, [this] { return now_; }};
    Duration silent_{};
};

TEST_F(PulsesTest, AreInOrderWhileNobodyIsWatched) {
    EXPECT_EQ(after(24h), "");
    { const Pulse pulse(pulses_, "gone"); }
    EXPECT_EQ(after(24h), "");
}

TEST_F(PulsesTest, AreOverdueAfterTheGraceUnlessProgressIsShown) {
    Pulse pulse(pulses_, "busy");
    EXPECT_EQ(after(kGrace - 1s), "");
    pulse.mark();
    EXPECT_EQ(after(kGrace - 1s), "");
    EXPECT_EQ(after(1s), "busy");
    EXPECT_EQ(silent_, kGrace);
    EXPECT_EQ(after(50s), "busy");
    EXPECT_EQ(silent_, kGrace + 50s);
    pulse.mark();
    EXPECT_EQ(after(1s), "");
}

TEST_F(PulsesTest, AreOverdueWhenAWaitIsLongerThanDeclared) {
    struct Row {
        Duration declared;
        Duration waits;
        bool overdue;
    };
    const std::vector<Row> rows = {
        {0s, kGrace - 1s, false},      {0s, kGrace, true},
        {10min, 10min, false},         {10min, 10min + kGrace - 1s, false},
        {10min, 10min + kGrace, true}, {-1min, kGrace - 1s, false},
        {24h * 365, 24h, false},       {kAsLongAsOthers, 24h, false},
    };
    const Pulse pulse(pulses_, "waits");
    for (const auto& row : rows) {
        const Waiting waiting(row.declared);
        EXPECT_EQ(after(row.waits), row.overdue ? "waits" : "")
            << to_text(row.declared) << " declared, waits " << to_text(row.waits);
    }
}

TEST_F(PulsesTest, HaveTheirGraceAgainWhenAWaitIsOver) {
    const Pulse pulse(pulses_, "waits");
    {
        const Waiting waiting(10min);
        EXPECT_EQ(after(10min), "");
    }
    EXPECT_EQ(after(kGrace - 1s), "");
    EXPECT_EQ(after(1s), "waits") << "the declared wait is over";
}

TEST_F(PulsesTest, KeepWhatIsDeclaredAroundAWaitInside) {
    const Pulse pulse(pulses_, "waits");
    const Waiting around(1h);
    {
        const Waiting inside(1s);
        mark_progress();
        EXPECT_EQ(after(30min), "") << "the longer one counts";
    }
    mark_progress();
    EXPECT_EQ(after(30min + kGrace - 1s), "");
    EXPECT_EQ(after(1s), "waits");
}

TEST_F(PulsesTest, NameWhoIsOverdueTheLongest) {
    const Pulse first(pulses_, "first");
    now_ += 1s;
    std::thread([&] {
        const Pulse second(pulses_, "second");
        EXPECT_EQ(after(kGrace), "first");
    }).join();
}

TEST_F(PulsesTest, DoNotTakeAProcessThatStoodStillForAHang) {
    Pulse pulse(pulses_, "stood");
    EXPECT_EQ(after(kLookEvery), "");
    // SIGSTOP, then SIGCONT: the thread that looks may be the first to run again.
    now_ += 10min;
    EXPECT_FALSE(pulses_.look());
    EXPECT_EQ(after(kGrace - 1s), "") << "time to run again";
    EXPECT_EQ(after(1s), "stood") << "but it does not";
    pulse.mark();
    EXPECT_EQ(after(1s), "");
}

TEST_F(PulsesTest, HaveMoreThanHalfOfTheirGraceLeftAfterAStopThatIsNotSeen) {
    const Pulse pulse(pulses_, "stood");
    static_cast<void>(pulses_.look());
    now_ += 2 * kLookEvery;
    EXPECT_FALSE(pulses_.look());
    EXPECT_GE(pulse.due() - now_, kGrace / 2);
}

TEST_F(PulsesTest, AreOfTheThreadThatTheyWereMadeIn) {
    EXPECT_EQ(Pulse::of_this_thread(), nullptr);
    mark_progress();
    const Pulse pulse(pulses_, "one");
    EXPECT_EQ(Pulse::of_this_thread(), &pulse);
    std::thread([] { EXPECT_EQ(Pulse::of_this_thread(), nullptr); }).join();
    {
        const Pulse inner(pulses_, "inner");
        EXPECT_EQ(Pulse::of_this_thread(), &inner);
    }
    EXPECT_EQ(Pulse::of_this_thread(), &pulse);
}

TEST_F(PulsesTest, AreInheritedByThreadsThatAreToBeWatched) {
    std::string name;
    const auto body = [&name] {
        const auto* pulse = Pulse::of_this_thread();
        name = pulse == nullptr ? "" : pulse->name();
    };
    std::jthread(watched("worker", body)).join();
    EXPECT_EQ(name, "") << "who is not watched has no children that are";
    const Pulse pulse(pulses_, "parent");
    std::jthread(watched("worker", body)).join();
    EXPECT_EQ(name, "worker");
    std::jthread(watched(nullptr, "worker", body)).join();
    EXPECT_EQ(name, "");
    bool has_token = false;
    std::jthread(watched("worker", [&](const std::stop_token& stop) {
        has_token = stop.stop_possible();
    })).join();
    EXPECT_TRUE(has_token);
    int sum = 0;
    std::jthread(watched("worker", [&sum](int number) { sum += number; }), 3).join();
    EXPECT_EQ(sum, 3);
}

TEST(WaitInPieces, EndsByWhatComesByTimeOrByAStop) {
    std::stop_source source;
    int calls = 0;
    EXPECT_TRUE(wait_in_pieces(1h, source.get_token(), [&](Duration piece) {
        EXPECT_EQ(piece, 60s);
        return ++calls == 3;
    }));
    EXPECT_EQ(calls, 3);
    EXPECT_FALSE(wait_in_pieces(0s, {}, [&](Duration piece) {
        EXPECT_EQ(piece, 0s);
        ++calls;
        return false;
    }));
    EXPECT_EQ(calls, 4);
    EXPECT_FALSE(wait_in_pieces(-1s, {}, [](Duration /*piece*/) { return false; }));
    EXPECT_TRUE(wait_in_pieces(Duration::max(), {}, [](Duration /*piece*/) { return true; }));
    EXPECT_FALSE(wait_in_pieces(Duration::max(), source.get_token(), [&](Duration /*piece*/) {
        source.request_stop();
        return false;
    }));
}

TEST(LongWaits, ShowProgressInBetween) {
    test::expect_progress([](const std::stop_token& stop) { SystemClock().wait_for(1h, stop); });
    test::expect_progress([](const std::stop_token& stop) { Wakeup().wait(1h, stop); });
}

}  // namespace
}  // namespace kua
