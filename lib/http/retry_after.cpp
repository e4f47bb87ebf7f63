// SPDX-License-Identifier: Apache-2.0
#include "lib/http/retry_after.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/http/url.hpp"

namespace kua::http {

namespace {

constexpr int kTooManyRequests = 429;
constexpr int kUnavailable = 503;
constexpr Duration kLongest = std::chrono::hours(24);
constexpr Duration kShort = std::chrono::seconds(60);
constexpr int kMostWaits = 3;

std::optional<WallTime> parse_date(const std::string& text) {
    const std::time_t seconds = curl_getdate(text.c_str(), nullptr);
    if (text.empty() || seconds < 0) return std::nullopt;
    return std::chrono::system_clock::from_time_t(seconds);
}

}  // namespace

std::optional<Duration> retry_after(const Response& answer, WallTime now) {
    if (answer.status != kTooManyRequests && answer.status != kUnavailable) return std::nullopt;
    const std::string text = answer.header("Retry-After");
    if (!text.empty() &&
        std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) {
        std::int64_t seconds = 0;
        const auto code = std::from_chars(text.data(), text.data() + text.size(), seconds).ec;
        const auto most = std::chrono::duration_cast<std::chrono::seconds>(kLongest).count();
        return std::chrono::seconds(code == std::errc() ? std::min(seconds, most) : most);
    }
    const auto until = parse_date(text);
    if (!until) return std::nullopt;
    const WallTime there = parse_date(answer.header("Date")).value_or(now);
    return std::clamp(std::chrono::duration_cast<Duration>(*until - there), Duration(0), kLongest);
}

bool Patience::waited_for(const Response& answer, const std::stop_token& stop) {
    const auto wait = retry_after(answer, clock_.wall());
    if (!wait) return false;
    const std::string shown = parse_url(answer.url).shown;
    if (*wait > kShort || waits_ >= kMostWaits) {
        throw Error(
            ErrorKind::transient,
            format("{} answers {}: the server is busy and asks to come again in {}, at {}", shown,
                   answer.status, to_text(*wait), to_rfc3339(clock_.wall() + *wait)));
    }
    ++waits_;
    // A server that says 0 is not to be asked again and again at once.
    if (!clock_.wait_for(std::max<Duration>(*wait, std::chrono::seconds(1)), stop)) {
        throw Error(ErrorKind::stopped, format("{}: stopped", shown));
    }
    return true;
}

}  // namespace kua::http
