// SPDX-License-Identifier: Apache-2.0
#include "lib/base/json.hpp"

#include <gtest/gtest.h>

#include "lib/base/error.hpp"

namespace kua {
namespace {

std::string invalid_message(std::string_view text) {
    try {
        parse_json(text, "the answer of the test");
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown for " << text.substr(0, 40);
    return {};
}

std::string nested(std::size_t levels) {
    return std::string(levels, '[') + std::string(levels, ']');
}

TEST(ParseJson, ReadsOneValue) {
    EXPECT_EQ(parse_json(R"( {"a": [1, true, null, "x"]} )", "x")["a"].size(), 4U);
    EXPECT_EQ(parse_json("5", "x"), Json(5));
}

TEST(ParseJson, RefusesAllElseAndSaysWhatItWas) {
    for (const char* const text : {"", "{", "{} {}", "{'a': 1}", "[1,]", "nul", "\"\xff\"", "1e999",
                                   "{\"a\":1}x", "[\"\x01\"]"}) {
        EXPECT_TRUE(invalid_message(text).starts_with("the answer of the test: not JSON: "))
            << invalid_message(text);
    }
}

TEST(ParseJson, BoundsTheDepth) {
    EXPECT_NO_THROW(parse_json(nested(200), "x"));
    EXPECT_NE(invalid_message(nested(201)).find("200 levels"), std::string::npos);
    invalid_message(std::string(5'000'000, '['));
    std::string objects;
    for (int level = 0; level < 100'000; ++level) {
        objects += "{\"a\":";
    }
    EXPECT_NE(invalid_message(objects).find("200 levels"), std::string::npos);
}

TEST(ParseJson, PutsNoLineBreakIntoItsMessage) {
    EXPECT_EQ(invalid_message("{\n\n\"a\n").find('\n'), std::string::npos);
}

TEST(Find, FollowsKeys) {
    const Json plan = parse_json(
        R"({"spec": {"drain": {"force": true}, "none": null, "text": "t", "list": [1]}})", "x");
    EXPECT_EQ(*find(plan, {"spec", "drain", "force"}), Json(true));
    EXPECT_EQ(find(plan, {}), &plan);
    EXPECT_EQ(find(plan, {"spec", "missing"}), nullptr);
    EXPECT_EQ(find(plan, {"spec", "none"}), nullptr);
    EXPECT_EQ(find(plan, {"spec", "none", "deeper"}), nullptr);
    EXPECT_EQ(find(plan, {"spec", "text", "deeper"}), nullptr);
    EXPECT_EQ(find(plan, {"spec", "list", "0"}), nullptr);
    EXPECT_EQ(find(Json(), {}), nullptr);
}

TEST(TypedReads, FallBackOnAnotherType) {
    const Json value =
        parse_json(R"({"s": "x", "b": true, "i": -5, "u": 18446744073709551615, "f": 1.0})", "x");
    EXPECT_EQ(string_at(value, {"s"}), "x");
    EXPECT_EQ(string_at(value, {"i"}), "");
    EXPECT_EQ(string_at(value, {"none"}), "");
    EXPECT_TRUE(bool_at(value, {"b"}, false));
    EXPECT_TRUE(bool_at(value, {"s"}, true));
    EXPECT_FALSE(bool_at(value, {"none"}, false));
    EXPECT_EQ(int_at(value, {"i"}), -5);
    EXPECT_EQ(int_at(value, {"u"}), std::nullopt);
    EXPECT_EQ(int_at(value, {"f"}), std::nullopt);
    EXPECT_EQ(int_at(value, {"s"}), std::nullopt);
}

}  // namespace
}  // namespace kua
