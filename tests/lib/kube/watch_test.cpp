// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/watch.hpp"

#include <gmock/gmock.h>

#include <future>

#include "tests/fakes/fake_clock.hpp"
#include "tests/lib/kube/fake_http_client.hpp"
#include "tests/lib/kube/fixture.hpp"

namespace kua::kube {
namespace {

using test::Bell;
using test::error_of;
using test::FakeHttpClient;
using test::KubeletFiles;
using ::testing::HasSubstr;
using ::testing::Not;

Json object(const std::string& name, const std::string& version, const std::string& value = "") {
    return {{"metadata",
             {{"name", name},
              {"resourceVersion", version},
              {"managedFields", Json::array({{{"manager", "kubectl"}}})}}},
            {"value", value}};
}

Json list_of(const std::string& version, const std::vector<Json>& items) {
    return {{"kind", "NodeList"},
            {"apiVersion", "v1"},
            {"metadata", {{"resourceVersion", version}}},
            {"items", items}};
}

Json event(const std::string& type, const Json& about) {
    return {{"type", type}, {"object", about}};
}

Json error_event(int code) {
    return event("ERROR", {{"kind", "Status"}, {"code", code}, {"message", "it went wrong"}});
}

constexpr Pace kFast{Duration(1), Duration(2), Duration(3)};

class WatchTest : public ::testing::Test {
  protected:
    std::unique_ptr<Watch> watch(const Selection& selection = {"/api/v1/nodes", {}},
                                 Pace pace = kFast) {
        return std::make_unique<Watch>(
            client_, selection, [this] { bell_.ring(); }, pace);
    }
    // Waits until `count` requests were made, which the watch's changes announce.
    bool asked(std::size_t count) {
        return bell_.wait([&] { return http_.requests().size() >= count; });
    }
    // Watches until `name` is known; at no moment may a problem be told.
    void expect_without_alarm(const std::string& name) {
        bool alarmed = false;
        const auto nodes = watch();
        ASSERT_TRUE(bell_.wait([&] {
            const Snapshot now = nodes->snapshot();
            alarmed = alarmed || now.problem.has_value();
            return now.objects.contains(name);
        }));
        EXPECT_FALSE(alarmed);
    }
    std::string url(std::size_t number) { return http_.requests().at(number).url; }

    KubeletFiles files_;
    FakeHttpClient http_;
    test::FakeClock clock_;
    Client client_{http_, files_.path(), [this] { return clock_.monotonic(); }};
    Bell bell_;
};

TEST_F(WatchTest, ListsAndThenWatchesFromTheListsVersion) {
    http_.then(200, list_of("7", {object("a", "5", "x")})).then_hang_after({});
    const auto nodes = watch({"/api/v1/nodes", {{"fieldSelector", "metadata.name=a"}}});
    ASSERT_TRUE(bell_.wait([&] { return nodes->snapshot().synced; }));
    const Json a = nodes->get("a").value();
    EXPECT_EQ(a.at("value"), "x");
    EXPECT_EQ(a.at("kind"), "Node");
    EXPECT_EQ(a.at("apiVersion"), "v1");
    EXPECT_FALSE(a.at("metadata").contains("managedFields"));
    EXPECT_EQ(nodes->get("b"), std::nullopt);

    ASSERT_TRUE(asked(1));
    EXPECT_THAT(url(0), HasSubstr("fieldSelector=metadata.name%3Da&limit=250"));
    EXPECT_THAT(url(0), Not(HasSubstr("resourceVersion")));
}

TEST_F(WatchTest, AppliesEventsInOrder) {
    http_.then(200, list_of("7", {object("a", "5", "x"), object("b", "6")}))
        .then_hang_after({event("MODIFIED", object("a", "8", "y")),
                          event("DELETED", object("b", "9")),
                          event("ADDED", object("c", "10", "z"))});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->get("c").has_value(); }));
    const Snapshot now = nodes->snapshot();
    EXPECT_EQ(now.objects.size(), 2U);
    EXPECT_EQ(now.objects.at("a").at("value"), "y");
    EXPECT_FALSE(now.objects.at("a").at("metadata").contains("managedFields"));
    EXPECT_EQ(now.problem, std::nullopt);

    EXPECT_THAT(url(1), HasSubstr("allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds="));
    EXPECT_THAT(url(1), HasSubstr("watch=true"));
    EXPECT_GT(http_.requests().at(1).idle_timeout, std::chrono::seconds(300));
}

