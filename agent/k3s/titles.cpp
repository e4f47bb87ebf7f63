// SPDX-License-Identifier: Apache-2.0
#include "agent/k3s/titles.hpp"

#include <filesystem>

namespace kua::k3s {

std::optional<Title> read_title(std::string_view command) {
    const auto blank = command.find(' ');
    if (blank == 0 || blank == std::string_view::npos) {
        return std::nullopt;
    }
    auto rest = command.substr(blank + 1);
    const auto role = rest.substr(0, rest.find(' '));
    if (role != "server" && role != "agent" && role != "init") {
        return std::nullopt;
    }
    return Title{std::string(command.substr(0, blank)), std::string(role)};
}

bool is_called_k3s(const Title& title) {
    return std::filesystem::path(title.program).filename() == "k3s";
}

}  // namespace kua::k3s
