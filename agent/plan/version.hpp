// SPDX-License-Identifier: Apache-2.0
// k3s versions: `v1.30.4+k3s1`, as an image tag `v1.30.4-k3s1`.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace kua::plan {

/// A k3s version, ordered by age: a pre-release before its release, then by k3s revision; other
/// builds of the same numbers before both, in the order of their letters, which tells nothing.
/// The rules for the first four parts are Semantic Versioning's; `+k3sN` is k3s's own (SemVer would
/// not order by it).
struct Version {
    unsigned major = 0;
    unsigned minor = 0;
    unsigned patch = 0;
    unsigned candidate = 0;  ///< N of `-rcN`; 0 for a release.
    unsigned k3s = 0;        ///< N of `+k3sN`.
    /// Of what is no release (`v1.30.4+k3s-98262b5d`, `v1.31.0-alpha.1+k3s1`): all that follows the
    /// three numbers. The two fields before it are 0 then.
    std::string build{};

    /// `v1.30.4+k3s1`: what `k3s --version` and kubeletVersion say.
    [[nodiscard]] std::string text() const;
    /// `v1.30.4-k3s1`: an image tag can't have a plus; SUC writes status.latestVersion so.
    [[nodiscard]] std::string tag() const;

    std::strong_ordering operator<=>(const Version& other) const;
    bool operator==(const Version& other) const = default;
};

/// Whether one of them is the newer one, or both are the same: builds that are no releases can only
/// be told apart by their three numbers.
bool comparable(const Version& one, const Version& other);

/// Reads a release or its candidate, in either spelling, with or without the `v`. Absent for
/// anything else, however close.
std::optional<Version> parse_release(std::string_view text);

/// Reads either spelling, with or without the `v`: a release or its candidate, or another build of
/// three numbers and a suffix. Absent for anything else, however close.
std::optional<Version> parse_version(std::string_view text);

/// The version in the first line of `k3s --version`, `k3s version v1.30.4+k3s1 (98262b5d)`, where
/// k3s prints the name of the file that was run; absent when it is not there.
std::optional<Version> parse_version_output(std::string_view output);

/// SUC's MungeVersion: every `+` becomes `-`, whatever the text is.
std::string munge(std::string_view version);

}  // namespace kua::plan
