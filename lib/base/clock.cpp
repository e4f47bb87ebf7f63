// SPDX-License-Identifier: Apache-2.0
#include "lib/base/clock.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <ctime>
#include <limits>
#include <optional>
#include <random>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/go_duration.hpp"
#include "lib/base/pulse.hpp"

namespace kua {

namespace {

using std::chrono::floor;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using std::chrono::sys_days;
using std::chrono::sys_seconds;

std::string date_and_time(sys_seconds time) {
    const auto day = floor<std::chrono::days>(time);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss clock(time - day);
    return format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                  clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

bool is_digit(char character) { return character >= '0' && character <= '9'; }

/// Takes text apart from the front; every step says whether the text was as expected.
class Scanner {
  public:
    explicit Scanner(std::string_view text) : rest_(text) {}

    bool digits(std::size_t count, int& value) {
        if (rest_.size() < count ||
            !std::all_of(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(count),
                         is_digit)) {
            return false;
        }
        value = 0;
        for (const char digit : rest_.substr(0, count)) {
            value = value * 10 + (digit - '0');
        }
        rest_.remove_prefix(count);
        return true;
    }

    bool any_of(std::string_view characters, char& taken) {
        if (rest_.empty() || characters.find(rest_.front()) == std::string_view::npos) {
            return false;
        }
        taken = rest_.front();
        rest_.remove_prefix(1);
        return true;
    }

    bool any_of(std::string_view characters) {
        char taken = 0;
        return any_of(characters, taken);
    }

    [[nodiscard]] std::string_view rest() const { return rest_; }

  private:
    std::string_view rest_;
};

std::optional<nanoseconds> read_fraction(Scanner& scanner) {
    nanoseconds fraction{0};
    nanoseconds place{100'000'000};
    int digit = 0;
    if (!scanner.digits(1, digit)) {
        return std::nullopt;
    }
    do {
        fraction += digit * place;
        place /= 10;  // Zero after nine digits: what is finer is cut.
    } while (scanner.digits(1, digit));
    return fraction;
}

std::optional<WallTime> read_rfc3339(std::string_view text) {
    Scanner scanner(text);
    int year = 0;
    int month = 0;
    int day = 0;
    int hour = 0;
    int minute = 0;
    int second = 0;
    const bool shaped = scanner.digits(4, year) && scanner.any_of("-") &&
                        scanner.digits(2, month) && scanner.any_of("-") && scanner.digits(2, day) &&
                        scanner.any_of("Tt ") && scanner.digits(2, hour) && scanner.any_of(":") &&
                        scanner.digits(2, minute) && scanner.any_of(":") &&
                        scanner.digits(2, second);
    const std::chrono::year_month_day date{std::chrono::year(year),
                                           std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    // Second 60 is a leap second; it is the next minute's first here, as in every Unix clock.
    if (!shaped || !date.ok() || hour > 23 || minute > 59 || second > 60) {
        return std::nullopt;
    }
    nanoseconds fraction{0};
    if (scanner.any_of(".")) {
        const auto read = read_fraction(scanner);
        if (!read) {
            return std::nullopt;
        }
        fraction = *read;
    }
    minutes offset{0};
    char sign = 0;
    if (!scanner.any_of("Zz")) {
        int offset_hours = 0;
        int offset_minutes = 0;
        if (!scanner.any_of("+-", sign) || !scanner.digits(2, offset_hours) ||
            !scanner.any_of(":") || !scanner.digits(2, offset_minutes) || offset_hours > 23 ||
            offset_minutes > 59) {
            return std::nullopt;
        }
        offset = hours(offset_hours) + minutes(offset_minutes);
    }
    if (!scanner.rest().empty()) {
        return std::nullopt;
    }
    const sys_seconds whole = sys_seconds(sys_days(date)) + hours(hour) + minutes(minute) +
                              seconds(second) - (sign == '-' ? -offset : offset);
    // The clock counts nanoseconds in 64 bits: 1677 to 2262. One second of margin for the fraction.
    static constexpr seconds kEdge =
        floor<seconds>(nanoseconds(std::numeric_limits<std::int64_t>::max())) - seconds(1);
    if (whole.time_since_epoch() > kEdge || whole.time_since_epoch() < -kEdge) {
        return std::nullopt;
    }
    return WallTime(whole) + std::chrono::duration_cast<WallTime::duration>(fraction);
}

std::mt19937& random_source() {
    static thread_local std::mt19937 source{std::random_device{}()};
    return source;
}

}  // namespace

Monotonic SystemClock::monotonic() const {
    timespec now{};
    if (clock_gettime(CLOCK_BOOTTIME, &now) != 0) {
        throw Error(ErrorKind::failed, "the system has no CLOCK_BOOTTIME");
    }
    return Monotonic(seconds(now.tv_sec) + nanoseconds(now.tv_nsec));
}

WallTime SystemClock::wall() const { return std::chrono::system_clock::now(); }

bool SystemClock::wait_for(Duration duration, std::stop_token stop) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    wait_in_pieces(duration, stop, [&](Duration piece) {
        return never.wait_for(lock, stop, piece, [] { return false; });
    });
    return !stop.stop_requested();
}

std::string to_rfc3339(WallTime time) { return date_and_time(floor<seconds>(time)) + "Z"; }

std::string to_rfc3339_micro(WallTime time) {
    const auto whole = floor<seconds>(time);
    return format("{}.{:06}Z", date_and_time(whole), floor<microseconds>(time - whole).count());
}

WallTime parse_rfc3339(std::string_view text) {
    const auto time = read_rfc3339(text);
    if (!time) {
        throw Error(ErrorKind::invalid,
                    format("\"{}\" is not a time like 2006-01-02T15:04:05Z", excerpt(text, 60)));
    }
    return *time;
}

Duration parse_duration(std::string_view text) {
    return std::chrono::duration_cast<Duration>(parse_go_duration(text));
}

std::string to_text(Duration duration) {
    const bool negative = duration < Duration(0);
    // Negated as an unsigned number: the smallest value has no positive counterpart.
    const auto count = static_cast<std::uint64_t>(duration.count());
    const std::uint64_t total = negative ? 0 - count : count;
    std::string text = negative ? "-" : "";
    if (total < 1000) {
        return text + format("{}ms", total);
    }
    const std::uint64_t whole = total / 1000;
    if (whole < 60) {
        // Cut, not rounded: 59.99s must not become 60.0s.
        const std::uint64_t tenths = total % 1000 / 100;
        return text + (tenths == 0 ? format("{}s", whole) : format("{}.{}s", whole, tenths));
    }
    if (whole >= 3600) {
        text += format("{}h", whole / 3600);
    }
    if (whole / 60 % 60 != 0) {
        text += format("{}m", whole / 60 % 60);
    }
    if (whole % 60 != 0) {
        text += format("{}s", whole % 60);
    }
    return text;
}

Duration random_below(Duration most) {
    if (most <= Duration(1)) {
        return Duration::zero();
    }
    return Duration(
        std::uniform_int_distribution<Duration::rep>(0, most.count() - 1)(random_source()));
}

Duration Backoff::next() {
    const Duration base = std::min(base_, most_);
    base_ = base > most_ / 2 ? most_ : base * 2;
    return Duration(std::uniform_int_distribution<Duration::rep>((base / 2).count(),
                                                                 base.count())(random_source()));
}

}  // namespace kua
