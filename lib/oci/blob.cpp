// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/blob.hpp"

#include <algorithm>
#include <utility>

#include "lib/base/format.hpp"

namespace kua::oci {

namespace {

constexpr int kMostFailures = 3;
constexpr int kMostBreaks = 100;
constexpr Duration kFirstWait{500};
constexpr Duration kLongestWait{5'000};
constexpr int kPartial = 206;
constexpr int kNotFound = 404;

}  // namespace

Blob::Blob(std::vector<Session>& sessions, Clock& clock, Descriptor descriptor,
           Suspicion& suspicion, const Notice& notice, std::string image, Monotonic deadline)
    : sessions_(sessions),
      clock_(clock),
      descriptor_(std::move(descriptor)),
      suspicion_(suspicion),
      notice_(notice),
      image_(std::move(image)),
      deadline_(deadline),
      backoff_(kFirstWait, kLongestWait) {}

std::size_t Blob::candidate() const {
    const auto& reasons = suspicion_.reasons;
    for (const bool failing : {false, true}) {
        for (std::size_t i = 0; i < reasons.size(); ++i) {
            if (reasons[i].empty() && sessions_[i].failing() == failing) return i;
        }
    }
    std::vector<std::string> all;
    for (std::size_t i = 0; i < reasons.size(); ++i) {
        all.push_back(format("{}: {}", sessions_[i].name(), reasons[i]));
    }
    throw Error(suspicion_.transient ? ErrorKind::transient : ErrorKind::invalid,
                format("{}: blob {}: {}", image_, descriptor_.digest, join(all, "; ")));
}

void Blob::give_up(const std::string& reason, bool transient) {
    answer_.reset();
    failures_ = 0;
    suspicion_.reasons[current_] = reason;
    suspicion_.transient = suspicion_.transient || transient;
    const bool others = std::any_of(suspicion_.reasons.begin(), suspicion_.reasons.end(),
                                    [](const std::string& one) { return one.empty(); });
    if (others) {
        notice_(format("{}: blob {}: {}: {}; trying the next endpoint", image_, descriptor_.digest,
                       sessions_[current_].name(), reason));
    }
    if (suspicion_.alone && taken_ > 0) {
        elsewhere_ = true;
        throw Error(ErrorKind::transient, reason);
    }
}

void Blob::take_failure(const Error& error, const std::stop_token& stop) {
    if (error.kind() == ErrorKind::stopped) throw error;
    answer_.reset();
    const bool transient = error.kind() == ErrorKind::transient;
    if (!transient || ++failures_ >= kMostFailures || ++breaks_ >= kMostBreaks) {
        give_up(error.what(), transient);
        return;
    }
    notice_(format("{}: blob {}: {}: {}; going on after {} of {} bytes", image_, descriptor_.digest,
                   sessions_[current_].name(), error.what(), taken_, descriptor_.size));
    if (failures_ > 1 && !clock_.wait_for(backoff_.next(), stop)) {
        throw Error(ErrorKind::stopped, "stopped");
    }
}

bool Blob::connect(const std::stop_token& stop) {
    const std::size_t next = candidate();
    if (next != current_) failures_ = 0;
    current_ = next;
    try {
        Session::Wanted wanted{"blobs/" + descriptor_.digest};
        wanted.offset = taken_;
        wanted.most_body = std::max<std::uint64_t>(descriptor_.size, 1);
        wanted.stalls = true;
        answer_ = sessions_[current_].open(wanted, stop);
    } catch (const Error& error) {
        take_failure(error, stop);
        return false;
    }
    const http::Response& head = answer_->head();
    if (head.status == kNotFound) {
        give_up("has no such blob (404)", false);
        return false;
    }
    skip_ = head.status == kPartial ? 0 : taken_;
    if (head.status == kPartial &&
        !head.header("Content-Range").starts_with(format("bytes {}-", taken_))) {
        give_up("gives another range than was asked for", false);
        return false;
    }
    return true;
}

void Blob::lied(const std::string& how) {
    answer_.reset();
    elsewhere_ = true;
    if (givers_.size() > 1) {
        suspicion_.alone = true;
        notice_(
            format("{}: blob {}: several endpoints together gave wrong bytes ({}); beginning "
                   "anew with one",
                   image_, descriptor_.digest, how));
    } else {
        give_up(how, false);
    }
    throw Error(ErrorKind::invalid, format("{}: blob {}: {}: {}", image_, descriptor_.digest,
                                           sessions_[current_].name(), how));
}

void Blob::check_digest() {
    done_ = true;
    answer_.reset();
    if (const std::string actual = "sha256:" + hasher_.finish(); actual != descriptor_.digest) {
        lied(format("gives bytes whose digest is {}", actual));
    }
}

void Blob::check_deadline() const {
    if (clock_.monotonic() > deadline_) {
        throw Error(
            ErrorKind::transient,
            format("{}: blob {}: {}: too slow: {} of {} bytes are here, and no more time", image_,
                   descriptor_.digest, sessions_[current_].name(), taken_, descriptor_.size));
    }
}

std::string_view Blob::read(const std::stop_token& stop) {
    while (!done_) {
        check_deadline();
        if (!answer_ && !connect(stop)) continue;
        std::string_view piece;
        try {
            piece = answer_->read(stop);
        } catch (const Error& error) {
            // Whether the connection ends well matters no more when everything is there.
            if (error.kind() == ErrorKind::stopped || taken_ < descriptor_.size) {
                take_failure(error, stop);
                continue;
            }
        }
        if (piece.empty()) {
            if (taken_ < descriptor_.size) {
                givers_.insert(current_);
                lied(format("ends after {} of {} bytes", taken_, descriptor_.size));
            }
            check_digest();
            break;
        }
        const auto known = std::min<std::uint64_t>(skip_, piece.size());
        skip_ -= known;
        piece.remove_prefix(known);
        if (piece.empty()) continue;
        givers_.insert(current_);
        if (piece.size() > descriptor_.size - taken_) {
            lied(format("gives more than {} bytes", descriptor_.size));
        }
        hasher_.update(piece);
        taken_ += piece.size();
        failures_ = 0;
        return piece;
    }
    return {};
}

}  // namespace kua::oci
