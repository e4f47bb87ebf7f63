// SPDX-License-Identifier: Apache-2.0
#include "agent/node/etcd_health.hpp"

#include <algorithm>
#include <string>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/log/log.hpp"

namespace kua::node {

namespace {

/// `localhost`: on a host without IPv4 it listens on [::1].
constexpr auto kHealth = "http://localhost:2381/health";
constexpr Duration kAskAgain{1'000};
constexpr Duration kSilence{30'000};
constexpr std::uint64_t kMostAnswer = 64ULL << 10U;

/// Empty when it is healthy. Throws when it does not answer.
std::string ask(http::Client& client, const std::stop_token& stop) {
    http::Request request;
    request.url = kHealth;
    request.timeout = kSilence;
    request.most_body = kMostAnswer;
    const auto response = client.send(request, stop);
    if (response.status == 200) {
        return {};
    }
    // {"health":"false","reason":"RAFT NO LEADER"}
    std::string reason;
    try {
        reason = string_at(parse_json(response.body, "etcd's answer"), {"reason"});
    } catch (const Error&) {
        reason.clear();
    }
    // etcd 3.4 gives no reason.
    return format("{} {}", response.status, excerpt(reason.empty() ? response.body : reason, 200));
}

}  // namespace

void wait_etcd_healthy(http::Client& client, Clock& clock, Duration timeout,
                       const std::stop_token& stop) {
    const auto begin = clock.monotonic();
    bool answered = false;
    while (true) {
        std::string missing;
        try {
            missing = ask(client, stop);
            if (missing.empty()) {
                return;
            }
            answered = true;
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::stopped) {
                throw;
            }
            missing = error.what();
        }
        const auto passed = clock.monotonic() - begin;
        if (!answered && passed >= std::min(timeout, kSilence)) {
            log::warning(
                format("etcd's health can't be asked ({}); going by the Node alone", missing));
            return;
        }
        if (passed >= timeout) {
            throw Error(ErrorKind::failed, format("the etcd of this host is not healthy after {} "
                                                  "({}): {}",
                                                  to_text(timeout), kHealth, missing));
        }
        if (!clock.wait_for(kAskAgain, stop)) {
            throw Error(ErrorKind::stopped, "stopped while waiting for etcd");
        }
    }
}

}  // namespace kua::node