TEST_F(WatchTest, ReadsALongListPageByPage) {
    Json first = list_of("7", {object("a", "5")});
    first["metadata"]["continue"] = "more";
    http_.then(200, first).then(200, list_of("7", {object("b", "6")})).then_hang_after({});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->snapshot().synced; }));
    EXPECT_EQ(nodes->snapshot().objects.size(), 2U);
    EXPECT_THAT(url(1), HasSubstr("continue=more&limit=250"));
}

TEST_F(WatchTest, TakesAnEmptyListWithoutItems) {
    Json empty = list_of("7", {});
    empty["items"] = nullptr;
    http_.then(200, empty).then_hang_after({});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->snapshot().synced; }));
    EXPECT_TRUE(nodes->snapshot().objects.empty());
}

TEST_F(WatchTest, KeepsObjectsOfAllNamespacesApart) {
    Json one = object("web", "1");
    one["metadata"]["namespace"] = "a";
    Json two = one;
    two["metadata"]["namespace"] = "b";
    http_.then(200, list_of("7", {one, two}))
        .then_hang_after({event("DELETED", one)})
        .then(200, list_of("7", {one}));
    const auto pods = watch({"/api/v1/pods", {}});
    ASSERT_TRUE(bell_.wait([&] {
        const auto now = pods->snapshot();
        return now.objects.contains("b/web") && !now.objects.contains("a/web");
    }));
    const auto within = watch({"/api/v1/namespaces/a/pods", {}});
    ASSERT_TRUE(bell_.wait([&] { return within->get("web").has_value(); }));
}

TEST_F(WatchTest, GoesOnFromTheLastBookmarkWhenTheServerEndsTheWatch) {
    http_.then(200, list_of("7", {}))
        .then_events({event("BOOKMARK", object("", "50"))})
        .then_hang_after({event("ADDED", object("a", "51"))});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->get("a").has_value(); }));
    EXPECT_THAT(url(2), HasSubstr("resourceVersion=50&"));
    EXPECT_EQ(nodes->snapshot().objects.size(), 1U);
}

TEST_F(WatchTest, GoesOnFromTheLastEventWhenTheConnectionBreaksWithoutAlarm) {
    http_.then(200, list_of("7", {}))
        .then_break_after({event("ADDED", object("a", "8"))})
        .then_hang_after({event("ADDED", object("b", "9"))});
    expect_without_alarm("b");
    EXPECT_THAT(url(2), HasSubstr("resourceVersion=8&"));
}

TEST_F(WatchTest, IsUpToDateWhereItIsCutAgainAndAgain) {
    http_.then(200, list_of("7", {}));
    for (int i = 0; i < 5; ++i) {
        http_.then_break_after({event("ADDED", object("a", "8"))});
    }
    http_.then_hang_after({event("ADDED", object("b", "9"))});
    expect_without_alarm("b");
}

TEST_F(WatchTest, SaysWhatIsWrongWhileTheServerIsAwayAndKeepsWhatItKnew) {
    std::promise<void> back;
    http_.then(200, list_of("7", {object("a", "5")}))
        .then_break_after({})
        .then_fail()
        .then(200, list_of("8", {object("a", "5")}))
        .then([&](const http::Request&, const FakeHttpClient::Give& give,
                  const std::stop_token&) -> http::Response {
            back.get_future().wait();
            give(event("ADDED", object("b", "9")).dump() + "\n");
            throw Error(ErrorKind::transient, "once more");
        })
        .then_hang_after({});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->snapshot().problem.has_value(); }));
    EXPECT_EQ(nodes->snapshot().problem, "connection refused");
    EXPECT_TRUE(nodes->snapshot().synced);
    EXPECT_TRUE(nodes->get("a").has_value());
    back.set_value();
    ASSERT_TRUE(bell_.wait(
        [&] { return nodes->get("b").has_value() && !nodes->snapshot().problem.has_value(); }));
}

TEST_F(WatchTest, ListsAgainWhenTheServerWasAway) {
    // It may have come back with a data store that has not reached version 7 yet.
    http_.then(200, list_of("7", {object("a", "5")}))
        .then_break_after({})
        .then_fail()
        .then(200, list_of("3", {object("b", "2")}))
        .then_hang_after({});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait(
        [&] { return nodes->get("b").has_value() && !nodes->snapshot().problem.has_value(); }));
    EXPECT_FALSE(nodes->get("a").has_value());
}

