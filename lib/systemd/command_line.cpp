// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/command_line.hpp"

#include <optional>

namespace kua::systemd {

namespace {

bool is_blank(char c) { return static_cast<unsigned char>(c) <= ' '; }

bool is_octal(char c) { return c >= '0' && c <= '7'; }

/// What follows a backslash, of which `text` is left without.
char unescape(std::string_view& text) {
    constexpr std::string_view kControls = "abfnrtv";
    constexpr std::size_t kDigits = 3;
    constexpr unsigned kOctal = 8;
    const char c = text.front();
    if (!is_octal(c)) {
        text.remove_prefix(1);
        return kControls.find(c) == std::string_view::npos ? c : ' ';
    }
    unsigned code = 0;
    for (std::size_t i = 0; i < kDigits && !text.empty() && is_octal(text.front()); ++i) {
        code = code * kOctal + static_cast<unsigned>(text.front() - '0');
        text.remove_prefix(1);
    }
    return static_cast<char>(code);
}

/// The text up to `quote`, which is taken from the front of `text`, too; absent when there is none.
std::optional<std::string> quoted(std::string_view& text, char quote) {
    auto rest = text;
    std::string inside;
    while (!rest.empty()) {
        const char c = rest.front();
        rest.remove_prefix(1);
        if (c == quote) {
            text = rest;
            return inside;
        }
        inside += c == '\\' && !rest.empty() ? unescape(rest) : c;
    }
    return std::nullopt;
}

std::optional<std::string> quoted_argument(std::string_view& text) {
    for (const std::string_view opening : {"\"", "$'"}) {
        if (text.starts_with(opening)) {
            auto rest = text.substr(opening.size());
            if (auto inside = quoted(rest, opening.back())) {
                text = rest;
                return inside;
            }
        }
    }
    return std::nullopt;
}

}  // namespace

std::string unquoted_command(std::string_view said) {
    std::string command;
    const auto add = [&command](std::string_view text) {
        for (const char c : text) {
            if (!is_blank(c)) {
                command += c;
            } else if (!command.empty() && command.back() != ' ') {
                command += ' ';
            }
        }
    };
    bool begins = true;
    while (!said.empty()) {
        // A quote inside an argument is one of its letters: systemd quotes whole ones.
        const auto argument = begins ? quoted_argument(said) : std::nullopt;
        if (argument) {
            add(*argument);
            begins = false;
            continue;
        }
        begins = is_blank(said.front());
        add(said.substr(0, 1));
        said.remove_prefix(1);
    }
    if (command.ends_with(' ')) {
        command.pop_back();
    }
    return command;
}

}  // namespace kua::systemd
