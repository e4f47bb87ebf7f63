// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/window.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::plan {

namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::array<std::string_view, 7> kDayNames{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                    "Thursday", "Friday", "Saturday"};
constexpr days kFarthest{15};

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& character : result) {
        if (character >= 'A' && character <= 'Z') {
            character = static_cast<char>(character - 'A' + 'a');
        }
    }
    return result;
}

/// The day's number, Sunday being 0.
std::optional<std::size_t> read_day(std::string_view text) {
    if (text.size() == 1 && text[0] >= '0' && text[0] <= '6') {
        return static_cast<std::size_t>(text[0] - '0');
    }
    const auto wanted = lower(text);
    for (std::size_t day = 0; day < kDayNames.size(); ++day) {
        const auto name = lower(kDayNames[day]);
        if (wanted == name || wanted == name.substr(0, 2) || wanted == name.substr(0, 3)) {
            return day;
        }
    }
    return std::nullopt;
}

/// Takes a time of day apart from the front, by the rules of Go's time.Parse.
class TimeOfDay {
  public:
    explicit TimeOfDay(std::string_view text) : rest_(text) {}

    /// A number of two digits, or of one where `short_allowed`, and not above `most`.
    std::optional<int> number(bool short_allowed, int most) {
        const auto count = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
        if (count == 0 || (count == 1 && !short_allowed)) {
            return std::nullopt;
        }
        const auto digits = rest_.substr(0, std::min<std::size_t>(count, 2));
        int value = 0;
        std::from_chars(digits.data(), digits.data() + digits.size(), value);
        rest_.remove_prefix(digits.size());
        return value <= most ? std::optional(value) : std::nullopt;
    }

    bool take(std::string_view expected) {
        if (!rest_.starts_with(expected)) {
            return false;
        }
        rest_.remove_prefix(expected.size());
        return true;
    }

    /// `am` or `pm`, in lower case, and nothing behind it: hours to add to `hour`.
    std::optional<hours> half_of_day(int hour) {
        const bool is_pm = take("pm");
        if ((!is_pm && !take("am")) || !at_end()) {
            return std::nullopt;
        }
        return is_pm ? hours(hour < 12 ? 12 : 0) : hours(hour == 12 ? -12 : 0);
    }

    [[nodiscard]] bool at_end() const { return rest_.empty(); }

  private:
    std::string_view rest_;
};

/// Go's layouts `15`, `15:04` and `15:04:05`.
std::optional<seconds> read_24_hours(std::string_view text) {
    TimeOfDay rest(text);
    const auto hour = rest.number(true, 23);
    if (!hour) {
        return std::nullopt;
    }
    seconds time = hours(*hour);
    if (rest.at_end()) {
        return time;
    }
    const auto minute = rest.take(":") ? rest.number(false, 59) : std::nullopt;
    if (!minute) {
        return std::nullopt;
    }
    time += minutes(*minute);
    if (rest.at_end()) {
        return time;
    }
    const auto second = rest.take(":") ? rest.number(false, 59) : std::nullopt;
    if (!second || !rest.at_end()) {
        return std::nullopt;
    }
    return time + seconds(*second);
}

/// Go's layouts `3pm`, `03pm` and `03:04pm`.
std::optional<seconds> read_12_hours(std::string_view text) {
    TimeOfDay rest(text);
    const bool has_minutes = text.find(':') != std::string_view::npos;
    const auto hour = rest.number(!has_minutes, 12);
    if (!hour) {
        return std::nullopt;
    }
    seconds time = hours(*hour);
    if (has_minutes) {
        const auto minute = rest.take(":") ? rest.number(false, 59) : std::nullopt;
        if (!minute) {
            return std::nullopt;
        }
        time += minutes(*minute);
    }
    const auto half = rest.half_of_day(*hour);
    return half ? std::optional(time + *half) : std::nullopt;
}

