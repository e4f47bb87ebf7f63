// SPDX-License-Identifier: Apache-2.0
#include "lib/crypto/signature.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <array>
#include <optional>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/crypto/digest.hpp"

namespace kua::crypto {

namespace {

constexpr std::size_t kMostPem = 64U << 10U;
constexpr int kLeastRsaBits = 2048;
constexpr int kMostRsaBits = 16384;

template <auto Free>
struct Freed {
    template <typename Type>
    void operator()(Type* value) const {
        Free(value);
    }
};
/// OPENSSL_free is a macro.
void free_bytes(void* bytes) { OPENSSL_free(bytes); }

using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using Pkey = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Context = std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>>;
using Info = std::unique_ptr<X509_PUBKEY, Freed<X509_PUBKEY_free>>;
template <typename Type>
using Bytes = std::unique_ptr<Type, Freed<free_bytes>>;

[[noreturn]] void refuse(std::string_view name, std::string_view why) {
    ERR_clear_error();
    throw Error(ErrorKind::invalid, format("{}: {}", name, why));
}

const unsigned char* bytes_of(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

struct Block {
    std::string kind;  ///< `PUBLIC KEY`
    std::string der;
};

/// The next PEM block; absent at the end.
std::optional<Block> next_block(BIO* bio, std::string_view name) {
    char* kind = nullptr;
    char* header = nullptr;
    unsigned char* data = nullptr;
    long length = 0;
    if (PEM_read_bio(bio, &kind, &header, &data, &length) != 1) {
        if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
            ERR_clear_error();
            return std::nullopt;
        }
        refuse(name, "holds a PEM block that is damaged; write the file anew");
    }
    const Bytes<char> own_kind(kind);
    const Bytes<char> own_header(header);
    const Bytes<unsigned char> own_data(data);
    return Block{kind, std::string(data, data + length)};
}

void check_kind(const std::string& kind, std::string_view name) {
    if (kind == "PUBLIC KEY") {
        return;
    }
    if (kind.ends_with("PRIVATE KEY")) {
        refuse(name,
               format("holds a private key ({}), which belongs on no node: remove it, and put "
                      "its public key there (`openssl pkey -in KEY -pubout`, `cosign "
                      "public-key --key KEY`)",
                      excerpt(kind, 60)));
    }
    if (kind.ends_with("CERTIFICATE")) {
        refuse(name,
               "holds a certificate, whose dates and issuer would not be checked: put its "
               "public key there (`openssl x509 -in FILE -noout -pubkey`)");
    }
    if (kind == "RSA PUBLIC KEY") {
        refuse(name,
               "holds a public key in PKCS#1's form: convert it (`openssl rsa "
               "-RSAPublicKey_in -in FILE -pubout`)");
    }
    refuse(name, format("holds a PEM block of the kind \"{}\": only PUBLIC KEY is read",
                        excerpt(kind, 60)));
}

/// NID of the named curve, NID_undef for one that is spelt out: its numbers could be anything.
int curve_of(EVP_PKEY* key) {
    X509_PUBKEY* made = nullptr;
    const bool worked = X509_PUBKEY_set(&made, key) == 1;
    const Info info(made);
    X509_ALGOR* algorithm = nullptr;
    if (!worked || X509_PUBKEY_get0_param(nullptr, nullptr, nullptr, &algorithm, info.get()) != 1) {
        return NID_undef;
    }
    int type = V_ASN1_UNDEF;
    const void* value = nullptr;
    X509_ALGOR_get0(nullptr, &type, &value, algorithm);
    return type == V_ASN1_OBJECT ? OBJ_obj2nid(static_cast<const ASN1_OBJECT*>(value)) : NID_undef;
}

constexpr std::string_view kUsable =
    "use Ed25519, ECDSA on P-256 or P-384, or RSA of 2048 to 16384 bits";

void check_key(EVP_PKEY* key, std::string_view name) {
    switch (EVP_PKEY_base_id(key)) {
        case EVP_PKEY_ED25519:
            return;
        case EVP_PKEY_EC: {
            const int curve = curve_of(key);
            if (curve == NID_X9_62_prime256v1 || curve == NID_secp384r1) {
                return;
            }
            refuse(name, format("holds an elliptic-curve key on {}: {}",
                                curve == NID_undef ? "a curve without a name" : OBJ_nid2sn(curve),
                                kUsable));
        }
        case EVP_PKEY_RSA:
        case EVP_PKEY_RSA_PSS: {
            const int bits = EVP_PKEY_bits(key);
            if (bits >= kLeastRsaBits && bits <= kMostRsaBits) {
                return;
            }
            refuse(name, format("holds an RSA key of {} bits: {}", bits, kUsable));
        }
        default: {
            const char* const kind = OBJ_nid2ln(EVP_PKEY_base_id(key));
            refuse(name,
                   format("holds a key of the kind {}: {}", kind ? kind : "unknown", kUsable));
        }
    }
}

/// Padding 0: what the key has by itself.
bool fits(EVP_PKEY* key, const EVP_MD* digest, int padding, std::string_view data,
          std::string_view signature) {
    const Context context(EVP_MD_CTX_new());
    if (!context) {
        throw Error(ErrorKind::failed, "OpenSSL can't check a signature: no memory");
    }
    EVP_PKEY_CTX* options = nullptr;  // The context's own.
    if (EVP_DigestVerifyInit(context.get(), &options, digest, nullptr, key) != 1) {
        return false;
    }
    if (padding != 0 && EVP_PKEY_CTX_set_rsa_padding(options, padding) != 1) {
        return false;
    }
    if (padding == RSA_PKCS1_PSS_PADDING &&
        EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_AUTO) != 1) {
        return false;
    }
    return EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(data),
                            data.size()) == 1;
}

