// SPDX-License-Identifier: Apache-2.0
#include "lib/log/log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "lib/base/error.hpp"

namespace kua::log {
namespace {

using testing::ElementsAre;
using testing::MatchesRegex;
using testing::Pair;

struct Record {
    Level level;
    std::string message;
    Fields fields;
};

class Log : public testing::Test {
  protected:
    void TearDown() override {
        set_sink({});
        set_level(Level::info);
        set_common_fields({});
    }

    void collect() {
        set_sink([this](Level level, std::string_view message, const Fields& fields) {
            records_.push_back({level, std::string(message), fields});
        });
    }

    template <typename Action>
    static std::string standard_error_of(Action&& action) {
        testing::internal::CaptureStderr();
        action();
        return testing::internal::GetCapturedStderr();
    }

    std::vector<Record> records_;
};

TEST_F(Log, WritesOneLineToStandardError) {
    const std::string text = standard_error_of([] {
        info("slot taken", {{"plan", "server-plan"}, {"detail", "2 \"pods\" left"}, {"empty", ""}});
    });
    EXPECT_THAT(text, MatchesRegex("[0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9]+\\.[0-9]+Z info slot "
                                   "taken plan=server-plan detail=\"2 \\\\\"pods\\\\\" left\" "
                                   "empty=\"\"\n"));
}

TEST_F(Log, NamesTheLevel) {
    set_level(Level::debug);
    const std::string text = standard_error_of([] {
        debug("one");
        warning("two");
        error("three");
    });
    EXPECT_THAT(text, testing::HasSubstr(" debug one\n"));
    EXPECT_THAT(text, testing::HasSubstr(" warning two\n"));
    EXPECT_THAT(text, testing::HasSubstr(" error three\n"));
}

TEST_F(Log, TakesBracesAsTheyAre) {
    EXPECT_THAT(standard_error_of([] {
                    info("{} {0} %v", {{"a", "{}"}});
                }),
                testing::HasSubstr("{} {0} %v a={}\n"));
}

TEST_F(Log, DropsWhatIsBelowItsLevel) {
    collect();
    debug("not this");
    info("this");
    set_level(Level::error);
    warning("not this");
    error("and this");
    ASSERT_EQ(records_.size(), 2U);
    EXPECT_EQ(records_[0].message, "this");
    EXPECT_EQ(records_[1].level, Level::error);
}

TEST_F(Log, PutsCommonFieldsBeforeTheRecordsOwn) {
    collect();
    set_common_fields({{"node", "server-1"}});
    info("x", {{"plan", "p"}});
    ASSERT_EQ(records_.size(), 1U);
    EXPECT_THAT(records_[0].fields, ElementsAre(Pair("node", "server-1"), Pair("plan", "p")));
}

TEST_F(Log, ReplacesLineBreaks) {
    collect();
    info("two\nlines", {{"field", "with\r\nmore\x1b"}, {"fake\nname", "\xff"}});
    ASSERT_EQ(records_.size(), 1U);
    EXPECT_EQ(records_[0].message, "two lines");
    EXPECT_THAT(records_[0].fields,
                ElementsAre(Pair("field", "with  more "), Pair("fake name", "?")));
}

TEST_F(Log, FallsBackToStandardErrorWhenItsSinkFails) {
    set_sink(
        [](Level, std::string_view, const Fields&) { throw std::runtime_error("sink\nbroke"); });
    EXPECT_THAT(standard_error_of([] {
                    info("important", {{"a", "b"}});
                }),
                testing::HasSubstr("info important a=b sink_error=\"sink broke\"\n"));
}

TEST_F(Log, KeepsLinesWholeWhenManyThreadsWrite) {
    static constexpr int kThreads = 4;
    static constexpr int kLines = 200;
    const std::string text = standard_error_of([] {
        std::vector<std::jthread> threads;
        for (int thread = 0; thread < kThreads; ++thread) {
            threads.emplace_back([thread] {
                for (int line = 0; line < kLines; ++line) {
                    info("line", {{"thread", std::to_string(thread)}, {"end", "END"}});
                }
            });
        }
    });
    std::istringstream lines(text);
    std::string line;
    int count = 0;
    while (std::getline(lines, line)) {
        EXPECT_TRUE(line.ends_with(" end=END")) << line;
        EXPECT_EQ(std::count(line.begin(), line.end(), '='), 2) << line;
        ++count;
    }
    EXPECT_EQ(count, kThreads * kLines);
}

TEST_F(Log, ChangesItsSettingsWhileOthersWrite) {
    std::vector<std::jthread> writers;
    collect();
    for (int thread = 0; thread < 3; ++thread) {
        writers.emplace_back([] {
            for (int line = 0; line < 200; ++line) {
                info("x", {{"a", "b"}});
            }
        });
    }
    for (int change = 0; change < 200; ++change) {
        set_level(change % 2 == 0 ? Level::error : Level::info);
        set_common_fields({{"change", std::to_string(change)}});
        collect();
    }
    writers.clear();
}

TEST_F(Log, KnowsItsLevelsByName) {
    EXPECT_EQ(parse_level("debug"), Level::debug);
    EXPECT_EQ(parse_level("info"), Level::info);
    EXPECT_EQ(parse_level("warning"), Level::warning);
    EXPECT_EQ(parse_level("error"), Level::error);
    for (const char* const name : {"", "Info", "warn", "trace"}) {
        try {
            parse_level(name);
            ADD_FAILURE() << name;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid);
        }
    }
}

}  // namespace
}  // namespace kua::log
