// SPDX-License-Identifier: Apache-2.0
// Detached signatures over what a source says of a release: required when there are keys.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kua::release {

/// The keys of `verify.public_keys`. Read anew at each check: a key that is replaced counts at
/// once.
class Signatures {
  public:
    explicit Signatures(std::vector<std::filesystem::path> keys = {});

    [[nodiscard]] bool required() const { return !keys_.empty(); }

    /// Passes when `signature` (raw, or base64 with or without line breaks; at most 64 KiB) is that
    /// of one of the keys over `data`. Throws Error{invalid} otherwise, naming `what` was signed
    /// and what to do: no key fits, a key that can't be read (even when another would fit: a key
    /// that was forgotten is found out while there is one that works).
    void check(std::string_view data, std::string_view signature, const std::string& what) const;

    /// Tells one set of keys from another, by their content: what was verified with other keys is
    /// verified again. Empty without keys. Throws Error{invalid} for a key that can't be read.
    [[nodiscard]] std::string fingerprint() const;

  private:
    std::vector<std::filesystem::path> keys_;
};

}  // namespace kua::release
