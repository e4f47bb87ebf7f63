// SPDX-License-Identifier: Apache-2.0
// A Plan as a watch brings it: read, hashed, and asked everything that the agent asks it.
#include "agent/plan/plan.hpp"

#include <chrono>
#include <string>

#include "agent/plan/hash.hpp"
#include "agent/plan/rules.hpp"
#include "agent/plan/version.hpp"
#include "fuzz/fuzz.hpp"

using namespace kua;
using fuzz::require;

namespace {

constexpr std::chrono::hours kYear{24 * 366};

void check_window(const plan::Window& window) {
    // Around a change to daylight saving time, in most places that have it.
    for (const auto seconds : {1'774'746'000, 1'792'890'000, 0}) {
        const WallTime now{std::chrono::seconds(seconds)};
        const auto opens = window.next_opening(now);
        require(!opens || (*opens >= now && window.contains(*opens)),
                "a window contains the moment at which it opens next");
        require(!window.contains(now) || opens == now, "one that is open need not open");
    }
    const auto text = window.text();
    require(one_line(text) == text, "a window's text is one line of UTF-8");
}

/// What holds for every Plan that nodes act upon.
void check_usable(const plan::Plan& plan) {
    require(plan.version.empty() || plan::parse_version(plan.version).has_value(),
            "a Plan's version is one, or its channel decides");
    require(!plan.deadline || *plan.deadline >= Duration::zero(), "a deadline is not in the past");
    require(plan.post_complete_delay >= Duration::zero() && plan.post_complete_delay <= kYear,
            "the delay is at most a year");
    if (plan.drain) {
        require(plan.drain->timeout >= Duration::zero(), "a drain's timeout is not negative");
        require(!plan.drain->grace_period || *plan.drain->grace_period >= 0,
                "a grace period is not negative");
        (void)(plan.drain->pod_selector && plan.drain->pod_selector->matches({{"app", "web"}}));
    }
    if (plan.window) {
        check_window(*plan.window);
    }
    const std::string hash(56, 'a');
    (void)fuzz::accepted([&] { return plan::complete_labels(plan, "v1.31.4-k3s1", hash).size(); });
    const plan::Labels labels = {{"kubernetes.io/hostname", "agent-1"}, {"a", "b"}};
    (void)plan::selects(plan, labels);
    auto disabled = labels;
    disabled[plan::label_of(plan.name)] = "disabled";
    require(!plan::selects(plan, disabled), "a node that is labelled disabled is left out");
    require(!plan::selects(plan, {{"a", "b"}}), "a node without a host name is left out");
    const auto version = plan::parse_version(plan.version);
    if (version) {
        (void)plan::refusal(plan, {*version, *version, true, {}});
    }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto object =
        fuzz::accepted([&] { return parse_json(fuzz::text_of(data, size), "the watch of Plans"); });
    if (!object) {
        return 0;
    }
    const auto plan = plan::read_plan(*object);
    require(plan.concurrency >= 0, "concurrency is not negative");
    const auto hash = fuzz::accepted([&] { return plan::latest_hash(plan, "v1.31.4-k3s1"); });
    if (hash) {
        require(hash->size() == 56 && hash->find_first_not_of("0123456789abcdef") == hash->npos,
                "the hash is SHA-224's, in hex");
        const auto again = plan::read_plan(parse_json(plan.object.dump(), "itself"));
        require(plan::latest_hash(again, "v1.31.4-k3s1") == *hash, "the hash is the object's");
    }
    if (plan.problem) {
        require(!plan.problem->reason.empty() && !plan.problem->message.empty(),
                "a problem is named");
        // As it goes into the Plan's own status.
        require(is_utf8(plan.problem->message), "a problem's words are UTF-8");
    } else {
        check_usable(plan);
    }
    return 0;
}
