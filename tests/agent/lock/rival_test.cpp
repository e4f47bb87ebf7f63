// SPDX-License-Identifier: Apache-2.0
#include "agent/lock/rival.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "lib/log/log.hpp"
#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"
#include "tests/fakes/fake_clock.hpp"

namespace kua::lock {
namespace {

using std::chrono::seconds;
using test::error_of;
using test::FakeApi;
using test::FakeClock;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using State = Sighting::State;

constexpr auto kLease =
    "/apis/coordination.k8s.io/v1/namespaces/system-upgrade/leases/system-upgrade-controller";

constexpr auto kRanchers =
    "/apis/coordination.k8s.io/v1/namespaces/cattle-system/leases/system-upgrade-controller";

std::string name_of(State state) {
    switch (state) {
        case State::absent:
            return "absent";
        case State::unknown:
            return "unknown";
        case State::alive:
            return "alive";
    }
    return "?";
}

class RivalTest : public ::testing::Test {
  protected:
    RivalTest() {
        log::set_sink([this](log::Level, std::string_view message, const log::Fields&) {
            logged_.emplace_back(message);
        });
    }
    ~RivalTest() override { log::set_sink({}); }

    /// SUC, or whoever `holder` is, writes its Lease.
    void write(const std::string& holder, const std::string& renewed, const Json& duration = 45,
               const char* lease = kLease) {
        api_.put(lease, {{"metadata", {{"name", "system-upgrade-controller"}}},
                         {"spec",
                          {{"holderIdentity", holder},
                           {"renewTime", renewed},
                           {"leaseDurationSeconds", duration}}}});
    }

    State look_after(Duration passed) {
        clock_.advance(passed);
        return rival_.look({}).state;
    }

    void write_ranchers(const std::string& renewed) { write("pod-9", renewed, 45, kRanchers); }

    /// Requests for the Lease in the Plans' namespace, or another one.
    [[nodiscard]] long asked(const std::string& lease = kLease) const {
        const auto all = api_.requests();
        return std::count_if(all.begin(), all.end(),
                             [&](const FakeApi::Seen& request) { return request.path == lease; });
    }

    void refuse(int status, const std::string& lease = kLease) {
        api_.before([=](const FakeApi::Seen& request) -> std::optional<http::Response> {
            if (request.path != lease) {
                return std::nullopt;
            }
            return FakeApi::refuse(status, "leases is forbidden");
        });
    }

