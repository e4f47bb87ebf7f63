// SPDX-License-Identifier: Apache-2.0
// Pulls one image over the OCI distribution protocol: manifests and blobs that match their digests,
// from whichever endpoint has them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "lib/oci/blob.hpp"
#include "lib/oci/manifest.hpp"
#include "lib/oci/session.hpp"

namespace kua::oci {

/// For one thread. Endpoints are asked in their order, those that failed last time after the
/// others; whoever has lied about a blob is not asked for it again. Every method throws, when no
/// endpoint can help, an Error that names each with its reason: transient if one of them may help
/// later, else invalid; Error{stopped} on `stop`.
class Pull {
  public:
    struct Settings {
        std::string image;            ///< For messages.
        std::uint64_t most_rate = 0;  ///< Bytes per second of a blob; 0: no limit.
        Notice notice{};
    };
    Pull(http::Client& client, Clock& clock, std::vector<Endpoint> endpoints, Settings settings);
    ~Pull() = default;
    Pull(const Pull&) = delete;
    Pull& operator=(const Pull&) = delete;

    struct Found {
        std::string digest;  ///< Of the body; the one that was asked for, where it was one.
        std::string media_type;
        std::string body;
        std::string endpoint;  ///< Where it came from, for messages.
    };
    /// The manifest or index at a tag or digest, 4 MiB at most; absent when every endpoint says
    /// that there is none.
    std::optional<Found> manifest(const std::string& reference, const std::stop_token& stop);

    /// The blob, from its beginning. Must not outlive this. All of a pull's blobs together have six
    /// hours, and what `most_rate` takes.
    std::unique_ptr<Blob> blob(const Descriptor& descriptor);

    /// A whole small blob, whatever the number of endpoints it takes. Throws Error{invalid} when it
    /// is larger than `most`.
    std::string small_blob(const Descriptor& descriptor, std::uint64_t most,
                           const std::stop_token& stop);

  private:
    [[nodiscard]] Found take_manifest(const Session& session, http::Answer& answer,
                                      const std::string& reference,
                                      const std::stop_token& stop) const;

    Clock& clock_;
    Settings settings_;
    Monotonic deadline_;
    std::vector<Session> sessions_;
    std::map<std::string, Suspicion> suspicions_;  ///< By the blob's digest.
};

}  // namespace kua::oci
