// SPDX-License-Identifier: Apache-2.0
// What an upgrade does and what the table of its steps says are the same.
#include "agent/upgrade/steps.hpp"

#include "lib/base/format.hpp"
#include "tests/agent/upgrade/fixture.hpp"

namespace kua::upgrade {
namespace {

using test::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class StepsTest : public test::Host {
  protected:
    StepsTest() {
        prepare();
        add_pod();
        for (const auto* point :
             {"pre-drain", "post-drain", "pre-restart", "post-upgrade", "on-failure"}) {
            add_hook(point);
        }
        pause_ = [this](std::string_view step, Moment moment) {
            const auto record = journal_.read();
            EXPECT_TRUE(record && record->step == step) << step << " was not journalled before";
            moments_.push_back(format("{}:{}", step, name_of(moment)));
        };
        tools_.pause = &pause_;
    }

    [[nodiscard]] node::Record record_with_all() const {
        auto record = new_record();
        record.delay = std::chrono::seconds(1);
        return record;
    }

    /// Both moments of all steps of the table that go one of these ways.
    static std::vector<std::string> all(const std::set<Way>& ways,
                                        const std::set<std::string_view>& without = {}) {
        std::vector<std::string> moments;
        for (const auto& step : steps()) {
            if (ways.contains(step.way) && !without.contains(step.name)) {
                moments.push_back(format("{}:before", step.name));
                moments.push_back(format("{}:after", step.name));
            }
        }
        return moments;
    }

    Pause pause_;
    std::vector<std::string> moments_;
};

TEST_F(StepsTest, AreAllTakenForwardInTheOrderOfTheTable) {
    datastore_ = "sqlite";
    std::filesystem::create_directories(folder_ / "data" / "server" / "db");
    EXPECT_EQ(run(record_with_all(), plan::DrainSpec()).ending, Ending::succeeded);
    EXPECT_EQ(moments_, all({Way::forward}, {"snapshot"}));
}

TEST_F(StepsTest, StopNoServerThatHasEtcd) {
    datastore_ = "etcd";
    const auto snapshots = node::default_snapshot_folder(folder_ / "data");
    std::filesystem::create_directories(snapshots);
    test::write_text(folder_ / "k3s",
                     format("{}[ $1 = --version ] || echo etcd >{}/k3s-upgrade-agent-s-17\n", kOld,
                            snapshots.string()));
    EXPECT_EQ(run(record_with_all(), plan::DrainSpec()).ending, Ending::succeeded);
    EXPECT_EQ(moments_, all({Way::forward}, {"stop", "copy-datastore"}));
}

TEST_F(StepsTest, AreAllTakenBackInTheOrderOfTheTable) {
    new_does_not_start_ = true;
    EXPECT_EQ(run(record_with_all(), plan::DrainSpec()).ending, Ending::failed);
    const auto restore = std::ranges::find(moments_, "restore:before");
    EXPECT_EQ(std::vector(restore, moments_.end()), all({Way::roll_back, Way::after_failure}));
    EXPECT_EQ(*(restore - 1), "restart:before") << "what failed has no effect to pause after";
}

TEST_F(StepsTest, AreUndoneByUndoAlone) {
    Meanwhile meanwhile;
    meanwhile.unwanted = [this]() -> std::optional<std::string> {
        const auto cordoned = std::ranges::find(moments_, "cordon:after") != moments_.end();
        return cordoned ? std::optional<std::string>("the Plan is gone") : std::nullopt;
    };
    EXPECT_EQ(run(record_with_all(), plan::DrainSpec(), std::move(meanwhile)).ending,
              Ending::undone);
    EXPECT_THAT(moments_, ElementsAre("prepare:before", "prepare:after", "cordon:before",
                                      "cordon:after", "undo:before", "undo:after",
                                      "hooks-on-failure:before", "hooks-on-failure:after"));
    EXPECT_THAT(all({Way::undo}), ElementsAre("undo:before", "undo:after"));
    expect_as_it_was();
}

TEST_F(StepsTest, HaveOneNameEachAndAreUndoneByOthersOfThem) {
    std::set<std::string_view> names;
    for (const auto& step : steps()) {
        EXPECT_TRUE(names.insert(step.name).second) << step.name;
        EXPECT_EQ(find_step(step.name), &step);
        if (!step.undone_by.empty()) {
            const auto* const other = find_step(step.undone_by);
            ASSERT_TRUE(other != nullptr) << step.name;
            EXPECT_NE(other->way, Way::forward) << step.name;
        }
    }
    EXPECT_EQ(find_step("swapp"), nullptr);
}

TEST(PausePoints, AreStepsAndMoments) {
    EXPECT_THAT(read_pause_points(""), IsEmpty());
    EXPECT_THAT(
        read_pause_points("swap:before,undo:after"),
        UnorderedElementsAre(std::pair("swap", Moment::before), std::pair("undo", Moment::after)));
}

TEST(PausePoints, ThatAreNoneAreRefusedWithTheNamesThatAre) {
    for (const auto* text : {"swapp:before", "swap", "swap:", "swap:during", "swap:before,,",
                             "swap:before; restart:after"}) {
        const auto error = error_of([&] { read_pause_points(text); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << text;
        EXPECT_THAT(error.what(), HasSubstr("prepare, snapshot, cordon, hooks-pre-drain, drain, "))
            << text;
    }
}

}  // namespace
}  // namespace kua::upgrade