    test::TempFolder folder_;
    FakeApi api_;
    FakeClock clock_;
    kube::Client client_{api_, test::write_kubeconfig(folder_),
                         [this] { return clock_.monotonic(); }};
    Rival rival_{client_, clock_, "system-upgrade"};
    std::vector<std::string> logged_;
};

TEST_F(RivalTest, IsJudgedByWhatHappensToItsLease) {
    /// What is in the Lease at a moment, and what a look at that moment finds.
    struct Moment {
        int at;  // seconds since the first look
        const char* holder;
        const char* renewed;
        State expected;
    };
    const struct {
        const char* name;
        std::vector<Moment> moments;
    } cases[] = {
        {"renewed all the time",
         {{0, "pod-1", "t0", State::unknown},
          {10, "pod-1", "t1", State::alive},
          {60, "pod-1", "t2", State::alive}}},
        {"left behind by one that died before we came",
         {{0, "pod-1", "t0", State::unknown},
          {44, "pod-1", "t0", State::unknown},
          {45, "pod-1", "t0", State::absent},
          {5000, "pod-1", "t0", State::absent}}},
        {"dies while we look",
         {{0, "pod-1", "t0", State::unknown},
          {10, "pod-1", "t1", State::alive},
          {54, "pod-1", "t1", State::alive},
          {55, "pod-1", "t1", State::absent},
          {60, "pod-1", "t1", State::absent}}},
        {"ends in an orderly way",
         {{0, "pod-1", "t0", State::unknown},
          {10, "pod-1", "t1", State::alive},
          {15, "", "t2", State::absent}}},
        {"is installed while we look, and its first renewal is news",
         {{0, nullptr, "", State::absent}, {10, "pod-1", "t0", State::alive}}},
        {"is scaled up again", {{0, "", "t0", State::absent}, {10, "pod-2", "t1", State::alive}}},
        {"comes back after it had died",
         {{0, "pod-1", "t0", State::unknown},
          {45, "pod-1", "t0", State::absent},
          {90, "pod-1", "t1", State::alive}}},
        {"is uninstalled", {{0, "pod-1", "t0", State::unknown}, {5, nullptr, "", State::absent}}},
        {"another pod takes over at the same renewTime",
         {{0, "pod-1", "t0", State::unknown},
          {40, "pod-2", "t0", State::alive},
          {84, "pod-2", "t0", State::alive},
          {85, "pod-2", "t0", State::absent}}},
        {"has a clock that goes backwards",
         {{0, "pod-1", "2026-01-01T00:00:00.000000Z", State::unknown},
          {10, "pod-1", "1999-01-01T00:00:00.000000Z", State::alive}}},
    };
    for (const auto& test : cases) {
        if (!api_.get(kLease).is_null()) {
            api_.remove(kLease);
        }
        FakeClock clock;
        Rival rival(client_, clock, "system-upgrade");
        const auto began = clock.monotonic();
        std::string present;
        for (const auto& moment : test.moments) {
            const auto text =
                moment.holder == nullptr ? "" : std::string(moment.holder) + "/" + moment.renewed;
            if (text != present && moment.holder == nullptr) {
                api_.remove(kLease);
            } else if (text != present) {
                write(moment.holder, moment.renewed);
            }
            present = text;
            clock.advance(
                std::chrono::ceil<Duration>(began + seconds(moment.at) - clock.monotonic()));
            EXPECT_EQ(name_of(rival.look({}).state), name_of(moment.expected))
                << test.name << ", at " << moment.at << " s";
        }
    }
}

TEST_F(RivalTest, BelievesNoDurationThatMakesNoSense) {
    const struct {
        Json duration;
        seconds expected;
    } cases[] = {
        {45, seconds(45)}, {nullptr, seconds(15)}, {"45", seconds(15)},
        {0, seconds(5)},   {1, seconds(5)},        {5, seconds(5)},
        {60, seconds(60)}, {162'000, seconds(60)},  // wrangler's CATTLE_DEV_MODE: 45 hours.
        {-1, seconds(5)},
    };
    for (const auto& test : cases) {
        write("pod-1", "t0", test.duration);
        Rival rival(client_, clock_, "system-upgrade");
        const auto sighting = rival.look({});
        EXPECT_EQ(sighting.state, State::unknown) << test.duration;
        EXPECT_EQ(sighting.again, test.expected) << test.duration;
        clock_.advance(test.expected - Duration(1));
        EXPECT_EQ(rival.look({}).state, State::unknown) << test.duration;
        clock_.advance(Duration(1));
        EXPECT_EQ(rival.look({}).state, State::absent) << test.duration;
    }
}

TEST_F(RivalTest, IsNotJudgedByTheTimeOfDay) {
    write("pod-1", "2026-01-01T00:00:00.000000Z");
    EXPECT_EQ(rival_.look({}).state, State::unknown);
    clock_.set_wall(clock_.wall() + std::chrono::hours(3));
    EXPECT_EQ(look_after(seconds(44)), State::unknown);
    clock_.set_wall(clock_.wall() - std::chrono::hours(6));
    EXPECT_EQ(look_after(seconds(1)), State::absent);
}

TEST_F(RivalTest, AsksOnceInFiveSecondsWhoeverWantsToKnow) {
    write("pod-1", "t0");
    rival_.look({});
    write("pod-1", "t1");
    EXPECT_EQ(look_after(Duration(4'999)), State::unknown);
    EXPECT_EQ(asked(), 1);
    EXPECT_EQ(look_after(Duration(1)), State::alive);
    EXPECT_EQ(asked(), 2);
    EXPECT_EQ(clock_.waits(), 0);
}

TEST_F(RivalTest, RunsOutEvenBetweenTwoRequests) {
    write("pod-1", "t0", 7);
    rival_.look({});
    EXPECT_EQ(look_after(seconds(5)), State::unknown);
    EXPECT_EQ(look_after(seconds(2)), State::absent);
    EXPECT_EQ(asked(), 2);
}

TEST_F(RivalTest, CountsAsAbsentWhereItMayNotBeReadAndThatIsSaidOnce) {
    refuse(403);
    for (int i = 0; i < 3; ++i) {
        const auto error = error_of([&] { rival_.look({}); });
        EXPECT_EQ(error.kind(), ErrorKind::transient);
        EXPECT_TRUE(kube::is_passing(error.what())) << "a server that starts says the same";
        clock_.advance(seconds(10));
    }
    EXPECT_THAT(logged_, SizeIs(0));
    EXPECT_EQ(rival_.look({}).state, State::absent);
    EXPECT_EQ(look_after(seconds(10)), State::absent);
    EXPECT_THAT(logged_, SizeIs(1));
    EXPECT_THAT(logged_.at(0), AllOf(HasSubstr("leases is forbidden"), HasSubstr("apply deploy/")));
    // What can be read from now on may have stood there for long.
    api_.before({});
    write("pod-1", "t0");
    EXPECT_EQ(look_after(seconds(10)), State::unknown);
}

TEST_F(RivalTest, IsAskedForEverywhereBeforeThatLasts) {
    api_.before([](const FakeApi::Seen&) {
        return std::optional(FakeApi::refuse(403, "leases is forbidden"));
    });
    error_of([&] { rival_.look({}); });
    EXPECT_EQ(look_after(seconds(30)), State::absent) << "one wait for both, not one after another";
    EXPECT_THAT(logged_, SizeIs(2));
}

TEST_F(RivalTest, IsNoNewsWhenItCouldNotBeReadForAWhile) {
    write("pod-1", "t0");
    rival_.look({});
    refuse(403);
    error_of([&] { look_after(seconds(10)); });
    EXPECT_EQ(look_after(seconds(30)), State::absent);
    api_.before({});
    EXPECT_EQ(look_after(seconds(10)), State::unknown);
}

TEST_F(RivalTest, IsNotGuessedAtWhenTheApiDoesNotAnswer) {
    write("pod-1", "t0");
    rival_.look({});
    clock_.advance(seconds(10));
    api_.set_down(true);
    EXPECT_EQ(error_of([&] { rival_.look({}); }).kind(), ErrorKind::transient);
    EXPECT_EQ(error_of([&] { rival_.alive({}); }).kind(), ErrorKind::transient);
    api_.set_down(false);
    refuse(503);
    EXPECT_EQ(error_of([&] { rival_.look({}); }).kind(), ErrorKind::transient);
    refuse(400);
    EXPECT_THAT(error_of([&] { rival_.look({}); }).what(),
                HasSubstr("reading the Lease system-upgrade/system-upgrade-controller"));
    api_.before({});
    EXPECT_EQ(rival_.look({}).state, State::unknown) << "and what was seen before still counts";
    EXPECT_EQ(look_after(seconds(35)), State::absent);
}

TEST_F(RivalTest, IsSeenWhereRancherInstallsIt) {
    write_ranchers("t0");
    EXPECT_EQ(rival_.look({}).state, State::unknown);
    write_ranchers("t1");
    EXPECT_EQ(look_after(seconds(10)), State::alive);
    const auto sighting = rival_.look({});
    EXPECT_EQ(sighting.ns, "cattle-system");
    EXPECT_THAT(sighting.said,
                AllOf(HasSubstr("Lease cattle-system/system-upgrade-controller (holder pod-9)"),
                      HasSubstr("it is Rancher's, and serves Plans in cattle-system")));
    EXPECT_THAT(rival_.alive({}).value(), HasSubstr("kubectl -n cattle-system scale deployment"));
    EXPECT_EQ(look_after(seconds(45)), State::absent);
    EXPECT_THAT(rival_.look({}).said, HasSubstr("no longer renews its Lease cattle-system/"));
}

TEST_F(RivalTest, IsOneOfTwo) {
    write("pod-1", "t0");
    write_ranchers("t0");
    EXPECT_EQ(rival_.look({}).ns, "system-upgrade");
    EXPECT_EQ(asked(kRanchers), 0) << "the one is enough";
    EXPECT_EQ(look_after(seconds(45)), State::unknown) << "now the other one";
    EXPECT_EQ(rival_.look({}).ns, "cattle-system");
    EXPECT_EQ(look_after(seconds(45)), State::absent);
}

TEST_F(RivalTest, IsLookedForInRanchersNamespaceOnceAMinute) {
    for (int i = 0; i < 13; ++i) {
        EXPECT_EQ(look_after(seconds(5)), State::absent);
    }
    EXPECT_EQ(asked(), 13);
    EXPECT_EQ(asked(kRanchers), 2);
    write_ranchers("t0");
    EXPECT_EQ(look_after(seconds(60)), State::alive) << "its first renewal is news";
    EXPECT_EQ(look_after(seconds(5)), State::alive);
    EXPECT_EQ(asked(kRanchers), 4) << "once it is there, as often as the other";
}

TEST_F(RivalTest, IsLookedForOnceWhereThePlansAreInRanchersNamespace) {
    Rival rival(client_, clock_, "cattle-system");
    EXPECT_EQ(rival.look({}).state, State::absent);
    EXPECT_THAT(api_.requests(), SizeIs(1));
    write_ranchers("t0");
    clock_.advance(seconds(5));
    const auto sighting = rival.look({});
    EXPECT_EQ(sighting.state, State::alive);
    EXPECT_THAT(sighting.said, Not(HasSubstr("Rancher")));
}

TEST_F(RivalTest, IsLookedForInOneNamespaceWhereTheOtherMayNotBeRead) {
    refuse(403, kRanchers);
    error_of([&] { rival_.look({}); });
    EXPECT_EQ(look_after(seconds(30)), State::absent);
    EXPECT_EQ(look_after(seconds(60)), State::absent);
    EXPECT_THAT(logged_, SizeIs(1));
    write("pod-1", "t0");
    EXPECT_EQ(look_after(seconds(5)), State::alive);
}

TEST_F(RivalTest, IsToldAboutWithWhatToDo) {
    write("suc-5b6c\n", "t0");
    const auto unknown = rival_.alive({});
    ASSERT_TRUE(unknown);
    EXPECT_THAT(*unknown, AllOf(HasSubstr("system-upgrade/system-upgrade-controller (holder "
                                          "suc-5b6c )"),
                                HasSubstr("kubectl -n system-upgrade scale deployment "
                                          "system-upgrade-controller --replicas=0"),
                                HasSubstr("touches nothing meanwhile")));
    clock_.advance(seconds(10));
    EXPECT_EQ(rival_.alive({}), unknown) << "nothing changed";
    write("suc-5b6c\n", "t1");
    clock_.advance(seconds(10));
    const auto alive = rival_.alive({});
    ASSERT_TRUE(alive);
    EXPECT_THAT(*alive, HasSubstr("and renews it; scale its Deployment to zero"));
    clock_.advance(seconds(45));
    EXPECT_FALSE(rival_.alive({}));
    EXPECT_THAT(rival_.look({}).said, HasSubstr("no longer renews"));
}

TEST_F(RivalTest, IsLookedForInThePlansNamespace) {
    Rival rival(client_, clock_, "elsewhere");
    EXPECT_FALSE(rival.alive({}));
    ASSERT_THAT(api_.requests(), SizeIs(2));
    EXPECT_EQ(api_.requests().at(0).text(),
              "GET /apis/coordination.k8s.io/v1/namespaces/elsewhere/leases/"
              "system-upgrade-controller");
    EXPECT_THAT(api_.writes(), IsEmpty());
}

TEST_F(RivalTest, MayBeAskedBySeveralThreads) {
    write("pod-1", "t0");
    {
        std::vector<std::jthread> threads;
        threads.reserve(4);
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([this] { EXPECT_TRUE(rival_.alive({})); });
        }
    }
    EXPECT_THAT(api_.requests(), SizeIs(1));
}

}  // namespace
}  // namespace kua::lock