bool fits_somehow(EVP_PKEY* key, std::string_view data, std::string_view signature) {
    const int kind = EVP_PKEY_base_id(key);
    if (kind == EVP_PKEY_ED25519) {
        return fits(key, nullptr, 0, data, signature);
    }
    // RFC 8017, 8.1.2 and 8.2.2: a signature is as long as its key. OpenSSL takes a PSS one without
    // its leading zeros, too.
    if (kind != EVP_PKEY_EC && signature.size() != static_cast<std::size_t>(EVP_PKEY_size(key))) {
        return false;
    }
    for (const EVP_MD* digest : {EVP_sha256(), EVP_sha384()}) {
        if (kind == EVP_PKEY_EC) {
            if (fits(key, digest, 0, data, signature)) {
                return true;
            }
            continue;
        }
        for (const int padding : {RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING}) {
            if (fits(key, digest, padding, data, signature)) {
                return true;
            }
        }
    }
    return false;
}

}  // namespace

struct PublicKey::Key {
    Pkey pkey;
};

PublicKey::PublicKey(std::shared_ptr<const Key> key, std::string fingerprint)
    : key_(std::move(key)), fingerprint_(std::move(fingerprint)) {}

bool PublicKey::verifies(std::string_view data, std::string_view signature) const {
    const bool verified = fits_somehow(key_->pkey.get(), data, signature);
    // The attempts that did not fit leave their reasons, which the next caller is not to find.
    ERR_clear_error();
    return verified;
}

std::vector<PublicKey> PublicKey::read_all(std::string_view pem, std::string_view name) {
    if (pem.size() > kMostPem) {
        refuse(name, "larger than 64 KiB: no file of public keys is");
    }
    const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    if (!bio) {
        throw Error(ErrorKind::failed, "OpenSSL can't read a key: no memory");
    }
    std::vector<PublicKey> keys;
    while (const auto block = next_block(bio.get(), name)) {
        check_kind(block->kind, name);
        const unsigned char* at = bytes_of(block->der);
        Pkey key(d2i_PUBKEY(nullptr, &at, static_cast<long>(block->der.size())));
        if (!key || at != bytes_of(block->der) + block->der.size()) {
            refuse(name, format("holds a public key that can't be read: {}", kUsable));
        }
        check_key(key.get(), name);
        keys.push_back(PublicKey(std::make_shared<const Key>(Key{std::move(key)}),
                                 hex_digest(Algorithm::sha256, block->der)));
    }
    if (keys.empty()) {
        refuse(name,
               "holds no public key: PEM is expected, with BEGIN PUBLIC KEY (`openssl pkey "
               "-in KEY -pubout`)");
    }
    return keys;
}

}  // namespace kua::crypto
