// SPDX-License-Identifier: Apache-2.0
#include "agent/node/health.hpp"

#include <gmock/gmock.h>

#include <thread>

#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"

namespace kua::node {
namespace {

using test::error_of;
using test::FakeApi;
using ::testing::HasSubstr;

constexpr auto kNew = "v1.31.4+k3s1";
constexpr auto kNode = "/api/v1/nodes/server-1";

Json node(const std::string& version, const std::string& ready, const std::string& heartbeat) {
    Json condition = {{"type", "Ready"}, {"status", ready}, {"message", "kubelet says"}};
    if (!heartbeat.empty()) {
        condition["lastHeartbeatTime"] = heartbeat;
    }
    return {{"metadata", {{"name", "server-1"}}},
            {"status",
             {{"nodeInfo", {{"kubeletVersion", version}}},
              {"conditions",
               Json::array({{{"type", "DiskPressure"}, {"status", "False"}}, condition})}}}};
}

WallTime at(const std::string& text) { return parse_rfc3339(text); }

TEST(Health, KnowsWhetherTheKubeletThatRunsHasReported) {
    const auto started = at("2026-01-01T00:00:30.500000Z");
    const auto now = at("2026-01-01T00:10:00.100000Z");
    struct Case {
        std::string name;
        std::string heartbeat;
        bool reported;
    };
    const std::vector<Case> cases = {
        {"none", "", false},
        {"before", "2026-01-01T00:00:29Z", false},
        {"in the second of its start", "2026-01-01T00:00:30Z", false},
        {"after", "2026-01-01T00:00:31Z", true},
        {"just now", "2026-01-01T00:10:00Z", true},
        {"before a boot without the time of day", "2026-01-01T00:10:01Z", false},
    };
    for (const auto& [name, heartbeat, reported] : cases) {
        EXPECT_EQ(reported_since(node(kNew, "True", heartbeat), started, now), reported) << name;
    }
}

TEST(Health, SaysWhatIsMissing) {
    const Expected version_only{kNew, {}, {}};
    const Expected after_heartbeat{kNew, at("2026-01-01T00:00:00Z"), {}};
    const Expected after_restart{kNew, at("2026-01-01T00:00:00Z"),
                                 at("2026-01-01T00:00:30.500000Z")};
    struct Case {
        std::string name;
        Json node;
        Expected expected;
        std::string said;  ///< Empty: healthy.
    };
    const std::vector<Case> cases = {
        {"healthy", node(kNew, "True", "2026-01-01T00:01:00Z"), version_only, ""},
        {"the old version", node("v1.30.4+k3s1", "True", "2026-01-01T00:01:00Z"), version_only,
         "the kubelet reports v1.30.4+k3s1, not v1.31.4+k3s1"},
        {"no version", node("", "True", "2026-01-01T00:01:00Z"), version_only,
         "the kubelet reports no version"},
        {"not Ready", node(kNew, "False", "2026-01-01T00:01:00Z"), version_only,
         "the node is not Ready: kubelet says"},
        {"unknown", node(kNew, "Unknown", "2026-01-01T00:01:00Z"), version_only, "not Ready"},
        {"no heartbeat", node(kNew, "True", ""), version_only, "has not reported yet"},
        {"the heartbeat from before", node(kNew, "True", "2026-01-01T00:00:00Z"), after_heartbeat,
         "has not reported since the restart"},
        {"another heartbeat", node(kNew, "True", "2026-01-01T00:00:01Z"), after_heartbeat, ""},
        {"another heartbeat, the clock was set back", node(kNew, "True", "2025-12-31T23:00:00Z"),
         after_heartbeat, ""},
        {"between the two", node(kNew, "True", "2026-01-01T00:00:10Z"), after_restart,
         "has not reported since the restart"},
        {"in the second of the restart", node(kNew, "True", "2026-01-01T00:00:30Z"), after_restart,
         "has not reported since the restart"},
        {"in the next second", node(kNew, "True", "2026-01-01T00:00:31Z"), after_restart, ""},
        {"no status at all",
         {{"metadata", {{"name", "server-1"}}}},
         version_only,
         "the kubelet reports no version"},
        {"no conditions",
         {{"status", {{"nodeInfo", {{"kubeletVersion", kNew}}}}}},
         version_only,
         "not Ready: the kubelet has not reported"},
    };
    for (const auto& [name, object, expected, said] : cases) {
        const auto reason = unhealthy(object, expected);
        EXPECT_EQ(reason.has_value(), !said.empty()) << name << ": " << reason.value_or("");
        EXPECT_THAT(reason.value_or(""), HasSubstr(said)) << name;
    }
}

class WaitHealthy : public ::testing::Test {
  protected:
    static constexpr Patience kShort{Duration(200), Duration(200)};
    static constexpr Patience kLong{std::chrono::minutes(1), std::chrono::minutes(1)};
    test::TempFolder folder_;
    FakeApi api_;
    kube::Client client_{api_, test::write_kubeconfig(folder_)};
};

TEST_F(WaitHealthy, ReturnsWhenTheNodeIs) {
    api_.put(kNode, node("v1.30.4+k3s1", "True", "2026-01-01T00:00:00Z"));
    std::jthread kubelet([this] {
        api_.wait_until([this] { return !api_.requests().empty(); });
        api_.edit(kNode, node(kNew, "False", "2026-01-01T00:01:00Z"));
        api_.edit(kNode, node(kNew, "True", "2026-01-01T00:02:00Z"));
    });
    EXPECT_NO_THROW(
        wait_healthy(client_, "server-1", {kNew, at("2026-01-01T00:00:00Z"), {}}, kLong, {}));
}

TEST_F(WaitHealthy, SaysWhatWasMissingLast) {
    api_.put(kNode, node(kNew, "False", "2026-01-01T00:00:00Z"));
    auto error = error_of([&] { wait_healthy(client_, "server-1", {kNew, {}, {}}, kShort, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("not healthy after 200ms: the node is not Ready"));
    api_.remove(kNode);
    error = error_of([&] { wait_healthy(client_, "server-1", {kNew, {}, {}}, kShort, {}); });
    EXPECT_THAT(error.what(), HasSubstr("the Node object is gone"));
    api_.set_down(true);
    error = error_of([&] { wait_healthy(client_, "server-1", {kNew, {}, {}}, kShort, {}); });
    EXPECT_THAT(error.what(), HasSubstr("the API did not answer"));
}

TEST_F(WaitHealthy, DoesNotHoldAnOutageAgainstTheNode) {
    api_.put(kNode, node("v1.30.4+k3s1", "True", "2026-01-01T00:00:00Z"));
    api_.set_down(true);
    std::jthread outage([this] {
        // It has asked more often than `answered` alone would let it.
        api_.wait_until([this] { return api_.requests().size() > 20; });
        api_.edit(kNode, node(kNew, "True", "2026-01-01T00:02:00Z"));
        api_.set_down(false);
    });
    EXPECT_NO_THROW(wait_healthy(client_, "server-1", {kNew, at("2026-01-01T00:00:00Z"), {}},
                                 {Duration(200), std::chrono::minutes(1)}, {}));
}

TEST_F(WaitHealthy, EndsWithTheOutage) {
    api_.set_down(true);
    const auto error = error_of([&] {
        wait_healthy(client_, "server-1", {kNew, {}, {}}, {Duration(100), Duration(400)}, {});
    });
    EXPECT_THAT(error.what(), HasSubstr("not healthy after 400ms: the API did not answer"));
}

TEST_F(WaitHealthy, Stops) {
    api_.put(kNode, node(kNew, "False", "2026-01-01T00:00:00Z"));
    std::stop_source stop;
    std::jthread impatient([&] {
        api_.wait_until([this] { return !api_.requests().empty(); });
        stop.request_stop();
    });
    EXPECT_EQ(error_of([&] {
                  wait_healthy(client_, "server-1", {kNew, {}, {}}, kLong, stop.get_token());
              }).kind(),
              ErrorKind::stopped);
}

}  // namespace
}  // namespace kua::node
