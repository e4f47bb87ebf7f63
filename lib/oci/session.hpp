// SPDX-License-Identifier: Apache-2.0
// Requests to one endpoint of a registry: logged in where it asks for it, patient where it asks for
// that.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include "lib/base/clock.hpp"
#include "lib/http/client.hpp"
#include "lib/oci/registries.hpp"

namespace kua::oci {

/// For one pull, in one thread. Keeps its token as long as it lives.
class Session {
  public:
    /// `most_rate`: bytes per second of a blob; 0: no limit.
    Session(http::Client& client, Clock& clock, Endpoint endpoint, std::uint64_t most_rate);

    /// For messages: the endpoint's URL.
    [[nodiscard]] std::string name() const;

    /// Whether the last request failed: others are asked first then.
    [[nodiscard]] bool failing() const { return failing_; }

    struct Wanted {
        std::string path;          ///< `manifests/<tag>`, `blobs/<digest>`: below the repository.
        std::string accept{};      ///< Media types; empty: any.
        std::uint64_t offset = 0;  ///< Where to begin; the answer need not heed it.
        std::uint64_t most_body = 0;
        bool stalls = false;  ///< Ended by silence only, instead of after half a minute.
    };
    /// The answer, with status 200, 206 or 404. Follows redirects, logs in once, waits a little
    /// where the registry says so (429, 503). Throws Error{transient}, Error{invalid} with the
    /// reason alone, Error{stopped}.
    std::unique_ptr<http::Answer> open(const Wanted& wanted, const std::stop_token& stop);

  private:
    [[nodiscard]] http::Request request(const Wanted& wanted) const;
    void load_tls();
    std::unique_ptr<http::Answer> ask(const Wanted& wanted, const std::stop_token& stop);

    http::Client& client_;
    Clock& clock_;
    Endpoint endpoint_;
    std::uint64_t most_rate_;
    bool loaded_ = false;
    bool failing_ = false;
    http::Tls tls_;
    std::string authorization_;
};

}  // namespace kua::oci
