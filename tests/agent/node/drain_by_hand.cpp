// SPDX-License-Identifier: Apache-2.0
// The agent's drain as a program of its own, for the test that compares it with kubectl's: what an
// upgrade does with spec.drain from the checks before the cordon to the last pod, or back.
#include <iostream>
#include <iterator>

#include "agent/node/cordon.hpp"
#include "agent/node/drain.hpp"
#include "agent/plan/plan.hpp"
#include "lib/base/error.hpp"
#include "lib/http/curl_client.hpp"
#include "lib/kube/client.hpp"

namespace {

using namespace kua;

void say(const std::string& verdict, const std::string& text = {}) {
    std::cout << Json{{"verdict", verdict}, {"said", text}}.dump() << '\n';
}

void drain_node(kube::Client& api, const std::string& node, const plan::DrainSpec& spec) {
    constexpr Duration kLongest{60'000};
    SystemClock clock;
    node::Drain drain(api, clock, node);
    const auto selection = drain.plan(spec, {});
    if (!selection.refused.empty()) {
        say("refused", selection.refused.front());
        return;
    }
    if (!spec.disable_eviction) {
        const auto held = drain.held_by_budgets(selection.leave, {});
        if (!held.empty()) {
            say("held", held.front());
            return;
        }
    }
    const node::OwnNode own(api, node);
    own.cordon("by-hand", {});
    try {
        const auto drained = drain.run(spec, kLongest, [](const node::PodsLeft&) {}, {});
        if (drained.ended == node::Drained::By::no_pods) {
            say("drained");
            return;
        }
        say("timed out", drained.left);
    } catch (const Error& error) {
        say("failed", error.what());
    }
    own.uncordon({});
}

}  // namespace

/// drain-by-hand KUBECONFIG NODE <PLAN.json
int main(int count, char** arguments) {
    if (count != 3) {
        std::cerr << "usage: drain-by-hand KUBECONFIG NODE <PLAN.json\n";
        return 2;
    }
    try {
        const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
        const auto plan = plan::read_plan(parse_json(text, "the Plan"));
        if (plan.problem || !plan.drain) {
            say("invalid", plan.problem ? plan.problem->message : "no spec.drain");
            return 0;
        }
        http::CurlOptions direct;
        direct.proxy_from_environment = false;
        http::CurlClient http(direct);
        kube::Client api(http, arguments[1]);
        drain_node(api, arguments[2], *plan.drain);
    } catch (const Error& error) {
        say(error.kind() == ErrorKind::invalid ? "refused" : "failed", error.what());
    }
    return 0;
}
