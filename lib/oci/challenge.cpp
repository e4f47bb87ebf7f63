// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/challenge.hpp"

#include <algorithm>

namespace kua::oci {

namespace {

// RFC 9110's token.
bool is_token_letter(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

class Scanner {
  public:
    explicit Scanner(std::string_view text) : text_(text) {}

    [[nodiscard]] bool at_end() const { return text_.empty(); }

    void skip(std::string_view letters) {
        text_.remove_prefix(std::min(text_.find_first_not_of(letters), text_.size()));
    }

    bool take(char letter) {
        if (text_.empty() || text_.front() != letter) return false;
        text_.remove_prefix(1);
        return true;
    }

    std::string token() {
        const auto* end = std::find_if_not(text_.begin(), text_.end(), is_token_letter);
        std::string result(text_.begin(), end);
        text_.remove_prefix(result.size());
        return result;
    }

    std::string lower_token() {
        std::string result = token();
        std::transform(result.begin(), result.end(), result.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        return result;
    }

    /// False when the quotes are never closed.
    bool quoted(std::string& value) {
        while (!text_.empty()) {
            char letter = text_.front();
            text_.remove_prefix(1);
            if (letter == '"') return true;
            if (letter == '\\' && !text_.empty()) {
                letter = text_.front();
                text_.remove_prefix(1);
            }
            value.push_back(letter);
        }
        return false;
    }

    [[nodiscard]] std::string_view rest() const { return text_; }
    void back_to(std::string_view rest) { text_ = rest; }

  private:
    std::string_view text_;
};

enum class Step { taken, other, broken };

/// `name = value`; `other` when what stands there is the next challenge's scheme.
Step take_parameter(Scanner& scanner, Challenge& challenge) {
    const auto before = scanner.rest();
    const std::string name = scanner.lower_token();
    scanner.skip(" \t");
    if (name.empty() || !scanner.take('=')) {
        scanner.back_to(before);
        return Step::other;
    }
    scanner.skip(" \t");
    std::string value;
    if (scanner.take('"')) {
        if (!scanner.quoted(value)) return Step::broken;
    } else {
        value = scanner.token();
    }
    challenge.parameters.emplace(name, value);
    return Step::taken;
}

}  // namespace

std::string Challenge::parameter(const std::string& name) const {
    const auto found = parameters.find(name);
    return found == parameters.end() ? std::string() : found->second;
}

std::vector<Challenge> parse_challenges(std::string_view text) {
    std::vector<Challenge> result;
    Scanner scanner(text);
    while (true) {
        scanner.skip(" \t,");
        if (scanner.at_end()) return result;
        Challenge challenge;
        challenge.scheme = scanner.lower_token();
        if (challenge.scheme.empty()) return result;
        Step step = Step::taken;
        while (step == Step::taken) {
            scanner.skip(" \t,");
            step = take_parameter(scanner, challenge);
        }
        if (step == Step::broken) return result;
        result.push_back(std::move(challenge));
    }
}

}  // namespace kua::oci
