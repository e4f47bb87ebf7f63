// SPDX-License-Identifier: Apache-2.0
#include "agent/release/signatures.hpp"

#include <algorithm>

#include "lib/base/base64.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/crypto/digest.hpp"
#include "lib/crypto/signature.hpp"
#include "lib/fs/files.hpp"

namespace kua::release {

namespace {

constexpr std::size_t kMostSignature = 64U << 10U;
constexpr std::size_t kMostKeyFile = 64U << 10U;

std::vector<crypto::PublicKey> keys_in(const std::filesystem::path& path) {
    const auto where = "verify.public_keys: " + path.string();
    try {
        const auto pem = fs::read_file(path, kMostKeyFile);
        if (!pem) {
            throw Error(ErrorKind::invalid,
                        where + ": does not exist; put the public key there, or remove the entry");
        }
        return crypto::PublicKey::read_all(*pem, where);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::failed) {
            throw;
        }
        throw Error(ErrorKind::invalid, format("verify.public_keys: {}", error.what()));
    }
}

std::vector<crypto::PublicKey> keys_in(const std::vector<std::filesystem::path>& paths) {
    std::vector<crypto::PublicKey> keys;
    for (const auto& path : paths) {
        auto some = keys_in(path);
        std::move(some.begin(), some.end(), std::back_inserter(keys));
    }
    return keys;
}

}  // namespace

Signatures::Signatures(std::vector<std::filesystem::path> keys) : keys_(std::move(keys)) {}

void Signatures::check(std::string_view data, std::string_view signature,
                       const std::string& what) const {
    if (keys_.empty()) {
        throw Error(ErrorKind::invalid,
                    what + ": there is a signature, and no key in verify.public_keys to check it");
    }
    if (signature.size() > kMostSignature) {
        throw Error(ErrorKind::invalid, format("{}: its signature is larger than {}, so it is none",
                                               what, human_bytes(kMostSignature)));
    }
    const auto keys = keys_in(keys_);
    if (trim(signature).empty()) {
        throw Error(ErrorKind::invalid, what + ": its signature is empty; sign it again");
    }
    // Which of the two it is can't be told for sure from its bytes; the key tells.
    const auto decoded = base64_decode(signature);
    for (const auto& key : keys) {
        if (key.verifies(data, signature) || (decoded && key.verifies(data, *decoded))) {
            return;
        }
    }
    std::vector<std::string> names;
    for (const auto& path : keys_) {
        names.push_back(path.string());
    }
    throw Error(
        ErrorKind::invalid,
        format("{}: its signature is of none of the keys in verify.public_keys ({}): it was "
               "altered or signed with another key; nothing was installed",
               what, join(names, ", ")));
}

std::string Signatures::fingerprint() const {
    if (keys_.empty()) {
        return {};
    }
    std::vector<std::string> each;
    for (const auto& key : keys_in(keys_)) {
        each.push_back(key.fingerprint());
    }
    // The same keys in another order, or in other files, are the same keys.
    std::sort(each.begin(), each.end());
    each.erase(std::unique(each.begin(), each.end()), each.end());
    return crypto::hex_digest(crypto::Algorithm::sha256, join(each, "\n"));
}

}  // namespace kua::release
