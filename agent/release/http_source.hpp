// SPDX-License-Identifier: Apache-2.0
// Releases over HTTP in the form of k3s's GitHub releases: `<base>/<tag>/k3s` and
// `<base>/<tag>/sha256sum-<arch>.txt`.
#pragma once

#include <cstdint>
#include <string>

#include "agent/release/settings.hpp"
#include "agent/release/signatures.hpp"
#include "agent/release/source.hpp"
#include "lib/base/clock.hpp"
#include "lib/http/client.hpp"

namespace kua::release {

class HttpSource final : public Source {
  public:
    /// `client`, `clock` and `signatures` must live as long. `most_rate`: bytes per second; 0: no
    /// limit.
    HttpSource(http::Client& client, Clock& clock, HttpSettings settings, Architecture architecture,
               const Signatures& signatures, std::uint64_t most_rate = 0);

    [[nodiscard]] std::string name() const override;
    std::optional<std::string> checksum(const Wanted& wanted, std::stop_token stop) override;
    Fetched fetch(const Wanted& wanted, Sink& sink, std::stop_token stop) override;

  private:
    /// The tag's plus is sent as %2B: some mirrors take a raw one for a space. Reads the files that
    /// the settings name anew.
    [[nodiscard]] http::Request request(const plan::Version& version, const std::string& file,
                                        std::uint64_t most) const;
    /// A small file, whole.
    std::string text(const http::Request& request, const std::string& missing,
                     const std::stop_token& stop);

    http::Client& client_;
    Clock& clock_;
    HttpSettings settings_;
    Architecture architecture_;
    const Signatures& signatures_;
    std::uint64_t most_rate_;
};

}  // namespace kua::release
