// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/command_line.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kua::systemd {
namespace {

TEST(UnquotedCommand, IsTheSameForEveryVersionOfSystemd) {
    struct Case {
        const char* said;
        const char* expected;
    };
    for (const auto& [said, expected] : std::vector<Case>{
             {"", ""},
             {"/usr/local/bin/k3s server", "/usr/local/bin/k3s server"},
             {R"("/usr/local/bin/k3s server")", "/usr/local/bin/k3s server"},
             {R"("/usr/local/bin/k3s server" "" "" "")", "/usr/local/bin/k3s server"},
             {R"($'/usr/local/bin/k3s server')", "/usr/local/bin/k3s server"},
             {R"($'/usr/local/bin/k3s\tserver')", "/usr/local/bin/k3s server"},
             {"/usr/local/bin/k3s server      ", "/usr/local/bin/k3s server"},
             {"/usr/local/bin/k3s server --tls-san a", "/usr/local/bin/k3s server --tls-san a"},
             {R"("/opt/my k3s/k3s" server "a b")", "/opt/my k3s/k3s server a b"},
             {R"(sh -c "echo \"\$HOME\" \\ 'x'")", R"(sh -c echo "$HOME" \ 'x')"},
             {R"($'it\'s' "\303\244" "\001")", "it's \303\244"},
             {R"(tool --label=app="web" x)", R"(tool --label=app="web" x)"},
             {R"(tool "never ends)", R"(tool "never ends)"},
             {R"($'never ends)", R"($'never ends)"},
             {R"(tool "ends in \)", R"(tool "ends in \)"},
             {"[k3s-server]", "[k3s-server]"},
         }) {
        EXPECT_EQ(unquoted_command(said), expected) << said;
    }
}

}  // namespace
}  // namespace kua::systemd
