// SPDX-License-Identifier: Apache-2.0
// Where releases come from: one class behind this seam for each kind.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "agent/plan/version.hpp"

namespace kua::release {

/// k3s's names for a machine: the suffix of the binary and the one of the checksum file are
/// different (`armhf`, `arm`), and an image index has a third (`arm`, variant `v7`).
struct Architecture {
    std::string binary;     ///< `k3s`, `k3s-arm64`, `k3s-armhf`
    std::string checksums;  ///< `sha256sum-amd64.txt`, …
    std::string images;  ///< `k3s-airgap-images-amd64`, …: without `.tar`, `.tar.gz`, `.tar.zst`
    std::string oci;     ///< GOARCH: `amd64`, `arm64`, `arm`
};

/// This host's; `machine` is `uname -m`'s word. Throws Error{invalid} for one that k3s is not
/// released for.
Architecture architecture(std::string_view machine);
Architecture host_architecture();

/// One release, as a Plan asks for it.
struct Wanted {
    plan::Version version;
    std::string image;  ///< spec.upgrade.image as it is written; may carry a tag or a digest.
};

/// What a release consists of on this host.
enum class Part {
    binary,
    images,  ///< The airgap images, where a bundle has them.
};

/// Where a source puts what it fetches: a file for each part, hashed while it is written. Every
/// method throws Error{failed} for the disk.
class Sink {
  public:
    virtual ~Sink() = default;

    /// What a fetch from the same source that broke has left of a part.
    struct Kept {
        std::uint64_t bytes = 0;
        std::string validator;  ///< As it was given to `begin`.
    };
    [[nodiscard]] virtual std::optional<Kept> kept(Part part) const = 0;

    struct Beginning {
        std::string name;          ///< The file's own: `k3s`, `k3s-airgap-images-amd64.tar.zst`.
        std::uint64_t offset = 0;  ///< Bytes that stay: 0, or Kept::bytes.
        std::optional<std::uint64_t> size{};  ///< Of the whole part; there must be room for it.
        /// What tells these bytes from others at the source (an ETag); empty: when this breaks, it
        /// begins anew.
        std::string validator{};
    };
    /// Begins a part, or begins it anew. Throws Error{failed} when there is no room for it.
    virtual void begin(Part part, const Beginning& beginning) = 0;
    /// Appends to the part that was begun last.
    virtual void write(std::string_view data) = 0;
    /// The SHA-256 (lower-case hex) of the part that was begun last; ends it.
    virtual std::string finish() = 0;
};

/// What a source has fetched, and answers for.
struct Fetched {
    std::string sha256;                   ///< That the binary must have.
    std::optional<std::string> images{};  ///< That the images must have, when there are any.
};

/// The seam. Every method throws Error{invalid} when this source does not have the release or what
/// it has is not in order (the message names it), Error{transient} when it can't be reached now,
/// Error{stopped}.
class Source {
  public:
    virtual ~Source() = default;
    /// For messages: `http https://…`.
    [[nodiscard]] virtual std::string name() const = 0;
    /// What else than the version decides which bytes it gives, with its name in it: what was
    /// fetched from one origin is not taken for what another has.
    [[nodiscard]] virtual std::string origin(const Wanted& /*wanted*/) const { return name(); }
    /// Whether it serves just the image that a Plan is pinned to (pin_of); others know versions.
    [[nodiscard]] virtual bool serves_pins() const { return false; }
    /// The SHA-256 (lower-case hex) that the k3s binary must have, with its signature checked where
    /// one is required; absent when the source can't tell without reading all of it.
    virtual std::optional<std::string> checksum(const Wanted& wanted, std::stop_token stop) = 0;
    /// Writes the binary, and the images where there are some, to `sink`. What it returns was
    /// verified; when it throws, nothing that was written is to be believed.
    virtual Fetched fetch(const Wanted& wanted, Sink& sink, std::stop_token stop) = 0;
};

/// The digest that a `sha256sum` list gives for `name`, matched exactly. Throws Error{invalid} that
/// says `where` and what is wrong: no line for it, two that differ, a line that is none.
std::string find_checksum(std::string_view list, std::string_view name, const std::string& where);

}  // namespace kua::release
