// SPDX-License-Identifier: Apache-2.0
#include "lib/crypto/signature.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/base64.hpp"
#include "lib/base/error.hpp"
#include "lib/crypto/digest.hpp"
#include "tests/lib/crypto/openssl.hpp"

namespace kua::crypto {
namespace {

using testing::HasSubstr;

constexpr auto kPss = " -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:";

class Signature : public ::testing::Test {
  protected:
    Signature() { openssl_.write("data", kData); }

    [[nodiscard]] PublicKey key(const std::string& name) const {
        const auto keys = PublicKey::read_all(openssl_.read(name + ".pub"), name);
        EXPECT_EQ(keys.size(), 1U);
        return keys.front();
    }

    [[nodiscard]] std::string refusal(const std::string& pem) const {
        try {
            PublicKey::read_all(pem, "release.pem");
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid);
            return error.what();
        }
        ADD_FAILURE() << "nothing was thrown";
        return {};
    }

    /// Every signature in `signatures` is the key's over kData, and nothing that is like it.
    void expect_own(const std::string& name, const std::vector<std::string>& signatures) const {
        const auto own = key(name);
        for (const auto& signature : signatures) {
            EXPECT_TRUE(own.verifies(kData, signature)) << name;
            EXPECT_FALSE(own.verifies(kData + " ", signature));
            EXPECT_FALSE(own.verifies("", signature));
            EXPECT_FALSE(own.verifies(kData, ""));
            EXPECT_FALSE(own.verifies(kData, signature + '\0'));
            EXPECT_FALSE(own.verifies(kData, signature.substr(1)));
            for (const std::size_t at :
                 {std::size_t{0}, signature.size() / 2, signature.size() - 1}) {
                auto flipped = signature;
                flipped[at] = static_cast<char>(flipped[at] ^ 1);
                EXPECT_FALSE(own.verifies(kData, flipped)) << name << " at " << at;
            }
        }
    }

