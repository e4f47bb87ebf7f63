// SPDX-License-Identifier: Apache-2.0
// SHA-2 digests, over text at once or piece by piece.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace kua::crypto {

enum class Algorithm { sha224, sha256 };

/// A running digest. Not copyable; one use.
class Hasher {
  public:
    explicit Hasher(Algorithm algorithm);
    ~Hasher();
    Hasher(Hasher&&) noexcept;
    Hasher& operator=(Hasher&&) noexcept;
    Hasher(const Hasher&) = delete;
    Hasher& operator=(const Hasher&) = delete;

    void update(std::string_view data);
    /// Lower-case hex; the hasher is used up.
    std::string finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Lower-case hex of the digest of `data`.
std::string hex_digest(Algorithm algorithm, std::string_view data);

}  // namespace kua::crypto
