// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/selector.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"

namespace kua::plan {
namespace {

using test::error_of;
using ::testing::HasSubstr;

Json expression(const std::string& op, const Json& values = nullptr) {
    Json one = {{"key", "role"}, {"operator", op}};
    if (!values.is_null()) {
        one["values"] = values;
    }
    return {{"matchExpressions", Json::array({one})}};
}

TEST(Selector, MatchesAsKubernetesDoes) {
    struct Case {
        std::string name;
        Json selector;
        Labels labels;
        bool expected;
    };
    const std::vector<Case> cases = {
        {"an empty one matches everything", Json::object(), {}, true},
        {"null fields are none",
         {{"matchLabels", nullptr}, {"matchExpressions", nullptr}},
         {},
         true},
        {"a label", {{"matchLabels", {{"role", "db"}}}}, {{"role", "db"}}, true},
        {"a label of another value", {{"matchLabels", {{"role", "db"}}}}, {{"role", "web"}}, false},
        {"a label that is not there", {{"matchLabels", {{"role", "db"}}}}, {}, false},
        {"an empty value", {{"matchLabels", {{"role", ""}}}}, {{"role", ""}}, true},
        {"an empty value wants the label", {{"matchLabels", {{"role", ""}}}}, {}, false},
        {"all labels", {{"matchLabels", {{"a", "1"}, {"b", "2"}}}}, {{"a", "1"}}, false},
        {"In", expression("In", {"db", "web"}), {{"role", "web"}}, true},
        {"In, another value", expression("In", {"db", "web"}), {{"role", "mail"}}, false},
        {"In, missing", expression("In", {"db"}), {}, false},
        {"NotIn", expression("NotIn", {"db"}), {{"role", "web"}}, true},
        {"NotIn, listed", expression("NotIn", {"db"}), {{"role", "db"}}, false},
        {"NotIn, missing", expression("NotIn", {"db"}), {}, true},
        {"Exists", expression("Exists"), {{"role", ""}}, true},
        {"Exists, missing", expression("Exists"), {{"other", ""}}, false},
        {"Exists, empty values", expression("Exists", Json::array()), {{"role", "x"}}, true},
        {"DoesNotExist", expression("DoesNotExist"), {{"other", ""}}, true},
        {"DoesNotExist, there", expression("DoesNotExist"), {{"role", ""}}, false},
        {"labels and expressions",
         {{"matchLabels", {{"a", "1"}}},
          {"matchExpressions", Json::array({{{"key", "role"}, {"operator", "Exists"}}})}},
         {{"a", "1"}},
         false},
    };
    for (const auto& [name, selector, labels, expected] : cases) {
        EXPECT_EQ(Selector(selector, "spec.nodeSelector").matches(labels), expected) << name;
    }
}

TEST(Selector, SaysWhatIsWrongWithOne) {
    struct Case {
        Json selector;
        std::string said;
    };
    const std::vector<Case> cases = {
        {expression("in", {"a"}),
         "f.matchExpressions[0].operator: \"in\" is none of In, NotIn, Exists, DoesNotExist"},
        {expression("In"), "f.matchExpressions[0].values: operator In wants at least one"},
        {expression("NotIn", Json::array()), "operator NotIn wants at least one"},
        {expression("Exists", {"a"}), "operator Exists takes none"},
        {expression("DoesNotExist", {"a"}), "operator DoesNotExist takes none"},
        {{{"matchExpressions", Json::array({{{"operator", "Exists"}}})}},
         "f.matchExpressions[0].key: missing"},
        {{{"matchLabels", {{"a", 1}}}}, "f.matchLabels.a: must be a text, is 1"},
        // What no label can be: the API server would refuse it in any other selector.
        {{{"matchLabels", {{"a b", "c"}}}}, "f.matchLabels: \"a b\": a label's key may have only"},
        {{{"matchLabels", {{"a", "b+c"}}}},
         "f.matchLabels: \"b+c\": a label's value may have only"},
        {expression("NotIn", {"v1.31.4+k3s1"}),
         "f.matchExpressions[0]: \"v1.31.4+k3s1\": a label's"},
        // A selector that is none must not select everything.
        {"db", "f: must be a mapping"},
        {Json::array(), "f: must be a mapping"},
        {{{"matchLabels", "db"}}, "f.matchLabels: must be a mapping"},
        {{{"matchExpressions", {{"key", "a"}}}}, "f.matchExpressions: must be a list"},
    };
    for (const auto& [selector, said] : cases) {
        const auto error = error_of([&, &read = selector] { Selector(read, "f"); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << selector;
        EXPECT_THAT(error.what(), HasSubstr(said)) << selector;
    }
}

}  // namespace
}  // namespace kua::plan
