// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/label.hpp"

#include <algorithm>
#include <array>

#include "lib/base/format.hpp"

namespace kua::plan {

namespace {

constexpr std::size_t kLongestName = 63;
constexpr std::size_t kLongestPrefix = 253;

/// kubelet's IsKubeletLabel, those that stand outside of its two domains.
constexpr std::array<std::string_view, 10> kKubeletLabels{
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
};

bool is_lower_or_digit(char character) {
    return (character >= 'a' && character <= 'z') || (character >= '0' && character <= '9');
}

bool is_letter_or_digit(char character) {
    return is_lower_or_digit(character) || (character >= 'A' && character <= 'Z');
}

/// Letters and digits, with `-`, `_` and `.` between them.
bool is_name(std::string_view text) {
    return !text.empty() && is_letter_or_digit(text.front()) && is_letter_or_digit(text.back()) &&
           std::all_of(text.begin(), text.end(), [](char character) {
               return is_letter_or_digit(character) || character == '-' || character == '_' ||
                      character == '.';
           });
}

/// RFC 1123, in lower case.
bool is_subdomain(std::string_view text) {
    const auto pieces = split(text, '.');
    return std::all_of(pieces.begin(), pieces.end(), [](const std::string& piece) {
        return !piece.empty() && is_lower_or_digit(piece.front()) &&
               is_lower_or_digit(piece.back()) &&
               std::all_of(piece.begin(), piece.end(), [](char character) {
                   return is_lower_or_digit(character) || character == '-';
               });
    });
}

std::optional<std::string> name_problem(std::string_view name) {
    if (name.size() > kLongestName) {
        return format("has {} characters; at most {} are allowed", name.size(), kLongestName);
    }
    if (!is_name(name)) {
        return "may have only letters, digits, \"-\", \"_\" and \".\", with a letter or digit at "
               "both ends";
    }
    return std::nullopt;
}

/// True for the domain and all below it.
bool is_in(std::string_view domain, std::string_view of) {
    return domain == of || (domain.ends_with(of) && domain[domain.size() - of.size() - 1] == '.');
}

}  // namespace

std::optional<std::string> label_key_problem(std::string_view key) {
    const auto slash = key.find('/');
    if (slash == std::string_view::npos) {
        return name_problem(key);
    }
    const auto prefix = key.substr(0, slash);
    if (prefix.size() > kLongestPrefix || !is_subdomain(prefix)) {
        return "must have a DNS name in lower case before the slash, such as example.org";
    }
    return name_problem(key.substr(slash + 1));
}

std::optional<std::string> label_value_problem(std::string_view value) {
    return value.empty() ? std::nullopt : name_problem(value);
}

bool node_may_set(std::string_view key) {
    const auto slash = key.find('/');
    if (slash == std::string_view::npos) {
        return true;
    }
    const auto domain = key.substr(0, slash);
    if (is_in(domain, "node-restriction.kubernetes.io")) {
        return false;
    }
    if (!is_in(domain, "kubernetes.io") && !is_in(domain, "k8s.io")) {
        return true;
    }
    return is_in(domain, "kubelet.kubernetes.io") || is_in(domain, "node.kubernetes.io") ||
           std::find(kKubeletLabels.begin(), kKubeletLabels.end(), key) != kKubeletLabels.end();
}

}  // namespace kua::plan
