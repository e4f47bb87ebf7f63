// SPDX-License-Identifier: Apache-2.0
#include "lib/base/go_duration.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua {

namespace {

bool is_digit(char character) { return character >= '0' && character <= '9'; }

struct Unit {
    std::string_view name;
    std::uint64_t nanoseconds;
};

/// Go accepts both code points for µ.
constexpr std::array kUnits{
    Unit{"ns", 1},
    Unit{"us", 1'000},
    Unit{"\u00b5s", 1'000},
    Unit{"\u03bcs", 1'000},
    Unit{"ms", 1'000'000},
    Unit{"s", 1'000'000'000},
    Unit{"m", 60'000'000'000},
    Unit{"h", 3'600'000'000'000},
};

/// One `<number><unit>` of a Go duration, taken off the front of `text`, in nanoseconds. Rules:
/// Go's time.ParseDuration.
std::optional<std::uint64_t> take_term(std::string_view& text) {
    std::uint64_t whole = 0;
    bool any_digit = false;
    while (!text.empty() && is_digit(text.front())) {
        if (__builtin_mul_overflow(whole, std::uint64_t{10}, &whole) ||
            __builtin_add_overflow(whole, static_cast<std::uint64_t>(text.front() - '0'), &whole)) {
            return std::nullopt;
        }
        any_digit = true;
        text.remove_prefix(1);
    }
    // Exactly as Go does it, so that the result is Go's to the last nanosecond.
    std::uint64_t fraction = 0;
    double scale = 1;
    if (!text.empty() && text.front() == '.') {
        text.remove_prefix(1);
        bool full = false;
        while (!text.empty() && is_digit(text.front())) {
            std::uint64_t longer = 0;
            full = full || __builtin_mul_overflow(fraction, std::uint64_t{10}, &longer) ||
                   __builtin_add_overflow(longer, static_cast<std::uint64_t>(text.front() - '0'),
                                          &longer);
            if (!full) {
                fraction = longer;
                scale *= 10;
            }
            any_digit = true;
            text.remove_prefix(1);
        }
    }
    if (!any_digit) {
        return std::nullopt;
    }
    const std::size_t length = std::min(text.find_first_of(".0123456789"), text.size());
    const auto* const unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& candidate) {
        return candidate.name == text.substr(0, length);
    });
    if (unit == kUnits.end()) {
        return std::nullopt;
    }
    text.remove_prefix(length);
    const auto part = static_cast<std::uint64_t>(static_cast<double>(fraction) *
                                                 (static_cast<double>(unit->nanoseconds) / scale));
    std::uint64_t value = 0;
    if (__builtin_mul_overflow(whole, unit->nanoseconds, &value) ||
        __builtin_add_overflow(value, part, &value)) {
        return std::nullopt;
    }
    return value;
}

std::optional<std::chrono::nanoseconds> read_duration(std::string_view text) {
    const bool negative = !text.empty() && text.front() == '-';
    if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
        text.remove_prefix(1);
    }
    if (text == "0") {
        return std::chrono::nanoseconds(0);
    }
    if (text.empty()) {
        return std::nullopt;
    }
    std::uint64_t sum = 0;
    while (!text.empty()) {
        const auto term = take_term(text);
        if (!term || __builtin_add_overflow(sum, *term, &sum)) {
            return std::nullopt;
        }
    }
    if (sum > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return std::nullopt;
    }
    const std::chrono::nanoseconds value(static_cast<std::int64_t>(sum));
    return negative ? -value : value;
}

/// `1.5` of 1500 thousandths.
std::string decimal(std::uint64_t number, std::uint64_t unit) {
    auto text = format("{}", number / unit);
    std::string fraction;
    for (auto rest = number % unit; rest != 0 && unit > 1; rest %= unit) {
        unit /= 10;
        fraction += static_cast<char>('0' + rest / unit);
    }
    return fraction.empty() ? text : text + "." + fraction;
}

}  // namespace

std::chrono::nanoseconds parse_go_duration(std::string_view text) {
    const auto duration = read_duration(text);
    if (!duration) {
        throw Error(ErrorKind::invalid,
                    format("\"{}\" is not a duration like 1h30m, 90s or 500ms", excerpt(text, 60)));
    }
    return *duration;
}

std::string go_duration(std::chrono::nanoseconds duration) {
    constexpr std::uint64_t kMicro = 1'000;
    constexpr std::uint64_t kMilli = 1'000'000;
    constexpr std::uint64_t kSecond = 1'000'000'000;
    constexpr std::uint64_t kMinute = 60 * kSecond;
    const bool negative = duration < std::chrono::nanoseconds(0);
    const auto count = static_cast<std::uint64_t>(duration.count());
    // Negated as an unsigned number: the smallest value has no positive counterpart.
    const std::uint64_t total = negative ? 0 - count : count;
    const std::string sign = negative ? "-" : "";
    if (total == 0) {
        return "0s";
    }
    if (total < kMicro) {
        return format("{}{}ns", sign, total);
    }
    if (total < kMilli) {
        return format("{}{}\u00b5s", sign, decimal(total, kMicro));
    }
    if (total < kSecond) {
        return format("{}{}ms", sign, decimal(total, kMilli));
    }
    const auto seconds = decimal(total % kMinute, kSecond);
    const auto minutes = total / kMinute;
    if (minutes >= 60) {
        return format("{}{}h{}m{}s", sign, minutes / 60, minutes % 60, seconds);
    }
    return minutes > 0 ? format("{}{}m{}s", sign, minutes, seconds)
                       : format("{}{}s", sign, seconds);
}

}  // namespace kua