TEST_F(WatchTest, AsksAServerForNoListThatHasTooMuchToDo) {
    http_.then(200, list_of("7", {object("a", "5")}))
        .then_break_after({})
        .then(429, {{"kind", "Status"}, {"code", 429}})
        .then_hang_after({event("MODIFIED", object("a", "9", "new"))});
    const auto nodes = watch();
    EXPECT_TRUE(bell_.wait([&] {
        const auto a = nodes->get("a");
        return a && a->at("value") == "new";
    }));
}

TEST_F(WatchTest, ListsAgainWhenTheVersionIsGone) {
    http_.then(200, list_of("7", {object("a", "5")}))
        .then_events({error_event(410)})
        .then(200, list_of("90", {object("b", "80")}))
        .then(410, {{"kind", "Status"}, {"code", 410}})
        .then(200, list_of("200", {object("c", "150")}))
        .then_hang_after({});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->get("c").has_value(); }));
    EXPECT_EQ(nodes->snapshot().objects.size(), 1U);
    EXPECT_EQ(nodes->snapshot().problem, std::nullopt);
    EXPECT_THAT(url(3), HasSubstr("resourceVersion=90&"));
}

TEST_F(WatchTest, ListsAgainAfterAnyOtherErrorEventAndReportsWhenItRepeats) {
    for (int i = 0; i < 2; ++i) {
        http_.then(200, list_of("7", {})).then_events({error_event(500)});
    }
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->snapshot().problem.has_value(); }));
    EXPECT_EQ(*nodes->snapshot().problem, "watching /api/v1/nodes: it went wrong");
}

TEST_F(WatchTest, SaysWhatToDoWhenItStaysForbiddenAndRecovers) {
    std::promise<void> time_passes;
    std::promise<void> granted;
    const Json forbidden = {{"message", "nodes is forbidden: User \"x\" cannot list"}};
    http_.then(403, forbidden)
        .then([&](const http::Request&, const FakeHttpClient::Give&, const std::stop_token&) {
            time_passes.get_future().wait();
            clock_.advance(Refusals::kLasts);
            return http::Response{403, {}, forbidden.dump(), ""};
        })
        .then([&](const http::Request&, const FakeHttpClient::Give&, const std::stop_token&) {
            granted.get_future().wait();
            return http::Response{200, {}, list_of("7", {object("a", "5")}).dump(), ""};
        })
        .then_hang_after({});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->snapshot().problem.has_value(); }));
    const std::string at_first = *nodes->snapshot().problem;
    EXPECT_THAT(at_first, HasSubstr("listing /api/v1/nodes: the API server answers 403; it may "
                                    "still be loading its RBAC rules after a start"));
    EXPECT_THAT(at_first, Not(HasSubstr("apply")));
    time_passes.set_value();
    ASSERT_TRUE(bell_.wait([&] { return nodes->snapshot().problem != at_first; }));
    const std::string problem = nodes->snapshot().problem.value_or("");
    EXPECT_THAT(problem, HasSubstr("listing /api/v1/nodes: 403 nodes is forbidden"));
    EXPECT_THAT(problem, HasSubstr("k3s-upgrade-agent manifests | kubectl apply -f -"));
    EXPECT_FALSE(nodes->snapshot().synced);
    granted.set_value();
    ASSERT_TRUE(bell_.wait(
        [&] { return nodes->snapshot().synced && !nodes->snapshot().problem.has_value(); }));
}

TEST_F(WatchTest, SaysThatTheCrdIsMissingWhenThatLasts) {
    std::promise<void> time_passes;
    http_.then_text(404, "404 page not found\n")
        .then([&](const http::Request&, const FakeHttpClient::Give&, const std::stop_token&) {
            time_passes.get_future().wait();
            clock_.advance(Refusals::kLasts);
            return http::Response{404, {}, "404 page not found\n", ""};
        });
    const auto plans = watch({"/apis/upgrade.cattle.io/v1/namespaces/system-upgrade/plans", {}});
    ASSERT_TRUE(bell_.wait([&] { return plans->snapshot().problem.has_value(); }));
    const std::string at_first = *plans->snapshot().problem;
    EXPECT_TRUE(is_passing(at_first));
    EXPECT_THAT(at_first, HasSubstr("loading its CRDs after a start"));
    EXPECT_THAT(at_first, Not(HasSubstr("apply")));
    time_passes.set_value();
    ASSERT_TRUE(bell_.wait([&] { return plans->snapshot().problem != at_first; }));
    EXPECT_THAT(*plans->snapshot().problem, HasSubstr("no CRD"));
    EXPECT_THAT(*plans->snapshot().problem, HasSubstr("apply deploy/"));
}

