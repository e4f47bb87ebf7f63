// SPDX-License-Identifier: Apache-2.0
// Detached signatures, checked with public keys from PEM files.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kua::crypto {

/// A key that signatures are checked with: Ed25519, ECDSA on P-256 or P-384, or RSA of 2048 to
/// 16384 bits.
class PublicKey {
  public:
    /// All keys of a PEM text (`BEGIN PUBLIC KEY`), at least one. `name` (a file's path) stands in
    /// messages. Throws Error{invalid} that says what to do: for any block that is something else
    /// (a private key; a certificate, whose dates and purpose would count for nothing), a key of
    /// another kind or size, more than 64 KiB, or none at all.
    static std::vector<PublicKey> read_all(std::string_view pem, std::string_view name);

    /// Whether `signature` (raw bytes) is this key's over `data`.
    ///
    /// | key          | signature                                                                |
    /// |--------------|--------------------------------------------------------------------------|
    /// | Ed25519      | RFC 8032's over the data itself (not Ed25519ph), 64 bytes                |
    /// | P-256, P-384 | DER, of the data's SHA-256 or SHA-384, whichever the curve               |
    /// | RSA          | PKCS#1 v1.5 or PSS (salt of any length, MGF1 with the same digest), of   |
    /// |              | the data's SHA-256 or SHA-384                                            |
    ///
    /// The digest does not have to fit the curve, because cosign takes SHA-256 with every key.
    /// A signature that is malformed is one that does not fit. Throws Error{failed} when OpenSSL
    /// can't work at all.
    [[nodiscard]] bool verifies(std::string_view data, std::string_view signature) const;

    /// SHA-256 (lower-case hex) of the key's SubjectPublicKeyInfo: tells one key from another.
    [[nodiscard]] const std::string& fingerprint() const { return fingerprint_; }

  private:
    struct Key;
    PublicKey(std::shared_ptr<const Key> key, std::string fingerprint);

    std::shared_ptr<const Key> key_;
    std::string fingerprint_;
};

}  // namespace kua::crypto
