// SPDX-License-Identifier: Apache-2.0
// What k3s's processes call themselves: k3s hides its arguments, and leaves its program and its
// role.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kua::k3s {

/// `<program> server` or `<program> agent`. One that runs its work in a child (`k3s server --log
/// FILE`) says `<program> init`, before 1.22 `<program>` alone; the child is `k3s server`, without
/// a path.
struct Title {
    std::string program;
    std::string role;  ///< `server`, `agent`, or empty where it does not say.
};

/// Reads a process's command line. Absent for what is not of that form.
std::optional<Title> read_title(std::string_view command);

/// Whether a title's program is called k3s.
bool is_called_k3s(const Title& title);

}  // namespace kua::k3s
