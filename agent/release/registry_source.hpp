// SPDX-License-Identifier: Apache-2.0
// Releases out of the Plan's own image: `opt/k3s` of rancher/k3s-upgrade, pulled through k3s's
// registries.yaml.
#pragma once

#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/release/settings.hpp"
#include "agent/release/signatures.hpp"
#include "agent/release/source.hpp"
#include "lib/base/clock.hpp"
#include "lib/http/client.hpp"
#include "lib/oci/pull.hpp"
#include "lib/oci/reference.hpp"

namespace kua::release {

/// The image that holds a release: the Plan's, at the tag or digest it carries itself, else at the
/// version's (`+` as `-`). Throws Error{invalid}.
oci::Reference image_of(const Wanted& wanted);

class RegistrySource final : public Source {
  public:
    /// All that is referred to must live as long. `most_rate`: bytes per second; 0: no limit.
    RegistrySource(http::Client& client, Clock& clock, RegistrySettings settings,
                   std::uint64_t most_rate, Architecture architecture,
                   const Signatures& signatures);

    [[nodiscard]] std::string name() const override;
    /// A Plan's image may change without its version: to another registry, or to a digest.
    [[nodiscard]] std::string origin(const Wanted& wanted) const override;
    [[nodiscard]] bool serves_pins() const override { return true; }
    /// Absent: an image names the digests of its layers, not that of a file in them.
    std::optional<std::string> checksum(const Wanted& wanted, std::stop_token stop) override;
    /// Reads registries.yaml anew, and warns of each problem in it once. The layers are read from
    /// the top down, until one has the binary.
    Fetched fetch(const Wanted& wanted, Sink& sink, std::stop_token stop) override;

  private:
    void warn_of(const std::vector<std::string>& problems);
    /// This host's image, its signature checked where one is required.
    [[nodiscard]] oci::Manifest resolve(oci::Pull& pull, const oci::Reference& image,
                                        const std::stop_token& stop) const;

    http::Client& client_;
    Clock& clock_;
    RegistrySettings settings_;
    std::uint64_t most_rate_;
    Architecture architecture_;
    const Signatures& signatures_;
    std::set<std::string> warned_of_;
};

}  // namespace kua::release
