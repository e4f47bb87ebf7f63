// SPDX-License-Identifier: Apache-2.0
#include "agent/node/readyz.hpp"

#include <optional>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::node {

namespace {

// There is nothing to watch, and it is this host that answers.
constexpr Duration kAskAgain{1'000};
constexpr std::size_t kMostChecks = 10;
constexpr std::size_t kMostName = 100;

struct Readiness {
    bool over = false;    ///< Nothing more to wait for.
    std::string missing;  ///< While it is not.
};

Readiness ask(kube::Client& client, const std::stop_token& stop) {
    const auto answer = client.get_text("/readyz", {{"verbose", ""}}, stop);
    if (answer.status == 200) {
        return {true, {}};
    }
    if (answer.status == 403 || answer.status == 404) {
        log::warning(
            format("/readyz: {}: the API server does not let this node ask whether it is "
                   "ready; going by the Node alone",
                   answer.status));
        return {true, {}};
    }
    const auto failing = failing_checks(answer.body);
    return {false, failing.empty() ? format("{} {}", answer.status, excerpt(answer.body, 200))
                                   : "failing checks: " + join(failing, ", ")};
}

}  // namespace

std::vector<std::string> failing_checks(const std::string& verbose) {
    // kube-apiserver: `[-]etcd failed: reason withheld`, among `[+]ping ok`.
    std::vector<std::string> failing;
    for (const auto& line : split(verbose, '\n')) {
        if (line.starts_with("[-]") && failing.size() < kMostChecks) {
            const auto name = line.substr(3, line.find(' ') - 3);
            failing.push_back(excerpt(name, kMostName));
        }
    }
    return failing;
}

void wait_api_ready(kube::Client& client, Clock& clock, Duration timeout,
                    const std::stop_token& stop) {
    const auto end = clock.monotonic() + timeout;
    std::string missing;
    while (true) {
        try {
            const auto readiness = ask(client, stop);
            if (readiness.over) {
                return;
            }
            missing = readiness.missing;
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::stopped) {
                throw;
            }
            missing = error.what();
        }
        if (clock.monotonic() >= end) {
            throw Error(ErrorKind::failed, format("the API server of this host is not ready after "
                                                  "{} (/readyz): {}",
                                                  to_text(timeout), missing));
        }
        if (!clock.wait_for(kAskAgain, stop)) {
            throw Error(ErrorKind::stopped, "stopped while waiting for /readyz");
        }
    }
}

}  // namespace kua::node