    const std::string kData = "b9ab…  k3s\n" + std::string("\0\xff", 2);
    OpenSsl openssl_;
};

TEST_F(Signature, OfEd25519IsOverTheDataItself) {
    openssl_.make_key("key", "ed25519");
    expect_own("key", {openssl_.sign("key", "data", "")});
}

TEST_F(Signature, OfAnEllipticCurveIsOverEitherDigest) {
    for (const std::string curve : {"P-256", "P-384"}) {
        openssl_.make_key("key", "ec:" + curve);
        expect_own("key", {openssl_.sign("key", "data", "sha256"),
                           openssl_.sign("key", "data", "sha384")});
        EXPECT_FALSE(key("key").verifies(kData, openssl_.sign("key", "data", "sha512")));
    }
}

TEST_F(Signature, OfRsaHasEitherPaddingAndAnySalt) {
    openssl_.make_key("key", "rsa:2048");
    std::vector<std::string> signatures;
    for (const std::string digest : {"sha256", "sha384"}) {
        signatures.push_back(openssl_.sign("key", "data", digest));
        for (const std::string salt : {"digest", "max", "0", "7"}) {
            signatures.push_back(openssl_.sign("key", "data", digest, kPss + salt));
        }
    }
    expect_own("key", signatures);
    for (const std::string digest : {"sha1", "sha512"}) {
        EXPECT_FALSE(key("key").verifies(kData, openssl_.sign("key", "data", digest)));
        EXPECT_FALSE(key("key").verifies(
            kData, openssl_.sign("key", "data", digest, kPss + std::string("max"))));
    }
}

// Made with `openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest
// -sign` of "data" again and again, until one began with a zero.
constexpr auto kKeyOfZero =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0qvAgoGbgEunv9mYbAHA\n"
    "2GlP/OXa0A6qD85gMuiYb2cKwgT+AscYgdOxEjAo+3K6OxXtf1UzHG9zs9U/wInb\n"
    "3Szn4u7oOM92OyglK04/+9JkJjMLq3BCj4O12lW0uRWpbub/27sMPnwl5FtHKfdI\n"
    "0tAUkjm1SO7V7SzfCAikwJBWUHAnSV0CAOg6I06AaoSLJyve4nY0I/tKgNZ5+PUE\n"
    "Yca4J2fbUBNmhV+ySE6tZD0nKCnP3SXR7LDYXmWPZaq5+kp+qRxk8N4+3Sty5uLj\n"
    "llduNSXyYI+KeUiaoeXdCyoAR1EAV6GRSDbjIvgEB1sYTMciOpb8Soi8sLA9g7kQ\n"
    "QwIDAQAB\n"
    "-----END PUBLIC KEY-----\n";
constexpr auto kBeginsWithZero =
    "AMw7vVp4fqWfTUFi/aE7fFP+X4mUjcRCD2vmaWc16cwzs0rrko/J0h6S6Q9ni0ANPyDIeaZhgE8LePp6"
    "f9c+V6dCAzbHQRJgsM+symij6k7yJk35JAG29UrGKePprBOmMwSC2epARp9q/lvYBCYDJ6mD94jIpmIF"
    "dz8AbRaZglvb6kRsTZZAgHXFavqLc6kGTmJdfMNKdWBPu//LbZKKSr0PGMl6WoD4SdKzIOca5C7Sarpm"
    "915eL/B7m0S5wgbB73AOcEqfGOGvZFu4cGdk/I22TEuQKa4/y1HExDJEQGrsKY+AKXc+bU67D0Ui9JUa"
    "7GH57001fC+zaEV1jl6Kxw==";

TEST_F(Signature, OfRsaIsAsLongAsItsKey) {
    const auto own = PublicKey::read_all(kKeyOfZero, "key").front();
    const auto signature = base64_decode(kBeginsWithZero).value();
    ASSERT_EQ(signature.front(), '\0');
    EXPECT_TRUE(own.verifies("data", signature));
    EXPECT_FALSE(own.verifies("data", signature.substr(1)));
    EXPECT_FALSE(own.verifies("data", '\0' + signature));
}

TEST_F(Signature, OfAnRsaKeyForPssAloneIsPss) {
    openssl_.make_key("key", "rsa-pss:2048");
    expect_own("key", {openssl_.sign("key", "data", "sha256"),
                       openssl_.sign("key", "data", "sha384", kPss + std::string("digest"))});
}

TEST_F(Signature, FitsNoOtherKey) {
    for (const std::string how : {"ed25519", "ec:P-256", "ec:P-384", "rsa:2048"}) {
        openssl_.make_key("one", how);
        openssl_.make_key("other", how);
        const auto signature = openssl_.sign("one", "data", how == "ed25519" ? "" : "sha256");
        EXPECT_TRUE(key("one").verifies(kData, signature));
        EXPECT_FALSE(key("other").verifies(kData, signature)) << how;
    }
}

TEST_F(Signature, MayBeOfMuchData) {
    openssl_.make_key("key", "ed25519");
    const std::string much(3U << 20U, 'x');
    openssl_.write("much", much);
    EXPECT_TRUE(key("key").verifies(much, openssl_.sign("key", "much", "")));
}

TEST_F(Signature, IsRightAfterOneThatWasWrong) {
    openssl_.make_key("key", "ec:P-256");
    const auto signature = openssl_.sign("key", "data", "sha256");
    EXPECT_FALSE(key("key").verifies(kData, "text"));
    EXPECT_TRUE(key("key").verifies(kData, signature));
}

TEST_F(Signature, HasSeveralKeysInOneFile) {
    openssl_.make_key("one", "ed25519");
    openssl_.make_key("two", "ec:P-256");
    const auto keys = PublicKey::read_all(
        "# of 2026\n" + openssl_.read("one.pub") + "\n# of 2027\r\n" + openssl_.read("two.pub"),
        "x");
    ASSERT_EQ(keys.size(), 2U);
    EXPECT_TRUE(keys[0].verifies(kData, openssl_.sign("one", "data", "")));
    EXPECT_TRUE(keys[1].verifies(kData, openssl_.sign("two", "data", "sha256")));
    EXPECT_NE(keys[0].fingerprint(), keys[1].fingerprint());
}

TEST_F(Signature, KnowsItsKeyByWhatIsInIt) {
    openssl_.make_key("key", "ec:P-256");
    openssl_("pkey -in @key -pubout -outform DER -out @key.der");
    EXPECT_EQ(key("key").fingerprint(), hex_digest(Algorithm::sha256, openssl_.read("key.der")));
}

TEST_F(Signature, IsNotCheckedWithAPrivateKey) {
    openssl_.make_key("key", "ec:P-256");
    openssl_("ec -in @key -out @old");
    openssl_("pkcs8 -topk8 -in @key -passout pass:secret -out @encrypted");
    openssl_("genrsa -traditional -aes128 -passout pass:secret -out @rsa 2048");
    for (const std::string name : {"key", "old", "encrypted", "rsa"}) {
        const auto pem = openssl_.read(name);
        EXPECT_THAT(refusal(pem), HasSubstr("release.pem: holds a private key (")) << name;
        EXPECT_THAT(refusal(openssl_.read("key.pub") + pem), HasSubstr("belongs on no node"));
    }
    EXPECT_THAT(refusal("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n"
                        "-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"),
                HasSubstr("cosign public-key"));
}

TEST_F(Signature, IsNotCheckedWithWhatIsNoPublicKey) {
    openssl_.make_key("key", "rsa:2048");
    openssl_("req -x509 -key @key -subj /CN=x -out @certificate");
    EXPECT_THAT(refusal(openssl_.read("certificate")), HasSubstr("openssl x509"));
    openssl_("rsa -in @key -RSAPublicKey_out -out @pkcs1");
    EXPECT_THAT(refusal(openssl_.read("pkcs1")), HasSubstr("-RSAPublicKey_in"));
    EXPECT_THAT(refusal(""), HasSubstr("holds no public key"));
    EXPECT_THAT(refusal("ssh-ed25519 AAAAC3 me@here\n"), HasSubstr("holds no public key"));
    EXPECT_THAT(refusal(std::string("\0\x01", 2)), HasSubstr("holds no public key"));
    EXPECT_THAT(refusal("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
                HasSubstr("can't be read"));
    EXPECT_THAT(refusal("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n"),
                HasSubstr("is damaged"));
    const auto whole = openssl_.read("key.pub");
    EXPECT_THAT(refusal(whole.substr(0, whole.size() / 2)), HasSubstr("is damaged"));
    EXPECT_THAT(refusal("-----BEGIN X-----\nAAAA\n-----END X-----\n"), HasSubstr("kind \"X\""));
    EXPECT_THAT(refusal(whole + std::string(70'000, '\n')), HasSubstr("larger than 64 KiB"));
}

TEST_F(Signature, IsNotCheckedWithAKeyThatIsWeakOrUnknown) {
    for (const auto& [how, message] :
         std::vector<std::pair<std::string, std::string>>{{"rsa:1024", "an RSA key of 1024 bits"},
                                                          {"rsa:2047", "an RSA key of 2047 bits"},
                                                          {"ec:P-521", "on secp521r1"},
                                                          {"ec:secp256k1", "on secp256k1"},
                                                          {"ed448", "of the kind ED448"},
                                                          {"x25519", "of the kind X25519"}}) {
        openssl_.make_key("key", how);
        EXPECT_THAT(refusal(openssl_.read("key.pub")), HasSubstr(message)) << how;
        EXPECT_THAT(refusal(openssl_.read("key.pub")), HasSubstr("use Ed25519"));
    }
    openssl_("dsaparam -out @parameters 1024");
    openssl_("gendsa -out @key @parameters");
    openssl_("pkey -in @key -pubout -out @key.pub");
    EXPECT_THAT(refusal(openssl_.read("key.pub")), HasSubstr("of the kind dsaEncryption"));
}

TEST_F(Signature, IsNotCheckedWithACurveThatIsSpeltOut) {
    openssl_(
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt "
        "ec_param_enc:explicit -out @key");
    openssl_("pkey -in @key -pubout -out @key.pub");
    EXPECT_THAT(refusal(openssl_.read("key.pub")), HasSubstr("a curve without a name"));
}

}  // namespace
}  // namespace kua::crypto
