// SPDX-License-Identifier: Apache-2.0
#include "lib/base/go_duration.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "lib/base/error.hpp"

namespace kua {
namespace {

using std::chrono::nanoseconds;

TEST(GoDuration, IsReadAndPrintedAsGoDoes) {
    // Go's own time.ParseDuration(text).String().
    const struct {
        const char* text;
        std::int64_t count;
        const char* printed;
    } cases[] = {
        {"0", 0, "0s"},
        {"1ns", 1, "1ns"},
        {"1100ns", 1'100, "1.1\u00b5s"},
        {"2us", 2'000, "2\u00b5s"},
        {"-1.5ms", -1'500'000, "-1.5ms"},
        {"999.999999ms", 999'999'999, "999.999999ms"},
        {"1.000000001s", 1'000'000'001, "1.000000001s"},
        {"60s", 60'000'000'000, "1m0s"},
        {"-90m", -5'400'000'000'000, "-1h30m0s"},
        {"100h0.25s", 360'000'250'000'000, "100h0m0.25s"},
        {"2562047h47m16.854775807s", std::numeric_limits<std::int64_t>::max(),
         "2562047h47m16.854775807s"},
    };
    for (const auto& test : cases) {
        EXPECT_EQ(parse_go_duration(test.text), nanoseconds(test.count)) << test.text;
        EXPECT_EQ(go_duration(nanoseconds(test.count)), test.printed);
    }
    EXPECT_EQ(go_duration(nanoseconds::min()), "-2562047h47m16.854775808s");
    for (const char* text : {"", "1", "s", "1 s", "1d", "2562047h47m16.854775808s"}) {
        EXPECT_THROW(parse_go_duration(text), Error) << text;
    }
}

}  // namespace
}  // namespace kua