TEST_F(WatchTest, ThatIsEndedEarlyMayMeanAnotherServer) {
    http_.then(200, list_of("7", {})).then_events({}).then(403, {{"message", "forbidden"}});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->snapshot().problem.has_value(); }));
    // In the client's words: any other request would be tried again, too.
    EXPECT_THAT(*nodes->snapshot().problem, HasSubstr("watching https://127.0.0.1:6443/api"));
    EXPECT_TRUE(is_passing(*nodes->snapshot().problem));
}

TEST_F(WatchTest, SaysWhatIsWrongWithTheKubeconfigAndRecovers) {
    files_.issue(std::chrono::hours(-1));
    http_.then(200, list_of("7", {})).then_hang_after({});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->snapshot().problem.has_value(); }));
    EXPECT_THAT(*nodes->snapshot().problem, HasSubstr("expired at"));
    files_.issue(std::chrono::hours(1));
    ASSERT_TRUE(bell_.wait(
        [&] { return nodes->snapshot().synced && !nodes->snapshot().problem.has_value(); }));
}

TEST_F(WatchTest, BeginsAnewAfterAnAnswerThatMakesNoSense) {
    http_.then(200, Json::array())
        .then_text(200, "nonsense")
        .then(200, list_of("7", {}))
        .then_text(200, "nonsense\n")
        .then(200, list_of("8", {object("a", "5")}))
        .then_hang_after({});
    const auto nodes = watch();
    ASSERT_TRUE(bell_.wait([&] { return nodes->get("a").has_value(); }));
}

TEST_F(WatchTest, EndsAtOnceWhileItWaitsForItsNextTry) {
    const Pace slow{std::chrono::hours(1), std::chrono::hours(1), std::chrono::hours(1)};
    http_.then_fail();
    const auto nodes = watch({"/api/v1/nodes", {}}, slow);
    EXPECT_TRUE(bell_.wait([&] { return nodes->snapshot().problem.has_value(); }));
}

TEST_F(WatchTest, WaitForGivesTheObjectThatFits) {
    http_.then(200, list_of("7", {object("a", "5", "old")}))
        .then_break_after({event("MODIFIED", object("a", "8", "older"))})
        .then_fail()
        .then(200, list_of("8", {object("a", "8", "older")}))
        .then_hang_after({event("MODIFIED", object("b", "9", "new")),
                          event("MODIFIED", object("a", "10", "new"))});
    const auto found =
        wait_for(client_, {"/api/v1/nodes", {}}, "a", std::chrono::seconds(30),
                 [](const std::optional<Json>& a) { return a && a->at("value") == "new"; }, {});
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->at("metadata").at("resourceVersion"), "10");
}

TEST_F(WatchTest, WaitForGivesNullWhenAnAbsenceFits) {
    http_.then(200, list_of("7", {object("a", "5")}))
        .then_hang_after({event("DELETED", object("a", "8"))});
    const auto found = wait_for(client_, {"/api/v1/nodes", {}}, "a", std::chrono::seconds(30),
                                [](const std::optional<Json>& a) { return !a; }, {});
    ASSERT_TRUE(found.has_value());
    EXPECT_TRUE(found->is_null());
}

TEST_F(WatchTest, WaitForGivesUpInTimeAndSaysWhatStoodInTheWay) {
    for (int i = 0; i < 1000; ++i) http_.then_fail();
    std::string problem;
    const auto found = wait_for(
        client_, {"/api/v1/nodes", {}}, "a", Duration(50),
        [](const std::optional<Json>&) { return true; }, {}, &problem);
    EXPECT_EQ(found, std::nullopt);
    EXPECT_EQ(problem, "connection refused");
}

TEST_F(WatchTest, WaitForIsStopped) {
    std::stop_source stop;
    http_.then(200, list_of("7", {object("a", "5")}));
    const Error error = error_of([&] {
        wait_for(
            client_, {"/api/v1/nodes", {}}, "a", std::chrono::hours(1),
            [&](const std::optional<Json>&) {
                stop.request_stop();
                return false;
            },
            stop.get_token());
    });
    EXPECT_EQ(error.kind(), ErrorKind::stopped);
}

}  // namespace
}  // namespace kua::kube
