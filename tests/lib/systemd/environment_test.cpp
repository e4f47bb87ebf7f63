// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/environment.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kua::systemd {
namespace {

TEST(EnvironmentFile, IsReadAsSystemdReadsIt) {
    struct Case {
        const char* text;
        Environment expected;
    };
    for (const auto& [text, expected] : std::vector<Case>{
             {"", {}},
             {"A=1\nB=2\n", {{"A", "1"}, {"B", "2"}}},
             {"A=1", {{"A", "1"}}},
             {"A=1\r\nB=2\r\n", {{"A", "1"}, {"B", "2"}}},
             {"A=1\nA=2\n", {{"A", "2"}}},
             {"  A =  1  \n", {{"A", "1"}}},
             {"A=\n", {{"A", ""}}},
             {"# A=1\n; B=2\n\nC=3 # stays\n", {{"C", "3 # stays"}}},
             {"# goes on \\\nA=1\nB=2\n", {{"B", "2"}}},
             {"A='one two'\nB=\"three four\"\n", {{"A", "one two"}, {"B", "three four"}}},
             {"A='one'\"two\"three\n", {{"A", "onetwothree"}}},
             {"A=' spaces '  \n", {{"A", " spaces "}}},
             {"A=it's\nB=2\n", {{"A", "it's"}, {"B", "2"}}},
             {"A='a' \"b\" c\n", {{"A", "abc"}}},
             {"A=a \"b\"\n", {{"A", "a \"b\""}}},
             {"A=\"a \\\"b\\\" \\$c \\d\"\n", {{"A", "a \"b\" $c \\d"}}},
             {"A='a\\b'\n", {{"A", "a\\b"}}},
             {"A=\"two\nlines\"\n", {{"A", "two\nlines"}}},
             {"A=one\\\ntwo\n", {{"A", "onetwo"}}},
             {"A=a\\ b\\\\c\n", {{"A", "a b\\c"}}},
             {"A=$B ${C}\n", {{"A", "$B ${C}"}}},
             {"nonsense\nA=1\n", {{"A", "1"}}},
             {"1A=1\nA-B=2\nexport A=3\n=4\n_=5\n", {{"_", "5"}}},
             {"HTTPS_PROXY=http://u:p@proxy.example:3128\n",
              {{"HTTPS_PROXY", "http://u:p@proxy.example:3128"}}},
             {"A='unfinished\nB=2", {{"A", "unfinished\nB=2"}}},
             {"A=1\\", {{"A", "1"}}},
         }) {
        EXPECT_EQ(parse_environment_file(text), expected) << text;
    }
}

TEST(EnvironmentAssignment, IsAddedWhenItIsOne) {
    Environment environment;
    for (const char* text : {"A=1", "B=", "C", "=D", "E F=1", "A=2=3"}) {
        add_assignment(environment, text);
    }
    EXPECT_EQ(environment, (Environment{{"A", "2=3"}, {"B", ""}}));
}

}  // namespace
}  // namespace kua::systemd
