// SPDX-License-Identifier: Apache-2.0
// Image references, normalised as Docker and containerd do it: `rancher/k3s-upgrade` means
// docker.io/rancher/k3s-upgrade.
#pragma once

#include <string>
#include <string_view>

namespace kua::oci {

struct Reference {
    std::string registry;    ///< Lower case, perhaps with a port: `docker.io`, `mirror.lan:5000`.
    std::string repository;  ///< `rancher/k3s-upgrade`, `library/busybox`.
    std::string tag;         ///< Empty when there is none.
    std::string digest;      ///< `sha256:<hex>`; empty when there is none. It wins over the tag.

    /// `docker.io/rancher/k3s-upgrade:v1.31.4-k3s1`, with everything that is there.
    [[nodiscard]] std::string text() const;
};

/// Reads a reference by distribution's grammar and limits. Throws Error{invalid} that shows it and
/// says what is wrong with it; a digest other than SHA-256 is refused, too.
Reference parse_reference(std::string_view text);

/// Whether the text may be a repository's name: path components of lower-case letters, digits and
/// single separators, 255 bytes at most.
bool is_repository(std::string_view text);

/// Whether the text may be a tag.
bool is_tag(std::string_view text);

/// Whether the text is `sha256:` and 64 lower-case hex digits.
bool is_digest(std::string_view text);

}  // namespace kua::oci
