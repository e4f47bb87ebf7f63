// SPDX-License-Identifier: Apache-2.0
// Releases that an administrator puts into a folder of the host: for hosts without a network, and
// with the images that k3s needs there.
#pragma once

#include <filesystem>
#include <string>

#include "agent/release/bundles.hpp"
#include "agent/release/settings.hpp"
#include "agent/release/signatures.hpp"
#include "agent/release/source.hpp"

namespace kua::release {

/// A bundle holds the binary and its sums file, and may hold the sums' signature
/// (`sha256sum-<arch>.txt.sig`) and the images, of which `.tar.zst` goes before `.tar.gz` before
/// `.tar`. It is read once. What is still being written while it is read, or breaks off, is
/// Error{transient}.
class BundleSource final : public Source {
  public:
    /// `signatures` must live as long.
    BundleSource(BundleSettings settings, Architecture architecture, const Signatures& signatures);

    [[nodiscard]] std::string name() const override;
    /// Absent for archives, and for files that don't say which version they are.
    std::optional<std::string> checksum(const Wanted& wanted, std::stop_token stop) override;
    Fetched fetch(const Wanted& wanted, Sink& sink, std::stop_token stop) override;

  private:
    struct Sums;

    [[nodiscard]] Bundle find(const Wanted& wanted) const;
    [[nodiscard]] Sums read_sums(const std::filesystem::path& folder) const;
    void check_signature(const Sums& sums) const;
    Fetched fetch_files(const Bundle& bundle, Sink& sink, const std::stop_token& stop) const;
    Fetched fetch_archive(const Bundle& bundle, Sink& sink, const std::stop_token& stop) const;

    BundleSettings settings_;
    Architecture architecture_;
    const Signatures& signatures_;
};

}  // namespace kua::release
