// SPDX-License-Identifier: Apache-2.0
#include "agent/channel/follow.hpp"

#include <gmock/gmock.h>

namespace kua::channel {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr Monotonic kStart{std::chrono::hours(1000)};

/// A channel's word at a moment after the start: a version, `=` for unchanged, `!` for a failure.
struct Said {
    std::chrono::seconds at;
    std::string word;
};

std::string text(const std::optional<plan::Version>& version) {
    return version ? version->text() : "-";
}

void hear(Follow& follow, const Said& said) {
    const auto now = kStart + said.at;
    if (said.word == "!") {
        follow.failed("nobody answers", now);
    } else if (said.word == "=") {
        follow.answered({{}, follow.etag(), true}, now);
    } else {
        follow.answered({plan::parse_version(said.word).value(), "tag of " + said.word, false},
                        now);
    }
}

TEST(Follow, BelievesTheFirstAnswerAndASecondOnlyWhenItIsRepeated) {
    struct Case {
        std::string name;
        std::string known;  ///< What the Plan's status said at the start.
        std::vector<Said> said;
        std::string accepted;
        std::string pending;
    };
    const std::string a = "v1.30.4+k3s1";
    const std::string b = "v1.30.5+k3s1";
    const std::string c = "v1.31.1+k3s1";
    for (const auto& [name, known, said, accepted, pending] : std::vector<Case>{
             {"nothing said yet", "", {}, "-", "-"},
             {"the first", "", {{seconds(0), a}}, a, "-"},
             {"the first after failures", "", {{seconds(0), "!"}, {seconds(5), a}}, a, "-"},
             {"the same again", "", {{seconds(0), a}, {minutes(15), a}}, a, "-"},
             {"unchanged", "", {{seconds(0), a}, {minutes(15), "="}}, a, "-"},
             {"another", "", {{seconds(0), a}, {minutes(15), b}}, a, b},
             {"another, confirmed",
              "",
              {{seconds(0), a}, {minutes(15), b}, {minutes(16), b}},
              b,
              "-"},
             {"another, confirmed by its ETag",
              "",
              {{seconds(0), a}, {minutes(15), b}, {minutes(16), "="}},
              b,
              "-"},
             {"a hiccup", "", {{seconds(0), a}, {minutes(15), b}, {minutes(16), a}}, a, "-"},
             {"a hiccup twice",
              "",
              {{seconds(0), a},
               {minutes(15), b},
               {minutes(16), a},
               {minutes(31), b},
               {minutes(32), a}},
              a,
              "-"},
             {"two others in turn",
              "",
              {{seconds(0), a}, {minutes(15), b}, {minutes(16), c}},
              a,
              c},
             {"the second other, confirmed",
              "",
              {{seconds(0), a}, {minutes(15), b}, {minutes(16), c}, {minutes(17), c}},
              c,
              "-"},
             {"two others, again and again",
              "",
              {{seconds(0), a},
               {minutes(15), b},
               {minutes(16), c},
               {minutes(17), b},
               {minutes(18), c}},
              a,
              c},
             {"gone after the first", "", {{seconds(0), a}, {minutes(15), "!"}}, a, "-"},
             {"gone before the confirmation",
              "",
              {{seconds(0), a}, {minutes(15), b}, {minutes(16), "!"}},
              a,
              b},
             {"confirmed after an outage",
              "",
              {{seconds(0), a}, {minutes(15), b}, {minutes(16), "!"}, {minutes(17), b}},
              b,
              "-"},
             {"known, and gone", a, {{seconds(0), "!"}}, a, "-"},
             {"known, and the same", a, {{seconds(0), a}}, a, "-"},
             {"known, and another", a, {{seconds(0), b}}, a, b},
             {"known, and another confirmed", a, {{seconds(0), b}, {minutes(1), b}}, b, "-"},
             {"back to a lower one, confirmed", b, {{seconds(0), a}, {minutes(1), a}}, a, "-"},
         }) {
        Follow follow({}, plan::parse_version(known), kStart);
        for (const auto& each : said) {
            hear(follow, each);
        }
        EXPECT_EQ(text(follow.accepted()), accepted) << name;
        EXPECT_EQ(text(follow.pending()), pending) << name;
        EXPECT_EQ(follow.problem().empty(), said.empty() || said.back().word != "!") << name;
    }
}

TEST(Follow, AsksAtOnceThenByItsPaceAndSoonerInDoubt) {
    const Pace pace{minutes(10), seconds(30)};
    Follow follow(pace, std::nullopt, kStart);
    EXPECT_EQ(follow.next(), kStart);
    hear(follow, {seconds(7), "v1.30.4+k3s1"});
    EXPECT_EQ(follow.next(), kStart + seconds(7) + minutes(10));
    hear(follow, {minutes(11), "v1.30.5+k3s1"});
    EXPECT_EQ(follow.next(), kStart + minutes(11) + seconds(30));
    hear(follow, {minutes(12), "v1.30.6+k3s1"});
    EXPECT_EQ(follow.next(), kStart + minutes(12) + seconds(30));
    hear(follow, {minutes(13), "v1.30.6+k3s1"});
    EXPECT_EQ(follow.next(), kStart + minutes(23));
    const Follow known(pace, plan::parse_version("v1.30.4+k3s1"), kStart);
    EXPECT_EQ(known.next(), kStart) << "what is known may be old";
}

TEST(Follow, BacksOffWhileAChannelIsAway) {
    Follow follow({}, std::nullopt, kStart);
    auto base = seconds(5);
    for (int i = 0; i < 12; ++i) {
        follow.failed("nobody answers", kStart);
        EXPECT_GE(follow.next(), kStart + base / 2) << i;
        EXPECT_LE(follow.next(), kStart + base) << i;
        base = std::min(base * 2, seconds(300));
    }
    hear(follow, {seconds(0), "v1.30.4+k3s1"});
    follow.failed("nobody answers", kStart);
    EXPECT_LE(follow.next(), kStart + seconds(5)) << "from the beginning after an answer";
}

TEST(Follow, KeepsTheETagOfTheLastAnswer) {
    Follow follow({}, std::nullopt, kStart);
    EXPECT_EQ(follow.etag(), "");
    hear(follow, {seconds(0), "v1.30.4+k3s1"});
    hear(follow, {minutes(15), "v1.30.5+k3s1"});
    EXPECT_EQ(follow.etag(), "tag of v1.30.5+k3s1") << "of what is to be confirmed, too";
    hear(follow, {minutes(16), "!"});
    EXPECT_EQ(follow.etag(), "tag of v1.30.5+k3s1");
    follow.answered({plan::parse_version("v1.30.5+k3s1").value(), "", false}, kStart);
    EXPECT_EQ(follow.etag(), "");
}

}  // namespace
}  // namespace kua::channel
