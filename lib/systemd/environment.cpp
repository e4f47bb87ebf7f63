// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/environment.hpp"

#include <algorithm>
#include <iterator>

#include "lib/base/format.hpp"

namespace kua::systemd {

namespace {

constexpr std::string_view kComments = "#;";
constexpr std::string_view kBlanks = " \t\r";

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

bool is_name(std::string_view name) {
    return !name.empty() && is_letter(name.front()) &&
           std::all_of(name.begin(), name.end(),
                       [](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

bool is_one_of(char c, std::string_view letters) {
    return letters.find(c) != std::string_view::npos;
}

/// Blanks part words, and quotes keep them in one.
std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    bool in_word = false;
    char quote = '\0';
    for (const char c : text) {
        if (quote == '\0' && (is_one_of(c, kBlanks) || c == '\n')) {
            in_word = false;
            continue;
        }
        if (!in_word) {
            words.emplace_back();
            in_word = true;
        }
        if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
        } else if (c == quote) {
            quote = '\0';
        } else {
            words.back() += c;
        }
    }
    return words;
}

/// Takes a text apart from its front, as systemd's own reader of these files does.
class Reader {
  public:
    explicit Reader(std::string_view text) : rest_(text) {}

    Environment read() {
        Environment environment;
        while (!rest_.empty()) {
            const char c = rest_.front();
            if (c == '\n' || is_one_of(c, kBlanks)) {
                rest_.remove_prefix(1);
            } else if (is_one_of(c, kComments)) {
                skip_comment();
            } else {
                const auto stop = rest_.find_first_of("=\n");
                if (stop == std::string_view::npos) break;
                const std::string name(trim(rest_.substr(0, stop)));
                const bool assigns = rest_[stop] == '=';
                rest_.remove_prefix(stop + 1);
                if (!assigns) continue;
                std::string value = read_value();
                if (is_name(name)) environment.insert_or_assign(name, std::move(value));
            }
        }
        return environment;
    }

  private:
    char take() {
        const char c = rest_.front();
        rest_.remove_prefix(1);
        return c;
    }

    // A comment goes on behind a backslash at the end of its line, too.
    void skip_comment() {
        bool escaped = false;
        while (!rest_.empty()) {
            const char c = take();
            if (c == '\n' && !escaped) return;
            escaped = c == '\\' && !escaped;
        }
    }

    std::string read_value() {
        std::string value;
        std::size_t meant = 0;  // length without the blanks at the end that nobody quoted
        bool begun = false;  // with something that is not quoted: quotes are letters from then on
        while (!rest_.empty()) {
            const char c = take();
            if (c == '\n') break;
            if (c == '\\') {
                if (rest_.empty()) break;
                begun = true;
                const char next = take();
                if (next == '\n') continue;
                value += next;
                meant = value.size();
            } else if (!begun && (c == '\'' || c == '"')) {
                read_quoted(c, value);
                meant = value.size();
            } else if (begun || !is_one_of(c, kBlanks)) {
                begun = true;
                value += c;
                if (!is_one_of(c, kBlanks)) meant = value.size();
            }
        }
        value.resize(meant);
        return value;
    }

    void read_quoted(char quote, std::string& value) {
        while (!rest_.empty()) {
            const char c = take();
            if (c == quote) return;
            if (c == '\\' && quote == '"' && !rest_.empty()) {
                const char next = take();
                if (next == '\n') continue;
                if (!is_one_of(next, "\"\\`$")) value += '\\';
                value += next;
            } else {
                value += c;
            }
        }
    }

    std::string_view rest_;
};

}  // namespace

Environment parse_environment_file(std::string_view text) { return Reader(text).read(); }

void add_assignment(Environment& environment, std::string_view assignment) {
    const auto equals = assignment.find('=');
    if (equals == std::string_view::npos || !is_name(assignment.substr(0, equals))) return;
    environment.insert_or_assign(std::string(assignment.substr(0, equals)),
                                 std::string(assignment.substr(equals + 1)));
}

std::vector<std::string> expand(const std::vector<std::string>& arguments,
                                const Environment& environment) {
    const auto value_of = [&environment](std::string_view name) {
        const auto found = environment.find(std::string(name));
        return found == environment.end() ? std::string() : found->second;
    };
    std::vector<std::string> expanded;
    for (const std::string_view argument : arguments) {
        if (argument.starts_with('$') && is_name(argument.substr(1))) {
            std::ranges::move(words_of(value_of(argument.substr(1))), std::back_inserter(expanded));
            continue;
        }
        std::string text;
        auto rest = argument;
        while (!rest.empty()) {
            const auto end = rest.starts_with("${") ? rest.find('}') : std::string_view::npos;
            if (end != std::string_view::npos && is_name(rest.substr(2, end - 2))) {
                text += value_of(rest.substr(2, end - 2));
                rest.remove_prefix(end + 1);
            } else {
                text += rest.front();
                rest.remove_prefix(rest.starts_with("$$") ? 2 : 1);
            }
        }
        expanded.push_back(std::move(text));
    }
    return expanded;
}

}  // namespace kua::systemd