seconds time_at(const Json& window, std::string_view name, const std::string& field) {
    const auto text = string_at(window, {name});
    auto time = read_24_hours(text);
    if (!time) {
        time = read_12_hours(text);
    }
    if (!time) {
        const auto* value = find(window, {name});
        throw Error(ErrorKind::invalid,
                    format("{}.{}: must be a time of day such as 22:00, 22:00:30, 22, 10:00pm or "
                           "10pm, {}",
                           field, name,
                           value == nullptr ? std::string("and is missing")
                                            : "is " + excerpt(value->dump(), 80)));
    }
    return *time;
}

std::string clock_text(seconds time) {
    const std::chrono::hh_mm_ss clock(time);
    const auto text = format("{:02}:{:02}", clock.hours().count(), clock.minutes().count());
    return clock.seconds() == seconds(0) ? text : format("{}:{:02}", text, clock.seconds().count());
}

}  // namespace

Window::Window(const Json& window, const std::string& field) {
    if (!window.is_object()) {
        throw Error(ErrorKind::invalid,
                    format("{}: must be a mapping, is {}", field, excerpt(window.dump(), 80)));
    }
    if (const auto* named = find(window, {"days"})) {
        if (!named->is_array()) {
            throw Error(ErrorKind::invalid, format("{}.days: must be a list, is {}", field,
                                                   excerpt(named->dump(), 80)));
        }
        for (const auto& item : *named) {
            const auto day =
                item.is_string() ? read_day(item.get_ref<const std::string&>()) : std::nullopt;
            if (!day) {
                throw Error(ErrorKind::invalid,
                            format("{}.days: {} is no day; days are \"0\" (Sunday) to \"6\", or "
                                   "su, sun, sunday, mo, mon, monday, and so on",
                                   field, excerpt(item.dump(), 80)));
            }
            days_.at(*day) = true;
        }
    }
    start_ = time_at(window, "startTime", field);
    end_ = time_at(window, "endTime", field);
    const auto* zone = find(window, {"timeZone"});
    if (zone != nullptr && !zone->is_string()) {
        throw Error(ErrorKind::invalid,
                    format("{}.timeZone: must be a text, is {}", field, excerpt(zone->dump(), 80)));
    }
    zone_ = with_context(format("{}.timeZone", field),
                         [&] { return time::Zone::find(string_at(window, {"timeZone"})); });
}

Window::Hours Window::hours_on(time::LocalDate date) const {
    constexpr WallTime::duration kSmallest{1};
    return {zone_.wall(date + start_), zone_.wall(date + end_) + seconds(1) - kSmallest};
}

bool Window::contains(WallTime time) const {
    const auto date = floor<days>(zone_.local(time));
    if (!days_.at(std::chrono::weekday(date).c_encoding())) {
        return false;
    }
    auto [start, end] = hours_on(date);
    if (start_ > end_) {
        if (time < end) {
            start -= hours(24);
        } else {
            end += hours(24);
        }
    }
    return start <= time && time <= end;
}

std::optional<WallTime> Window::next_opening(WallTime from) const {
    if (contains(from)) {
        return from;
    }
    const auto today = floor<days>(zone_.local(from));
    std::vector<WallTime> candidates;
    for (auto date = today; date <= today + kFarthest; date += days(1)) {
        // It can only open where one of the comparisons in `contains` changes its answer.
        const auto [start, end] = hours_on(date);
        candidates.insert(candidates.end(), {zone_.begin(date), start, start - hours(24), end});
    }
    std::sort(candidates.begin(), candidates.end());
    const auto opening =
        std::find_if(candidates.begin(), candidates.end(),
                     [&](WallTime candidate) { return candidate >= from && contains(candidate); });
    return opening == candidates.end() ? std::nullopt : std::optional(*opening);
}

std::string Window::text() const {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < days_.size(); ++i) {
        const auto day = (i + 1) % days_.size();  // For people a week begins on Monday.
        if (days_.at(day)) {
            names.emplace_back(kDayNames.at(day).substr(0, 3));
        }
    }
    if (names.empty()) {
        return "never: no days are named";
    }
    return format("{} {} to {} {}", names.size() == days_.size() ? "daily" : join(names, ", "),
                  clock_text(start_), clock_text(end_), zone_.name());
}

}  // namespace kua::plan
