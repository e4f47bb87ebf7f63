// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/version.hpp"

#include <algorithm>
#include <charconv>
#include <tuple>

#include "lib/base/format.hpp"

namespace kua::plan {

namespace {

/// Takes a decimal number without leading zeros off the front; at most six digits, which no release
/// will ever need.
bool take_number(std::string_view& text, unsigned& number) {
    const auto end = std::min(text.find_first_not_of("0123456789"), text.size());
    if (end == 0 || end > 6 || (end > 1 && text[0] == '0')) {
        return false;
    }
    std::from_chars(text.data(), text.data() + end, number);
    text.remove_prefix(end);
    return true;
}

bool take(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) {
        return false;
    }
    text.remove_prefix(prefix.size());
    return true;
}

/// `+k3s1`, `-rc1+k3s1`; either with `-` for the plus, as in an image's tag.
bool take_release(std::string_view text, Version& version) {
    if (take(text, "-rc") && (!take_number(text, version.candidate) || version.candidate == 0)) {
        return false;
    }
    if (!take(text, "+k3s") && !take(text, "-k3s")) {
        return false;
    }
    return take_number(text, version.k3s) && text.empty();
}

bool is_word(std::string_view text) {
    constexpr std::string_view kLetters =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    constexpr std::size_t kLongest = 40;
    return !text.empty() && text.size() <= kLongest &&
           text.find_first_not_of(kLetters) == std::string_view::npos;
}

/// What k3s's own builds are called by: `+k3s-98262b5d` (of a commit), `+k3s1-dirty`,
/// `-alpha.1+k3s1`. What only looks like a release's or a candidate's is none of them.
bool is_suffix(std::string_view text) {
    const auto k3s = text.find("k3s");
    if (k3s == 0 || k3s == std::string_view::npos ||
        (text[k3s - 1] != '+' && text[k3s - 1] != '-')) {
        return false;
    }
    auto before = text.substr(0, k3s - 1);
    const bool is_pre = !before.empty();
    if (is_pre && (!take(before, "-") || !is_word(before) || before.starts_with("rc"))) {
        return false;
    }
    auto behind = text.substr(k3s + 3);
    unsigned revision = 0;
    const bool has_revision = take_number(behind, revision);
    if (behind.empty()) {
        return is_pre && has_revision;
    }
    return take(behind, "-") && is_word(behind);
}

/// As k3s itself writes it, whose tag has `-k3s` for `+k3s`.
std::string with_plus(std::string_view text) {
    std::string written(text);
    if (const auto at = written.find("-k3s");
        at != std::string::npos && written.find('+') == std::string::npos) {
        written[at] = '+';
    }
    return written;
}

}  // namespace

std::string Version::text() const {
    if (!build.empty()) {
        return format("v{}.{}.{}{}", major, minor, patch, build);
    }
    const auto pre = candidate > 0 ? format("-rc{}", candidate) : std::string();
    return format("v{}.{}.{}{}+k3s{}", major, minor, patch, pre, k3s);
}

std::string Version::tag() const { return munge(text()); }

std::strong_ordering Version::operator<=>(const Version& other) const {
    const auto key = [](const Version& version) {
        const bool released = version.candidate == 0;
        return std::tuple(version.major, version.minor, version.patch, version.build.empty(),
                          version.build, released, version.candidate, version.k3s);
    };
    return key(*this) <=> key(other);
}

bool comparable(const Version& one, const Version& other) {
    const auto numbers = [](const Version& version) {
        return std::tuple(version.major, version.minor, version.patch);
    };
    const bool releases = one.build.empty() && other.build.empty();
    return releases || one == other || numbers(one) != numbers(other);
}

std::optional<Version> parse_version(std::string_view text) {
    Version version;
    take(text, "v");
    if (!take_number(text, version.major) || !take(text, ".") ||
        !take_number(text, version.minor) || !take(text, ".") ||
        !take_number(text, version.patch)) {
        return std::nullopt;
    }
    auto rest = text;
    if (take_release(rest, version)) {
        return version;
    }
    version.candidate = 0;
    version.k3s = 0;
    if (!is_suffix(text)) {
        return std::nullopt;
    }
    version.build = with_plus(text);
    return version;
}

std::optional<Version> parse_release(std::string_view text) {
    auto version = parse_version(text);
    return version && version->build.empty() ? version : std::nullopt;
}

std::optional<Version> parse_version_output(std::string_view output) {
    constexpr std::string_view kVersion = " version ";
    auto line = output.substr(0, output.find('\n'));
    // The name that it was called by stands before it.
    const auto name = line.find(kVersion);
    if (name == 0 || name == std::string_view::npos) {
        return std::nullopt;
    }
    line.remove_prefix(name + kVersion.size());
    return parse_version(trim(line.substr(0, line.find(' '))));
}

std::string munge(std::string_view version) {
    std::string tag(version);
    std::replace(tag.begin(), tag.end(), '+', '-');
    return tag;
}

}  // namespace kua::plan
