// SPDX-License-Identifier: Apache-2.0
#include "lib/crypto/digest.hpp"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <array>

#include "lib/base/error.hpp"
#include "lib/base/pulse.hpp"

namespace kua::crypto {

struct Hasher::State {
    struct Free {
        void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
    };
    std::unique_ptr<EVP_MD_CTX, Free> running{EVP_MD_CTX_new()};
};

namespace {

void check(bool worked) {
    if (!worked) {
        // Only when OpenSSL has no memory or no provider: nothing that a person could read out of
        // its queue of errors.
        ERR_clear_error();
        throw Error(ErrorKind::failed, "OpenSSL can't compute a digest");
    }
}

}  // namespace

Hasher::Hasher(Algorithm algorithm) : state_(std::make_unique<State>()) {
    const EVP_MD* const type = algorithm == Algorithm::sha224 ? EVP_sha224() : EVP_sha256();
    check(state_->running && EVP_DigestInit_ex(state_->running.get(), type, nullptr) == 1);
}

Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::update(std::string_view data) {
    mark_progress();
    check(state_ && EVP_DigestUpdate(state_->running.get(), data.data(), data.size()) == 1);
}

std::string Hasher::finish() {
    static constexpr std::string_view kHex = "0123456789abcdef";
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    check(state_ && EVP_DigestFinal_ex(state_->running.get(), digest.data(), &length) == 1);
    state_.reset();
    std::string text;
    for (unsigned at = 0; at < length; ++at) {
        text += kHex[digest.at(at) >> 4U];
        text += kHex[digest.at(at) & 0x0FU];
    }
    return text;
}

std::string hex_digest(Algorithm algorithm, std::string_view data) {
    Hasher hasher(algorithm);
    hasher.update(data);
    return hasher.finish();
}

}  // namespace kua::crypto
