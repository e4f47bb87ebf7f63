// SPDX-License-Identifier: Apache-2.0
#include "lib/http/retry_after.hpp"

#include <gmock/gmock.h>

#include <vector>

#include "lib/base/error.hpp"
#include "tests/fakes/fake_clock.hpp"
#include "tests/lib/http/fixture.hpp"

namespace kua::http {
namespace {

using std::chrono::seconds;
using test::error_of;
using test::FakeClock;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Response busy(const std::string& after, int status = 429, const std::string& date = {}) {
    Response response{status, {{"retry-after", after}}, "", "https://example.org/x?secret"};
    if (!date.empty()) response.headers.emplace("Date", date);
    return response;
}

TEST(RetryAfter, IsReadInSecondsAndAsADate) {
    const WallTime now = parse_rfc3339("2026-01-01T00:00:00Z");
    struct Case {
        Response response;
        std::optional<Duration> expected;
    };
    for (const auto& [response, expected] : std::vector<Case>{
             {busy("5"), seconds(5)},
             {busy("5", 503), seconds(5)},
             {busy("5", 200), std::nullopt},
             {busy("5", 500), std::nullopt},
             {busy(""), std::nullopt},
             {busy("soon"), std::nullopt},
             {busy("-5"), std::nullopt},
             {busy("86401"), seconds(86400)},
             {busy("99999999999999999999999"), seconds(86400)},
             {busy("Thu, 01 Jan 2026 00:00:30 GMT"), seconds(30)},
             {busy("Wed, 31 Dec 2025 23:59:00 GMT"), seconds(0)},
             {busy("Thu, 01 Jan 2099 00:00:30 GMT"), seconds(86400)},
             // Its clock, not ours.
             {busy("Thu, 01 Jan 2026 07:00:30 GMT", 429, "Thu, 01 Jan 2026 07:00:00 GMT"),
              seconds(30)},
         }) {
        EXPECT_EQ(retry_after(response, now), expected) << response.header("Retry-After");
    }
    EXPECT_EQ(retry_after({429, {}, "", ""}, now), std::nullopt);
}

TEST(Patience, WaitsAShortTimeThreeTimes) {
    FakeClock clock;
    Patience patience(clock);
    const auto begun = clock.monotonic();
    EXPECT_FALSE(patience.waited_for(busy("5", 200), {}));
    EXPECT_FALSE(patience.waited_for(busy(""), {}));
    EXPECT_EQ(clock.waits(), 0);
    EXPECT_TRUE(patience.waited_for(busy("5"), {}));
    EXPECT_TRUE(patience.waited_for(busy("60"), {}));
    EXPECT_TRUE(patience.waited_for(busy("0"), {}));
    EXPECT_GE(clock.monotonic() - begun, seconds(65));
    const Error error = error_of([&] { patience.waited_for(busy("5"), {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_EQ(clock.waits(), 3);
}

TEST(Patience, TellsWhenToComeAgainWhenThatIsFarOff) {
    FakeClock clock;
    Patience patience(clock);
    const Error error = error_of([&] { patience.waited_for(busy("3600", 503), {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("https://example.org/x answers 503"),
                      HasSubstr("in 1h, at 2026-01-01T01:00:00Z"), Not(HasSubstr("secret"))));
    EXPECT_EQ(clock.waits(), 0);
}

TEST(Patience, EndsWhenStopped) {
    FakeClock clock;
    Patience patience(clock);
    std::stop_source stop;
    clock.on_wait([&] { stop.request_stop(); });
    EXPECT_EQ(error_of([&] { patience.waited_for(busy("5"), stop.get_token()); }).kind(),
              ErrorKind::stopped);
}

}  // namespace
}  // namespace kua::http
