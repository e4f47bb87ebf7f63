// SPDX-License-Identifier: Apache-2.0
#include "agent/node/report.hpp"

#include <gtest/gtest.h>

#include "tests/agent/support.hpp"
#include "tests/fakes/fake_clock.hpp"

namespace kua::node {
namespace {

using test::read_text;

TEST(StatusLine, SaysPhaseVersionPlanPercentAndMessage) {
    struct Case {
        Status status;
        std::string expected;
    };
    const auto status = [](const std::string& phase, const std::string& plan,
                           const std::string& target, std::optional<int> percent,
                           const std::string& message) {
        Status made;
        made.phase = phase;
        made.plan = plan;
        made.target = target;
        made.percent = percent;
        made.message = message;
        return made;
    };
    for (const auto& [given, expected] : std::vector<Case>{
             {Status(), "Starting"},
             {status("Idle", "", "", {}, "nothing to do"), "Idle: nothing to do"},
             {status("Draining", "server-plan", "v1.31.4+k3s1", {}, "2 pods left"),
              "Draining v1.31.4+k3s1 for server-plan: 2 pods left"},
             {status("Fetching", "p", "v1.31.4+k3s1", 0, ""), "Fetching v1.31.4+k3s1 for p 0%"},
             {status("Fetching", "p", "v1.31.4+k3s1", 61, "40 MB of 66 MB"),
              "Fetching v1.31.4+k3s1 for p 61%: 40 MB of 66 MB"},
         }) {
        EXPECT_EQ(status_line(given), expected);
    }
}

class ReportTest : public ::testing::Test {
  protected:
    Json status() { return Json::parse(read_text(folder_ / "status.json")); }

    test::TempFolder folder_;
    test::FakeClock clock_;
    Report report_{clock_, folder_.path(), folder_.path()};
};

TEST_F(ReportTest, PublishesWhatChanges) {
    report_.update([](Status& status) {
        status.node = "server-1";
        status.phase = "Idle";
    });
    EXPECT_EQ(status().at("node"), "server-1");
    EXPECT_EQ(status().at("phase"), "Idle");
    EXPECT_TRUE(status().at("percent").is_null());
    EXPECT_EQ(status().at("updated"), "2026-01-01T00:00:00Z");
}

TEST_F(ReportTest, WritesNothingWhenNothingChanged) {
    report_.update([](Status& status) { status.phase = "Idle"; });
    std::filesystem::remove(folder_ / "status.json");
    clock_.advance(std::chrono::minutes(1));
    report_.update([](Status& status) { status.phase = "Idle"; });
    EXPECT_FALSE(std::filesystem::exists(folder_ / "status.json"));
}

TEST_F(ReportTest, KeepsTheLastResult) {
    LastResult result;
    result.plan = "p";
    result.result = "Failed";
    result.seconds = 1.5;
    result.timings = {{"drain", 1.25}};
    report_.finished(result);
    const auto written = Json::parse(read_text(folder_ / "last-result.json"));
    EXPECT_EQ(written.at("result"), "Failed");
    EXPECT_EQ(written.at("timings").at("drain"), 1.25);
}

TEST_F(ReportTest, NeverStopsAnUpgrade) {
    Report nowhere(clock_, "/proc/no/such", "/proc/no/such");
    EXPECT_NO_THROW(nowhere.update([](Status& status) { status.phase = "Idle"; }));
    EXPECT_NO_THROW(nowhere.finished(LastResult()));
    EXPECT_NO_THROW(report_.update([](Status& status) { status.message = "bytes \xff"; }));
    LastResult odd;
    odd.message = "bytes \xff";
    EXPECT_NO_THROW(report_.finished(odd));
}

}  // namespace
}  // namespace kua::node
