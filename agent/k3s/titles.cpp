// SPDX-License-Identifier: Apache-2.0
#include "agent/k3s/titles.hpp"

#include <algorithm>
#include <filesystem>

namespace kua::k3s {

std::optional<Title> read_title(std::string_view command) {
    const auto program = command.substr(0, command.find(' '));
    const auto rest = command.substr(std::min(program.size() + 1, command.size()));
    const auto role = rest.substr(0, rest.find(' '));
    Title title{std::string(program), std::string(role == "init" ? "" : role)};
    const bool says_no_role = role == "init" || (role.empty() && is_called_k3s(title));
    if (program.empty() || (role != "server" && role != "agent" && !says_no_role)) {
        return std::nullopt;
    }
    return title;
}

bool is_called_k3s(const Title& title) {
    return std::filesystem::path(title.program).filename() == "k3s";
}

}  // namespace kua::k3s
