// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/poller.hpp"

#include <gmock/gmock.h>

#include <functional>
#include <memory>

#include "tests/fakes/fake_clock.hpp"
#include "tests/lib/kube/fake_http_client.hpp"

namespace kua::channel {
namespace {

using test::FakeHttpClient;

constexpr auto kStable = "https://update.example.org/stable";
constexpr auto kLatest = "https://update.example.org/latest";

class PollerTest : public ::testing::Test {
  protected:
    void start() {
        poller_ = std::make_unique<Poller>(
            web_, clock_, Pace{}, [](const std::stop_token&) { return "cluster"; }, changed_);
    }

    void will_say(const std::string& version, const std::string& etag = "") {
        web_.then_text(302, "", {{"Location", "/tag/" + version}, {"ETag", etag}});
    }

    void follow(const std::map<std::string, Wanted>& plans) {
        wanted_ = plans;
        poller_->follow(plans);
    }

    /// Time passes, and the coordinator has a look.
    void after(Duration duration) {
        clock_.advance(duration);
        poller_->follow(wanted_);
    }

    /// Waits, woken as the coordinator is.
    void wait_until(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!condition() && std::chrono::steady_clock::now() < end) {
            changed_.wait(std::chrono::seconds(20), {});
        }
        EXPECT_TRUE(condition());
    }

    [[nodiscard]] std::string accepted(const std::string& plan) const {
        const auto standing = poller_->standing(plan);
        return standing && standing->accepted ? standing->accepted->text() : "-";
    }

    test::FakeClock clock_;
    FakeHttpClient web_;
    Wakeup changed_;
    std::map<std::string, Wanted> wanted_;
    std::unique_ptr<Poller> poller_;
};

TEST_F(PollerTest, AsksEveryFollowedChannelAndSaysWhatItSaid) {
    web_.then([](const http::Request& request, const auto&, const auto&) {
        return http::Response{302, {{"Location", "/v1.30.4+k3s1"}}, "", request.url};
    });
    web_.then([](const http::Request& request, const auto&, const auto&) {
        return http::Response{302, {{"Location", "/v1.31.1+k3s1"}}, "", request.url};
    });
    start();
    EXPECT_FALSE(poller_->standing("a"));
    follow({{"a", {kStable, "", {}}}, {"b", {kLatest, "v1.30.9-k3s1", {}}}});
    wait_until([&] { return accepted("a") != "-" && accepted("b") != "-"; });
    EXPECT_EQ(accepted("a"), "v1.30.4+k3s1");
    EXPECT_EQ(accepted("b"), "v1.31.1+k3s1");
    const auto requests = web_.requests();
    ASSERT_EQ(requests.size(), 2U);
    EXPECT_EQ(requests[0].url, kStable);
    EXPECT_EQ(requests[1].url, kLatest);
    EXPECT_EQ(requests[0].headers.at("X-SUC-Cluster-ID"), "cluster");
    EXPECT_EQ(requests[1].headers.at("X-SUC-Latest-Version"), "v1.30.9-k3s1");
}

TEST_F(PollerTest, ConfirmsAChangeBeforeItIsAccepted) {
    will_say("v1.30.4+k3s1", "1");
    start();
    follow({{"a", {kStable, "", {}}}});
    wait_until([&] { return accepted("a") == "v1.30.4+k3s1"; });
    will_say("v1.30.5+k3s1", "2");
    after(std::chrono::minutes(15));
    wait_until([&] { return poller_->standing("a")->pending.has_value(); });
    EXPECT_EQ(accepted("a"), "v1.30.4+k3s1");
    web_.then_text(304, "");
    after(std::chrono::minutes(1));
    wait_until([&] { return accepted("a") == "v1.30.5+k3s1"; });
    const auto requests = web_.requests();
    ASSERT_EQ(requests.size(), 3U);
    EXPECT_EQ(requests[1].headers.at("If-None-Match"), "1");
    EXPECT_EQ(requests[2].headers.at("If-None-Match"), "2");
}

TEST_F(PollerTest, TakesWhatStatusSaysWhileTheChannelIsAway) {
    web_.then_fail();
    start();
    follow({{"a", {kStable, "", plan::parse_version("v1.30.4+k3s1")}}});
    wait_until([&] { return !poller_->standing("a")->problem.empty(); });
    EXPECT_EQ(accepted("a"), "v1.30.4+k3s1");
}

TEST_F(PollerTest, BeginsAnewWithAnotherChannel) {
    will_say("v1.30.4+k3s1", "1");
    start();
    follow({{"a", {kStable, "", {}}}});
    wait_until([&] { return accepted("a") == "v1.30.4+k3s1"; });
    will_say("v1.31.1+k3s1");
    follow({{"a", {kLatest, "v1.30.4-k3s1", plan::parse_version("v1.30.4+k3s1")}}});
    wait_until([&] { return accepted("a") == "v1.31.1+k3s1"; });
    const auto requests = web_.requests();
    ASSERT_EQ(requests.size(), 2U) << "the first answer counts at once";
    EXPECT_FALSE(requests[1].headers.contains("If-None-Match"));
}

TEST_F(PollerTest, ForgetsAPlanThatIsGone) {
    will_say("v1.30.4+k3s1");
    start();
    follow({{"a", {kStable, "", {}}}});
    wait_until([&] { return accepted("a") == "v1.30.4+k3s1"; });
    follow({});
    EXPECT_FALSE(poller_->standing("a"));
}

TEST_F(PollerTest, ThrowsAwayAnAnswerOfAChannelThatIsNoLongerFollowed) {
    Wakeup asked;
    Wakeup answer;
    web_.then([&](const http::Request& request, const auto&, const std::stop_token& stop) {
        asked.ring();
        answer.wait(std::chrono::seconds(20), stop);
        return http::Response{302, {{"Location", "/v1.30.4+k3s1"}}, "", request.url};
    });
    will_say("v1.31.1+k3s1");
    start();
    follow({{"a", {kStable, "", {}}}});
    asked.wait(std::chrono::seconds(20), {});
    follow({{"a", {kLatest, "", {}}}});
    answer.ring();
    wait_until([&] { return accepted("a") != "-"; });
    EXPECT_EQ(accepted("a"), "v1.31.1+k3s1");
}

TEST_F(PollerTest, NeitherWaitsForAChannelThatHangsNorDoesItsEnd) {
    start();
    follow({{"a", {kStable, "", {}}}});
    follow({{"a", {kStable, "", {}}}, {"b", {kLatest, "", {}}}});
    EXPECT_EQ(poller_->standing("b").value(), Standing{});
    poller_.reset();
}

}  // namespace
}  // namespace kua::channel
