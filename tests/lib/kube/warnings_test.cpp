// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/warnings.hpp"

#include <gmock/gmock.h>

#include "lib/log/log.hpp"

namespace kua::kube {
namespace {

using ::testing::Each;
using ::testing::EndsWith;
using ::testing::SizeIs;

TEST(ParseWarnings, TakesTheTextsOfCode299) {
    struct Case {
        const char* header;
        std::vector<std::string> texts;
    };
    const std::vector<Case> cases = {
        // As kube-apiserver sends them.
        {R"(299 - "policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+")",
         {"policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+"}},
        {R"(299 - "unknown field \"spec.foo\"")", {R"(unknown field "spec.foo")"}},
        {R"(299 - "back\\slash")", {R"(back\slash)"}},
        // Repeated headers as the HTTP client joins them, and as a server may by itself.
        {R"(299 - "a", 299 - "b",299 - "c" , 299 - "d")", {"a", "b", "c", "d"}},
        {R"(299 - "a, 299 - \"b\"", 299 - "c")", {R"(a, 299 - "b")", "c"}},
        // RFC 7234's other forms.
        {R"(299 example.org:6443 "a" "Sat, 25 Aug 2012 23:34:45 GMT", 299 - "b")", {"a", "b"}},
        {R"(  299  -  "a"  )", {"a"}},
        {R"(110 - "Response is Stale", 299 - "a")", {"a"}},
        {R"(299 - "ümlaut")", {"ümlaut"}},
        // Nothing to say.
        {"", {}},
        {"   ", {}},
        {R"(299 - "")", {}},
        {R"(299 - "  ")", {}},
        // Malformed, alone and before one that is not.
        {"299", {}},
        {"299 -", {}},
        {"299 - a", {}},
        {R"(299 "a")", {}},
        {R"(299 - "a)", {}},
        {R"(299 - "a\)", {}},
        {R"(299 - "a\")", {}},
        {R"(29 - "a")", {}},
        {R"(2990 - "a")", {}},
        {R"(-99 - "a")", {}},
        {R"(299 - "a" x)", {}},
        {R"(299 - "a" "no end)", {}},
        {R"(,,, ,299 - "a",)", {"a"}},
        {R"(nonsense, 299 - "a")", {"a"}},
        {R"(299 - a, 299 - "b")", {"b"}},
        {R"(299 - "a" "no end, 299 - "b")", {"b"}},
    };
    for (const auto& test : cases) {
        EXPECT_EQ(parse_warnings(test.header), test.texts) << test.header;
    }
}

TEST(ParseWarnings, EndsWithWhateverItIsGiven) {
    const std::string letters = R"(299 -",\)";
    // All texts of seven letters out of these seven.
    for (std::size_t number = 0; number < 823'543; ++number) {
        std::string header;
        for (std::size_t rest = number, i = 0; i < 7; ++i, rest /= 7) header += letters[rest % 7];
        parse_warnings(header);
    }
}

class WarningsTest : public ::testing::Test {
  protected:
    WarningsTest() {
        log::set_sink([this](log::Level, std::string_view message, const log::Fields&) {
            logged_.emplace_back(message);
        });
    }
    ~WarningsTest() override { log::set_sink({}); }

    Warnings warnings_;
    std::vector<std::string> logged_;
};

TEST_F(WarningsTest, AreSaidOnceEach) {
    for (int i = 0; i < 3; ++i) warnings_.hear(R"(299 - "a", 299 - "b")", "GET /x");
    EXPECT_THAT(logged_, ::testing::ElementsAre("GET /x: the API server warns: a",
                                                "GET /x: the API server warns: b"));
}

TEST_F(WarningsTest, AreNeitherLongNorWithoutEnd) {
    for (int i = 0; i < 1'000; ++i) {
        warnings_.hear("299 - \"" + std::to_string(i) + std::string(10'000, 'x') + '"', "GET /x");
    }
    EXPECT_THAT(logged_, SizeIs(100));
    EXPECT_THAT(logged_, Each(EndsWith("xx…")));
    EXPECT_LT(logged_.front().size(), 600U);
}

}  // namespace
}  // namespace kua::kube
