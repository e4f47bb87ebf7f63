// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/reference.hpp"

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::oci {

namespace {

constexpr std::size_t kMostName = 255;
constexpr std::size_t kMostTag = 128;
constexpr std::size_t kMostPort = 5;
constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kLowerHex = "0123456789abcdef";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_letter_or_digit(char c) { return is_digit(c) || is_lower(c) || is_upper(c); }

bool only(std::string_view text, std::string_view letters) {
    return text.find_first_not_of(letters) == std::string_view::npos;
}

std::string lower(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(),
                   [](char c) { return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; });
    return result;
}

// [a-z0-9]+ groups, joined by `.`, `_`, `__` or any number of `-`.
bool is_component(std::string_view text) {
    std::string_view separator;
    std::size_t at = 0;
    while (at < text.size()) {
        const auto begin = at;
        while (at < text.size() && (is_lower(text[at]) || is_digit(text[at]))) ++at;
        if (at == begin) return false;
        if (at == text.size()) return true;
        const auto joint = at;
        while (at < text.size() && !is_lower(text[at]) && !is_digit(text[at])) ++at;
        separator = text.substr(joint, at - joint);
        if (separator != "." && separator != "_" && separator != "__" && !only(separator, "-")) {
            return false;
        }
    }
    return false;
}

bool is_host(std::string_view text) {
    if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
        return only(text.substr(1, text.size() - 2), "0123456789abcdefABCDEF:.");
    }
    const auto labels = split(text, '.');
    return std::all_of(labels.begin(), labels.end(), [](const std::string& label) {
        return !label.empty() && is_letter_or_digit(label.front()) &&
               is_letter_or_digit(label.back()) &&
               std::all_of(label.begin(), label.end(),
                           [](char c) { return is_letter_or_digit(c) || c == '-'; });
    });
}

bool is_registry(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || text.back() == ']') return is_host(text);
    const auto port = text.substr(colon + 1);
    return is_host(text.substr(0, colon)) && !port.empty() && port.size() <= kMostPort &&
           only(port, kDigits);
}

}  // namespace

std::string Reference::text() const {
    return registry + '/' + repository + (tag.empty() ? "" : ':' + tag) +
           (digest.empty() ? "" : '@' + digest);
}

bool is_repository(std::string_view text) {
    const auto components = split(text, '/');
    return text.size() <= kMostName &&
           std::all_of(components.begin(), components.end(), is_component);
}

bool is_tag(std::string_view text) {
    return !text.empty() && text.size() <= kMostTag && text.front() != '.' && text.front() != '-' &&
           std::all_of(text.begin(), text.end(), [](char c) {
               return is_letter_or_digit(c) || c == '_' || c == '.' || c == '-';
           });
}

bool is_digest(std::string_view text) {
    constexpr std::string_view kPrefix = "sha256:";
    constexpr std::size_t kHexLength = 64;
    return text.starts_with(kPrefix) && text.size() == kPrefix.size() + kHexLength &&
           only(text.substr(kPrefix.size()), kLowerHex);
}

Reference parse_reference(std::string_view text) {
    const auto refuse = [text](std::string_view reason) {
        return Error(ErrorKind::invalid,
                     format("'{}' is no image: {}", excerpt(text, 300), reason));
    };
    Reference result;
    std::string_view rest = text;
    if (const auto at = rest.find('@'); at != std::string_view::npos) {
        result.digest = rest.substr(at + 1);
        if (!is_digest(result.digest)) {
            throw refuse("its digest is not sha256: and 64 lower-case hex digits");
        }
        rest = rest.substr(0, at);
    }
    // A colon before the last slash is a port's.
    const auto colon = rest.rfind(':');
    const auto slash = rest.rfind('/');
    if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
        result.tag = rest.substr(colon + 1);
        if (!is_tag(result.tag)) throw refuse("its tag is none");
        rest = rest.substr(0, colon);
    }
    const auto first = rest.substr(0, rest.find('/'));
    const bool named = first.size() < rest.size() &&
                       (first.find_first_of(".:[") != std::string_view::npos ||
                        first == "localhost" || std::any_of(first.begin(), first.end(), is_upper));
    if (named) {
        if (!is_registry(first)) throw refuse("its registry is not host or host:port");
        result.registry = lower(first);
        // What made it a host was a capital alone: written small, it would be part of the name.
        if (first.find_first_of(".:[") == std::string_view::npos &&
            result.registry != "localhost") {
            throw refuse("its registry is a host without a dot or a port");
        }
        rest = rest.substr(first.size() + 1);
    } else {
        result.registry = "docker.io";
    }
    if (result.registry == "index.docker.io") result.registry = "docker.io";
    result.repository = rest;
    if (result.registry == "docker.io" && rest.find('/') == std::string_view::npos) {
        if (rest.size() == 64 && only(rest, kLowerHex)) throw refuse("it is an image's ID");
        result.repository = "library/" + result.repository;
    }
    if (!is_repository(result.repository)) {
        throw refuse("its name must be lower-case letters, digits and single separators");
    }
    if (result.registry.size() + 1 + result.repository.size() > kMostName) {
        throw refuse(format("its name is longer than {} bytes", kMostName));
    }
    return result;
}

}  // namespace kua::oci
