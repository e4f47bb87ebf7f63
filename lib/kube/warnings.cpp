// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/warnings.hpp"

#include <algorithm>
#include <optional>

#include "lib/base/format.hpp"
#include "lib/log/log.hpp"

namespace kua::kube {

namespace {

constexpr std::size_t kMostText = 500;

void skip_space(std::string_view& rest) {
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
}

/// Takes what stands before the next space; empty where there is none.
std::string_view take_word(std::string_view& rest) {
    const auto end = rest.find(' ');
    if (end == std::string_view::npos) return {};
    const auto word = rest.substr(0, end);
    rest.remove_prefix(end);
    skip_space(rest);
    return word;
}

/// Takes a quoted string without its quotes and escapes; absent where there is none, or no end.
std::optional<std::string> take_quoted(std::string_view& rest) {
    if (!rest.starts_with('"')) return std::nullopt;
    std::string text;
    for (std::size_t at = 1; at < rest.size(); ++at) {
        if (rest[at] == '"') {
            rest.remove_prefix(at + 1);
            skip_space(rest);
            return text;
        }
        if (rest[at] == '\\' && ++at == rest.size()) break;
        text += rest[at];
    }
    return std::nullopt;
}

bool is_code(std::string_view word) {
    constexpr std::size_t kDigits = 3;
    return word.size() == kDigits &&
           std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; });
}

struct Value {
    std::string_view code;
    std::string text;
};

/// Takes one value with the comma behind it.
std::optional<Value> take_value(std::string_view& rest) {
    Value value;
    value.code = take_word(rest);
    if (!is_code(value.code) || take_word(rest).empty()) return std::nullopt;
    auto text = take_quoted(rest);
    if (!text) return std::nullopt;
    value.text = std::move(*text);
    if (rest.starts_with('"') && !take_quoted(rest)) return std::nullopt;
    if (!rest.empty() && !rest.starts_with(',')) return std::nullopt;
    if (!rest.empty()) rest.remove_prefix(1);
    return value;
}

}  // namespace

std::vector<std::string> parse_warnings(std::string_view header) {
    std::vector<std::string> texts;
    auto rest = header;
    for (skip_space(rest); !rest.empty(); skip_space(rest)) {
        auto after = rest;
        if (auto value = take_value(after)) {
            rest = after;
            if (value->code == "299" && !trim(value->text).empty()) {
                texts.push_back(std::move(value->text));
            }
            continue;
        }
        // Repeated headers come as one: what is wrong with one value must not hide the next.
        const auto comma = rest.find(',');
        rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    }
    return texts;
}

void Warnings::hear(std::string_view header, std::string_view request) {
    for (const auto& warning : parse_warnings(header)) {
        const auto text = excerpt(warning, kMostText);
        {
            const std::lock_guard lock(mutex_);
            if (said_.size() >= kMost || !said_.insert(text).second) continue;
        }
        log::warning(format("{}: the API server warns: {}", request, text));
    }
}

}  // namespace kua::kube
