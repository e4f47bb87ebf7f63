// SPDX-License-Identifier: Apache-2.0
// One blob on its way from a registry: checked against its digest and size, gone on with where it
// broke off.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/base/error.hpp"
#include "lib/crypto/digest.hpp"
#include "lib/oci/manifest.hpp"
#include "lib/oci/session.hpp"

namespace kua::oci {

/// Told when something went wrong that the pull survives.
using Notice = std::function<void(const std::string& message)>;

/// What a pull has learnt about who can give a blob; outlives each attempt.
struct Suspicion {
    std::vector<std::string> reasons;  ///< By endpoint: why it is not asked again; empty: it is.
    bool transient = false;            ///< One of the reasons may pass.
    /// Two endpoints together gave wrong bytes, so that nobody knows who lied: from now on each has
    /// to give the whole blob alone.
    bool alone = false;
};

/// For one thread.
class Blob {
  public:
    /// At `deadline` it is given up, however little is missing: a server may send a byte now and
    /// then for ever.
    Blob(std::vector<Session>& sessions, Clock& clock, Descriptor descriptor, Suspicion& suspicion,
         const Notice& notice, std::string image, Monotonic deadline);

    /// The next piece, good until the next call; empty at the end, and only when size and digest
    /// are right. A break is gone on with, at the same endpoint or the next. Throws Error{invalid}
    /// when the bytes were wrong, and what Pull says when nobody can go on; Error{stopped}.
    std::string_view read(const std::stop_token& stop);

    /// Whether what `read` threw is one endpoint's fault, and another may do better: begin anew
    /// with another Blob of the same pull.
    [[nodiscard]] bool may_go_elsewhere() const { return elsewhere_; }

  private:
    /// Opens the rest of the blob; false when that failed and was noted.
    bool connect(const std::stop_token& stop);
    /// The first endpoint that is not suspected. Throws when there is none.
    [[nodiscard]] std::size_t candidate() const;
    void give_up(const std::string& reason, bool transient);
    void take_failure(const Error& error, const std::stop_token& stop);
    [[noreturn]] void lied(const std::string& how);
    void check_deadline() const;
    void check_digest();

    std::vector<Session>& sessions_;
    Clock& clock_;
    Descriptor descriptor_;
    Suspicion& suspicion_;
    const Notice& notice_;
    std::string image_;
    Monotonic deadline_;
    std::size_t current_ = 0;
    std::set<std::size_t> givers_;
    std::unique_ptr<http::Answer> answer_;
    crypto::Hasher hasher_{crypto::Algorithm::sha256};
    Backoff backoff_;
    std::uint64_t taken_ = 0;
    std::uint64_t skip_ = 0;  ///< Of what comes next: the server sent from the beginning.
    int failures_ = 0;        ///< In a row, at one endpoint, without a byte.
    int breaks_ = 0;          ///< In all.
    bool elsewhere_ = false;
    bool done_ = false;
};

}  // namespace kua::oci
