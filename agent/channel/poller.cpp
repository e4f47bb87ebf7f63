// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/poller.hpp"

#include <algorithm>
#include <exception>
#include <functional>

#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"
#include "lib/log/log.hpp"

namespace kua::channel {

namespace {

constexpr Duration kLongSleep{3'600'000};

Standing standing_of(const Follow& state) {
    return {state.accepted(), state.pending(), state.problem()};
}

}  // namespace

Poller::Poller(http::Client& web, Clock& clock, Pace pace, ClusterId cluster_id, Wakeup& changed)
    : web_(web),
      clock_(clock),
      pace_(pace),
      cluster_id_(std::move(cluster_id)),
      changed_(changed),
      thread_(watched("the channels", [this](const std::stop_token& stop) { run(stop); })) {}

Poller::~Poller() = default;

void Poller::follow(const std::map<std::string, Wanted>& plans) {
    bool due = false;
    {
        const std::lock_guard guard(mutex_);
        const auto now = clock_.monotonic();
        std::erase_if(followed_, [&](const auto& entry) { return !plans.contains(entry.first); });
        for (const auto& [plan, wanted] : plans) {
            const auto [entry, is_new] =
                followed_.try_emplace(plan, Followed{wanted, Follow(pace_, wanted.accepted, now)});
            if (!is_new && entry->second.wanted.url != wanted.url) {
                entry->second.state = Follow(pace_, std::nullopt, now);
            }
            entry->second.wanted = wanted;
            due = due || entry->second.state.next() <= now;
        }
    }
    if (due) {
        bell_.ring();
    }
}

std::optional<Standing> Poller::standing(const std::string& plan) const {
    const std::lock_guard guard(mutex_);
    const auto found = followed_.find(plan);
    if (found == followed_.end()) {
        return std::nullopt;
    }
    return standing_of(found->second.state);
}

void Poller::run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        if (const auto question = next_question()) {
            try {
                put(*question, stop);
            } catch (const std::exception&) {
                return;  // Stopped: everything else `put` keeps as the channel's problem.
            }
        } else {
            bell_.wait(idle(), stop);
        }
    }
}

std::optional<Poller::Question> Poller::next_question() const {
    const std::lock_guard guard(mutex_);
    const auto first = std::min_element(
        followed_.begin(), followed_.end(), [](const auto& left, const auto& right) {
            return left.second.state.next() < right.second.state.next();
        });
    if (first == followed_.end() || first->second.state.next() > clock_.monotonic()) {
        return std::nullopt;
    }
    return Question{first->first, first->second.wanted, first->second.state.etag()};
}

void Poller::put(const Question& question, const std::stop_token& stop) {
    std::function<void(Follow&)> outcome;
    try {
        auto answer = ask(web_, question.wanted.url, question.wanted.latest, cluster_id_(stop),
                          question.etag, stop);
        outcome = [this, answer](Follow& state) { state.answered(answer, clock_.monotonic()); };
    } catch (const std::exception& error) {
        if (stop.stop_requested()) {
            throw;
        }
        outcome = [this, why = std::string(error.what())](Follow& state) {
            state.failed(why, clock_.monotonic());
        };
    }
    Standing before;
    Standing after;
    {
        const std::lock_guard guard(mutex_);
        const auto found = followed_.find(question.plan);
        // The Plan may have gone, or have got another channel, while this one was thinking.
        if (found == followed_.end() || found->second.wanted.url != question.wanted.url ||
            found->second.state.etag() != question.etag) {
            return;
        }
        before = standing_of(found->second.state);
        outcome(found->second.state);
        after = standing_of(found->second.state);
    }
    if (after == before) {
        return;
    }
    const log::Fields fields = {{"plan", question.plan}};
    if (after.problem != before.problem && !after.problem.empty()) {
        log::debug(format("the channel could not be asked: {}", after.problem), fields);
    }
    if (after.pending != before.pending && after.pending) {
        log::info(format("the channel names {} instead of {}; asking again in {} before anything "
                         "acts on it",
                         after.pending->text(), after.accepted->text(), to_text(pace_.confirm)),
                  fields);
    }
    if (after.accepted != before.accepted) {
        log::info(format("the channel names {}", after.accepted->text()), fields);
    }
    changed_.ring();
}

Duration Poller::idle() const {
    const std::lock_guard guard(mutex_);
    auto sleep = kLongSleep;
    const auto now = clock_.monotonic();
    for (const auto& [plan, followed] : followed_) {
        sleep = std::min(sleep, std::chrono::ceil<Duration>(followed.state.next() - now));
    }
    return std::max(sleep, Duration::zero());
}

}  // namespace kua::channel
