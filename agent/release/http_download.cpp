// SPDX-License-Identifier: Apache-2.0
#include "agent/release/http_download.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/number.hpp"
#include "lib/http/retry_after.hpp"
#include "lib/http/url.hpp"
#include "lib/log/log.hpp"

namespace kua::release {

namespace {

constexpr int kWhole = 200;
constexpr int kPartial = 206;
constexpr int kNotFound = 404;
constexpr int kNoSuchRange = 416;
constexpr int kTooManyRequests = 429;
constexpr int kServersFault = 500;

constexpr int kMostFruitless = 5;  // attempts in a row that bring nothing new
constexpr int kMostAttempts = 1000;
// No attempt begins after this: a server that breaks off after every byte is left for the next
// source. What is here is gone on with the next time.
constexpr Duration kLongest = std::chrono::hours(6);
constexpr Duration kFirstWait{500};
constexpr Duration kLongestWait{30'000};

struct Range {
    std::uint64_t first;
    std::uint64_t last;
    std::uint64_t total;
};

/// `bytes 5-9/10`.
std::optional<Range> content_range(const http::Response& head) {
    const auto text = head.header("Content-Range");
    constexpr std::string_view kUnit = "bytes ";
    const auto dash = text.find('-');
    const auto slash = text.find('/');
    if (!text.starts_with(kUnit) || dash == std::string::npos || slash == std::string::npos ||
        slash < dash) {
        return std::nullopt;
    }
    const std::string_view view(text);
    const auto first = whole_number<std::uint64_t>(view.substr(kUnit.size(), dash - kUnit.size()));
    const auto last = whole_number<std::uint64_t>(view.substr(dash + 1, slash - dash - 1));
    const auto total = whole_number<std::uint64_t>(view.substr(slash + 1));
    if (!first || !last || !total) {
        return std::nullopt;
    }
    return Range{*first, *last, *total};
}

bool is_strong(std::string_view entity_tag) {
    return entity_tag.size() > 1 && entity_tag.starts_with('"') && entity_tag.ends_with('"');
}

/// Whether it can be kept and sent back: a server may send any bytes.
bool is_sendable(std::string_view validator) {
    constexpr std::size_t kMostValidator = 1000;
    return validator.size() <= kMostValidator &&
           std::all_of(validator.begin(), validator.end(),
                       [](char c) { return c >= ' ' && c <= '~'; });
}

/// What If-Range takes (RFC 9110, 13.1.5): a strong entity tag, else the date; empty: neither.
std::string validator_of(const http::Response& head) {
    auto tag = head.header("ETag");
    auto validator = is_strong(tag) ? std::move(tag) : head.header("Last-Modified");
    return is_sendable(validator) ? validator : std::string();
}

std::string shown(const std::string& url) { return http::parse_url(url).shown; }

}  // namespace

std::optional<std::uint64_t> content_length(const http::Response& answer) {
    return whole_number<std::uint64_t>(answer.header("Content-Length"));
}

void check_status(const http::Response& answer, int expected, const std::string& missing) {
    if (answer.status == expected) {
        return;
    }
    const bool again = answer.status >= kServersFault || answer.status == kTooManyRequests;
    throw Error(again ? ErrorKind::transient : ErrorKind::invalid,
                format("{} answers {}{}", shown(answer.url), answer.status,
                       answer.status == kNotFound ? ": " + missing : ""));
}

void check_not_encoded(const http::Response& answer) {
    const auto encoding = answer.header("Content-Encoding");
    if (!encoding.empty() && encoding != "identity") {
        throw Error(ErrorKind::invalid,
                    format("{} is sent in an encoding that was not asked for ({}); have the server "
                           "send the file as it is",
                           shown(answer.url), excerpt(encoding, 40)));
    }
}

HttpDownload::HttpDownload(http::Client& client, Clock& clock, File file, Sink& sink)
    : client_(client), clock_(clock), file_(std::move(file)), sink_(sink) {}

std::string HttpDownload::run(const std::stop_token& stop) {
    const auto kept = sink_.kept(file_.part);
    // It comes from a disk: no more than a server may say.
    if (kept && !kept->validator.empty() && is_sendable(kept->validator) &&
        kept->bytes < file_.request.most_body) {
        have_ = kept->bytes;
        validator_ = kept->validator;
    }
    return repeat(stop);
}

std::string HttpDownload::run_anew(const std::stop_token& stop) {
    forget();
    return repeat(stop);
}

std::string HttpDownload::repeat(const std::stop_token& stop) {
    Backoff backoff(kFirstWait, kLongestWait);
    std::uint64_t furthest = have_;
    int fruitless = 0;
    const auto began = clock_.monotonic();
    for (int attempts = 1;; ++attempts) {
        try {
            while (!attempt(stop)) {
            }
            return sink_.finish();
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::transient || turned_away_) {
                throw;
            }
            // Further than ever before: a server without ranges that always breaks off at the same
            // place is not asked for ever.
            if (have_ > furthest) {
                furthest = have_;
                fruitless = 0;
                backoff.reset();
            }
            if (++fruitless >= kMostFruitless || attempts >= kMostAttempts) {
                throw Error(ErrorKind::transient, format("{} ({}; {} attempts brought no more)",
                                                         error.what(), amount(), fruitless));
            }
            if (clock_.monotonic() - began >= kLongest) {
                throw Error(ErrorKind::transient,
                            format("{} ({}; too slow to go on with now)", error.what(), amount()));
            }
            const auto wait = backoff.next();
            log::info(format("{} ({}); trying again in {}", error.what(), amount(), to_text(wait)));
            if (validator_.empty()) {
                forget();
            }
            if (!clock_.wait_for(wait, stop)) {
                throw Error(ErrorKind::stopped, format("{}: stopped", shown(file_.request.url)));
            }
        }
    }
}

/// False when it has to be asked anew, without a range: that can't happen twice in a row.
bool HttpDownload::attempt(const std::stop_token& stop) {
    const bool ranged = have_ > 0;
    const auto answer = ask(stop);
    const auto& head = answer->head();
    if (ranged && (head.status == kNoSuchRange || (head.status == kPartial && !continues(head)))) {
        forget();
        return false;
    }
    if (!ranged || head.status != kPartial) {
        check_status(head, kWhole, file_.missing);
    }
    check_not_encoded(head);
    if (ranged && head.status == kPartial) {
        total_ = content_range(head)->total;
        in_pieces_ = true;
        if (!begun_) {
            begin(have_);
        }
    } else {
        forget();
        total_ = content_length(head);
        validator_ = validator_of(head);
        begin(0);
    }
    for (auto data = answer->read(stop); !data.empty(); data = answer->read(stop)) {
        sink_.write(data);
        have_ += data.size();
    }
    if (total_ && have_ != *total_) {
        throw Error(ErrorKind::transient, format("{} ended too early", shown(head.url)));
    }
    return true;
}

std::unique_ptr<http::Answer> HttpDownload::ask(const std::stop_token& stop) {
    auto request = file_.request;
    if (have_ > 0) {
        request.headers.insert_or_assign("Range", format("bytes={}-", have_));
        request.headers.insert_or_assign("If-Range", validator_);
    }
    http::Patience patience(clock_);
    for (;;) {
        auto answer = client_.open(request, stop);
        turned_away_ = true;  // should it throw
        const bool again = patience.waited_for(answer->head(), stop);
        turned_away_ = false;
        if (!again) {
            return answer;
        }
    }
}

/// Whether a partial answer is exactly what is missing, of the same file.
bool HttpDownload::continues(const http::Response& head) const {
    const auto range = content_range(head);
    const auto length = content_length(head);
    const auto tag = head.header("ETag");
    return range && range->first == have_ && range->last + 1 == range->total &&
           range->total > have_ && range->total <= file_.request.most_body &&
           (!total_ || *total_ == range->total) && (!length || *length == range->total - have_) &&
           (tag.empty() || !is_strong(validator_) || tag == validator_);
}

void HttpDownload::begin(std::uint64_t offset) {
    sink_.begin(file_.part, {file_.name, offset, total_, validator_});
    begun_ = true;
}

void HttpDownload::forget() {
    have_ = 0;
    validator_.clear();
    total_.reset();
    begun_ = false;
    in_pieces_ = false;
}

std::string HttpDownload::amount() const {
    return total_ ? format("{} of {} bytes are here", have_, *total_)
                  : format("{} bytes are here", have_);
}

}  // namespace kua::release
