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

}  // namespace

std::string Version::text() const {
    const auto pre = candidate > 0 ? format("-rc{}", candidate) : std::string();
    return format("v{}.{}.{}{}+k3s{}", major, minor, patch, pre, k3s);
}

std::string Version::tag() const { return munge(text()); }

std::strong_ordering Version::operator<=>(const Version& other) const {
    const auto key = [](const Version& version) {
        const bool released = version.candidate == 0;
        return std::tuple(version.major, version.minor, version.patch, released, version.candidate,
                          version.k3s);
    };
    return key(*this) <=> key(other);
}

std::optional<Version> parse_version(std::string_view text) {
    Version version;
    take(text, "v");
    if (!take_number(text, version.major) || !take(text, ".") ||
        !take_number(text, version.minor) || !take(text, ".") ||
        !take_number(text, version.patch)) {
        return std::nullopt;
    }
    if (take(text, "-rc") && (!take_number(text, version.candidate) || version.candidate == 0)) {
        return std::nullopt;
    }
    if (!take(text, "+k3s") && !take(text, "-k3s")) {
        return std::nullopt;
    }
    if (!take_number(text, version.k3s) || !text.empty()) {
        return std::nullopt;
    }
    return version;
}

std::optional<Version> parse_version_output(std::string_view output) {
    auto line = output.substr(0, output.find('\n'));
    if (!take(line, "k3s version ")) {
        return std::nullopt;
    }
    return parse_version(trim(line.substr(0, line.find(' '))));
}

std::string munge(std::string_view version) {
    std::string tag(version);
    std::replace(tag.begin(), tag.end(), '+', '-');
    return tag;
}

}  // namespace kua::plan
