// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/rewrite.hpp"

#include <algorithm>
#include <regex>
#include <string_view>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/number.hpp"

namespace kua::oci {

namespace {

constexpr std::size_t kMostPattern = 1024;
constexpr std::size_t kMostResult = 4096;
constexpr unsigned kMostRepetitions = 1000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_word(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/// Go refuses these too (regexp/syntax: ErrInvalidRepeatSize, no back-references), while libstdc++
/// reads such numbers without looking how large they get.
void check_numbers(std::string_view pattern) {
    for (std::size_t at = 0; at < pattern.size(); ++at) {
        if (pattern[at] == '\\') {
            ++at;
            if (at < pattern.size() && pattern[at] >= '1' && pattern[at] <= '9') {
                throw Error(ErrorKind::invalid, "has a back-reference, which Go does not know");
            }
            continue;
        }
        if (pattern[at] != '{') {
            continue;
        }
        const auto* begin = pattern.begin() + at + 1;
        for (int numbers = 0; numbers < 2; ++numbers) {
            const auto* end = std::find_if_not(begin, pattern.end(), is_digit);
            const auto count = whole_number<unsigned>(std::string_view(begin, end));
            if (begin != end && (!count || *count > kMostRepetitions)) {
                throw Error(ErrorKind::invalid,
                            format("repeats something more than {} times", kMostRepetitions));
            }
            if (end == pattern.end() || *end != ',') {
                break;
            }
            begin = end + 1;
        }
    }
}

std::regex compile(const std::string& pattern) {
    if (pattern.size() > kMostPattern) {
        throw Error(ErrorKind::invalid, format("is longer than {} bytes", kMostPattern));
    }
    check_numbers(pattern);
    auto flags = std::regex::ECMAScript;
#ifdef _GLIBCXX_REGEX
    // Go's expressions have no back-references and take linear time; libstdc++ knows a mode
    // without the first that is never exponential.
    flags |= std::regex_constants::__polynomial;
#endif
    try {
        return std::regex(pattern, flags);
    } catch (const std::regex_error& error) {
        throw Error(ErrorKind::invalid, format("is no regular expression that is understood here "
                                               "({})",
                                               one_line(error.what())));
    }
}

/// The text of the group that `name` means: a number; anything else is empty, as in Go.
std::string group(const std::smatch& match, std::string_view name) {
    const auto number = whole_number<std::size_t>(name);
    return number && *number < match.size() ? match[*number].str() : std::string();
}

std::string expand(std::string_view replacement, const std::smatch& match) {
    std::string result;
    while (!replacement.empty()) {
        const auto dollar = replacement.find('$');
        result += replacement.substr(0, dollar);
        if (dollar == std::string_view::npos) break;
        replacement.remove_prefix(dollar + 1);
        if (replacement.starts_with('$')) {
            result += '$';
            replacement.remove_prefix(1);
        } else if (const auto close = replacement.find('}');
                   replacement.starts_with('{') && close != std::string_view::npos) {
            result += group(match, replacement.substr(1, close - 1));
            replacement.remove_prefix(close + 1);
        } else {
            const auto* end = std::find_if_not(replacement.begin(), replacement.end(), is_word);
            const auto length = static_cast<std::size_t>(end - replacement.begin());
            result += length == 0 ? "$" : group(match, replacement.substr(0, length));
            replacement.remove_prefix(length);
        }
    }
    return result;
}

}  // namespace

void check_pattern(const std::string& pattern) { compile(pattern); }

std::string replace_all(const std::string& text, const std::string& pattern,
                        const std::string& replacement) {
    const std::regex expression = compile(pattern);
    std::string result;
    auto from = text.begin();
    for (std::sregex_iterator match(text.begin(), text.end(), expression), end; match != end;
         ++match) {
        result.append(from, (*match)[0].first);
        result += expand(replacement, *match);
        from = (*match)[0].second;
        if (result.size() > kMostResult) {
            throw Error(ErrorKind::invalid, "gives a name that is far too long");
        }
    }
    return result.append(from, text.end());
}

}  // namespace kua::oci
