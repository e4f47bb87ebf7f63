// SPDX-License-Identifier: Apache-2.0
#include "lib/base/clock.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <thread>
#include <vector>

#include "lib/base/error.hpp"

namespace kua {
namespace {

using namespace std::chrono_literals;

WallTime at(std::int64_t seconds, std::int64_t nanoseconds = 0) {
    return WallTime(std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanoseconds));
}

template <typename Action>
std::string invalid_message(Action&& action) {
    try {
        action();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
}

TEST(Rfc3339, IsWrittenAsKubernetesWritesIt) {
    EXPECT_EQ(to_rfc3339(at(0)), "1970-01-01T00:00:00Z");
    EXPECT_EQ(to_rfc3339(at(1795435200, 999'999'999)), "2026-11-23T12:00:00Z");
    EXPECT_EQ(to_rfc3339(at(-1)), "1969-12-31T23:59:59Z");
    EXPECT_EQ(to_rfc3339_micro(at(1795435200, 1'500)), "2026-11-23T12:00:00.000001Z");
    EXPECT_EQ(to_rfc3339_micro(at(-1, 999'999'000)), "1969-12-31T23:59:59.999999Z");
    EXPECT_EQ(to_rfc3339(at(951782400)), "2000-02-29T00:00:00Z");
}

TEST(Rfc3339, IsReadWithAnyOffsetAndAnyDecimals) {
    const struct {
        const char* text;
        WallTime expected;
    } cases[] = {
        {"2026-11-23T12:00:00Z", at(1795435200)},
        {"2026-11-23t12:00:00z", at(1795435200)},
        {"2026-11-23T13:30:00+01:30", at(1795435200)},
        {"2026-11-23T04:00:00-08:00", at(1795435200)},
        {"2026-11-23T12:00:00-00:00", at(1795435200)},
        {"2026-11-23T12:00:00.5Z", at(1795435200, 500'000'000)},
        {"2026-11-23T12:00:00.000001Z", at(1795435200, 1'000)},
        {"2026-11-23T12:00:00.1234567891234Z", at(1795435200, 123'456'789)},
        {"1969-12-31T23:59:59.5Z", at(-1, 500'000'000)},
        {"2016-12-31T23:59:60Z", at(1483228800)},
        {"2024-02-29T00:00:00Z", at(1709164800)},
    };
    for (const auto& test : cases) {
        EXPECT_EQ(parse_rfc3339(test.text), test.expected) << test.text;
    }
}

TEST(Rfc3339, SurvivesTheWayThereAndBack) {
    for (const std::int64_t seconds : {-5'000'000'000L, -1L, 0L, 1L, 1795435200L, 9'000'000'000L}) {
        EXPECT_EQ(parse_rfc3339(to_rfc3339(at(seconds))), at(seconds));
        EXPECT_EQ(parse_rfc3339(to_rfc3339_micro(at(seconds, 123'456'000))),
                  at(seconds, 123'456'000));
    }
}

TEST(Rfc3339, RefusesEverythingElse) {
    for (const char* const text :
         {"", "now", "2026-11-23", "2026-11-23T12:00:00", "2026-11-23T12:00Z",
          "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-23T24:00:00Z",
          "2026-11-23T12:60:00Z", "2026-11-23T12:00:61Z", "2026-11-23T12:00:00.Z",
          "2026-11-23T12:00:00+0100", "2026-11-23T12:00:00+24:00", "2026-11-23T12:00:00Z ",
          "26-11-23T12:00:00Z", "+026-11-23T12:00:00Z", "2026-11-23T12:00:00ZZ",
          // Beyond what the clock can hold.
          "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"}) {
        EXPECT_THROW(parse_rfc3339(text), Error) << text;
    }
    EXPECT_NE(invalid_message([] { parse_rfc3339("yesterday"); }).find("\"yesterday\""),
              std::string::npos);
}

TEST(GoDuration, IsReadAsGoReadsIt) {
    const struct {
        const char* text;
        Duration expected;
    } cases[] = {
        {"0", 0ms},
        {"+0", 0ms},
        {"-0", 0ms},
        {"0s", 0ms},
        {"1h30m", 90min},
        {"90s", 90s},
        {"1.5h", 90min},
        {"300ms", 300ms},
        {"-1m", -60s},
        {"+5s", 5s},
        {".5s", 500ms},
        {"5.s", 5s},
        {"1h1m1s1ms", 3661001ms},
        {"0.3s", 300ms},
        {"0.001s", 1ms},
        {"1us", 0ms},
        {"1500us", 1ms},
        {"1500\u00b5s", 1ms},
        {"1500\u03bcs", 1ms},
        {"999999ns", 0ms},
        {"1000000ns", 1ms},
        {"500us500us", 1ms},
        {"2540400h", 2540400h},
        {"1m1m", 2min},
        {"0.9999999s", 999ms},
        {"0.9999999999s", 999ms},
        {"1.003s", 1003ms},
    };
    for (const auto& test : cases) {
        EXPECT_EQ(parse_duration(test.text), test.expected) << test.text;
    }
}

TEST(GoDuration, RefusesWhatGoRefuses) {
    for (const char* const text : {"",
                                   "3",
                                   "-",
                                   "+",
                                   "s",
                                   ".",
                                   "-.",
                                   ".s",
                                   "+.s",
                                   "1d",
                                   "1 h",
                                   " 1h",
                                   "1h ",
                                   "1H",
                                   "1hm",
                                   "--1h",
                                   "1e3s",
                                   "9223372036854775808ns",
                                   "3000000h",
                                   "99999999999999999999s",
                                   "2562047h48m",
                                   "0x1s",
                                   "\xb5s"}) {
        EXPECT_THROW(parse_duration(text), Error) << text;
    }
    EXPECT_NE(invalid_message([] { parse_duration("soon"); }).find("\"soon\""), std::string::npos);
}

TEST(DurationText, IsForPeople) {
    EXPECT_EQ(to_text(0ms), "0ms");
    EXPECT_EQ(to_text(350ms), "350ms");
    EXPECT_EQ(to_text(1s), "1s");
    EXPECT_EQ(to_text(1200ms), "1.2s");
    EXPECT_EQ(to_text(59999ms), "59.9s");
    EXPECT_EQ(to_text(60s), "1m");
    EXPECT_EQ(to_text(245s), "4m5s");
    EXPECT_EQ(to_text(1h), "1h");
    EXPECT_EQ(to_text(1h + 5s), "1h5s");
    EXPECT_EQ(to_text(25h + 1min), "25h1m");
    EXPECT_EQ(to_text(-1200ms), "-1.2s");
    EXPECT_FALSE(to_text(Duration::min()).empty());
}

TEST(Backoff, DoublesUpToItsLimitWithJitterBelow) {
    for (int round = 0; round < 50; ++round) {
        Backoff backoff(100ms, 450ms);
        for (const Duration base : {100ms, 200ms, 400ms, 450ms, 450ms}) {
            const Duration wait = backoff.next();
            EXPECT_GE(wait, base / 2);
            EXPECT_LE(wait, base);
        }
        backoff.reset();
        EXPECT_LE(backoff.next(), 100ms);
    }
}

TEST(Backoff, IsNotTheSameForEverybody) {
    std::vector<Duration> waits;
    for (int round = 0; round < 20; ++round) {
        waits.push_back(Backoff(1h, 1h).next());
    }
    EXPECT_NE(std::count(waits.begin(), waits.end(), waits.front()), 20);
}

TEST(Backoff, DoesNotOverflow) {
    Backoff backoff(1ms, Duration::max());
    for (int round = 0; round < 100; ++round) {
        EXPECT_GE(backoff.next(), Duration(0));
    }
}

TEST(SystemClock, WaitsToTheEnd) {
    SystemClock clock;
    const Monotonic before = clock.monotonic();
    EXPECT_TRUE(clock.wait_for(5ms, {}));
    EXPECT_GE(clock.monotonic() - before, 5ms);
}

/// What SystemClock::monotonic is ahead of CLOCK_MONOTONIC by on a host that has slept for an hour,
/// in minutes: a time namespace with an offset of the one clock and not of the other. Negative: -1
/// when the host allows no such namespace, others when something went wrong.
int minutes_ahead_after_an_hour_of_sleep() {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::unshare(CLONE_NEWTIME | (::geteuid() == 0 ? 0 : CLONE_NEWUSER)) != 0) {
            ::_exit(101);
        }
        std::ofstream offsets("/proc/self/timens_offsets");
        offsets << "boottime 3600 0" << std::endl;
        if (!offsets) {
            ::_exit(101);
        }
        // The namespace is that of the children to come.
        const pid_t sleeper = ::fork();
        if (sleeper == 0) {
            const auto ahead = SystemClock().monotonic() - std::chrono::steady_clock::now();
            ::_exit(static_cast<int>(std::chrono::round<std::chrono::minutes>(ahead).count()));
        }
        int status = 0;
        ::waitpid(sleeper, &status, 0);
        ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 102);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 102;
    return code > 100 ? 100 - code : code;
}

TEST(SystemClock, GoesOnWhileTheHostIsSuspended) {
    const auto slept_before = SystemClock().monotonic() - std::chrono::steady_clock::now();
    if (slept_before > 1min) {
        GTEST_SKIP() << "this host was suspended itself";
    }
    const int ahead = minutes_ahead_after_an_hour_of_sleep();
    if (ahead == -1) {
        GTEST_SKIP() << "this host allows no time namespaces";
    }
    EXPECT_EQ(ahead, 60);
}

TEST(SystemClock, DoesNotWaitWhenStoppedBefore) {
    std::stop_source source;
    source.request_stop();
    EXPECT_FALSE(SystemClock().wait_for(Duration::max(), source.get_token()));
}

TEST(SystemClock, WakesWhenStopped) {
    std::stop_source source;
    std::jthread waiter(
        [&source] { EXPECT_FALSE(SystemClock().wait_for(Duration::max(), source.get_token())); });
    source.request_stop();
}

}  // namespace
}  // namespace kua
