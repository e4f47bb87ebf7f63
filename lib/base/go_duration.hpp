// SPDX-License-Identifier: Apache-2.0
// Go's durations, to the nanosecond: as Kubernetes reads and writes them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace kua {

/// Go's time.ParseDuration (`1h30m`, `90s`, `1.5h`, `300ms`, `0`). Negative values are allowed.
/// Throws Error{invalid} naming the text for what it would refuse.
std::chrono::nanoseconds parse_go_duration(std::string_view text);

/// How Go prints a time.Duration: `1h30m0s`, `1.5s`, `300ms`, `0s`, `-1.5µs`.
std::string go_duration(std::chrono::nanoseconds duration);

}  // namespace kua
