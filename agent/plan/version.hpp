// SPDX-License-Identifier: Apache-2.0
// k3s versions: `v1.30.4+k3s1`, as an image tag `v1.30.4-k3s1`.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace kua::plan {

/// A k3s release's version, ordered by age: a pre-release before its release, then by k3s revision.
/// The rules for the first four parts are Semantic Versioning's; `+k3sN` is k3s's own (SemVer would
/// not order by it).
struct Version {
    unsigned major = 0;
    unsigned minor = 0;
    unsigned patch = 0;
    unsigned candidate = 0;  ///< N of `-rcN`; 0 for a release.
    unsigned k3s = 0;        ///< N of `+k3sN`.

    /// `v1.30.4+k3s1`: what `k3s --version` and kubeletVersion say.
    [[nodiscard]] std::string text() const;
    /// `v1.30.4-k3s1`: an image tag can't have a plus; SUC writes status.latestVersion so.
    [[nodiscard]] std::string tag() const;

    std::strong_ordering operator<=>(const Version& other) const;
    bool operator==(const Version& other) const = default;
};

/// Reads either spelling, with or without the `v`; absent for anything else, however close.
std::optional<Version> parse_version(std::string_view text);

/// The version in the first line of `k3s --version` (`k3s version v1.30.4+k3s1 (98262b5d)`); absent
/// when it is not there.
std::optional<Version> parse_version_output(std::string_view output);

/// SUC's MungeVersion: every `+` becomes `-`, whatever the text is.
std::string munge(std::string_view version);

}  // namespace kua::plan
