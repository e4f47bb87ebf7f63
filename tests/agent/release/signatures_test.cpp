// SPDX-License-Identifier: Apache-2.0
#include "agent/release/signatures.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"
#include "tests/lib/crypto/openssl.hpp"

namespace kua::release {
namespace {

using test::error_of;
using ::testing::HasSubstr;
using ::testing::Not;

class SignaturesTest : public ::testing::Test {
  protected:
    SignaturesTest() {
        openssl_.write("sums", kSums);
        openssl_.make_key("ours", "ec:P-256");
        openssl_.make_key("other", "ed25519");
    }

    [[nodiscard]] Signatures keys(const std::vector<std::string>& names) const {
        std::vector<std::filesystem::path> paths;
        for (const auto& name : names) {
            paths.push_back(openssl_.path(name));
        }
        return Signatures(paths);
    }

    [[nodiscard]] Error refusal(const Signatures& signatures, const std::string& signature,
                                const std::string& data = kSums) const {
        return error_of([&] { signatures.check(data, signature, "sha256sum-amd64.txt"); });
    }

    inline static const std::string kSums = "0c1f…  k3s\n";
    crypto::OpenSsl openssl_;
};

TEST_F(SignaturesTest, AreRequiredWhenThereAreKeys) {
    EXPECT_FALSE(Signatures().required());
    EXPECT_TRUE(keys({"ours.pub"}).required());
    EXPECT_TRUE(keys({"missing"}).required());
}

TEST_F(SignaturesTest, AreRawOrBase64InAnyForm) {
    const auto ours = keys({"ours.pub"});
    const auto raw = openssl_.sign("ours", "sums", "sha256");
    ours.check(kSums, raw, "x");
    openssl_("base64 -in @signature -out @folded");
    openssl_("base64 -A -in @signature -out @flat");
    // cosign sign-blob writes one line without an end to its output, and with one to a terminal.
    for (const std::string& text :
         {openssl_.read("folded"), openssl_.read("flat"), openssl_.read("flat") + "\n",
          openssl_.read("flat") + "\r\n", " " + openssl_.read("folded") + "\n\n"}) {
        ours.check(kSums, text, "x");
    }
}

TEST_F(SignaturesTest, AreOfAnyOfTheKeys) {
    const auto both = keys({"ours.pub", "other.pub"});
    both.check(kSums, openssl_.sign("ours", "sums", "sha256"), "x");
    both.check(kSums, openssl_.sign("other", "sums", ""), "x");
    openssl_.write("bundle.pem", openssl_.read("other.pub") + openssl_.read("ours.pub"));
    keys({"bundle.pem"}).check(kSums, openssl_.sign("ours", "sums", "sha256"), "x");
}

TEST_F(SignaturesTest, OfAnotherKeyOrFileAreRefused) {
    const auto ours = keys({"ours.pub"});
    auto error = refusal(ours, openssl_.sign("other", "sums", ""));
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("sha256sum-amd64.txt: its signature is of none"));
    EXPECT_THAT(error.what(), HasSubstr(openssl_.path("ours.pub").string()));
    error = refusal(ours, openssl_.sign("ours", "sums", "sha256"), kSums + "\n");
    EXPECT_THAT(error.what(), HasSubstr("of none of the keys"));
    EXPECT_THAT(error.what(), Not(HasSubstr("0c1f")));
}

TEST_F(SignaturesTest, ThatAreNoneAreRefused) {
    const auto ours = keys({"ours.pub"});
    for (const std::string& text : {std::string("<html>404</html>"), std::string(64, '\0'),
                                    std::string("AAAA"), std::string(60'000, 'A')}) {
        EXPECT_THAT(refusal(ours, text).what(), HasSubstr("of none of the keys"));
    }
    EXPECT_THAT(refusal(ours, "").what(), HasSubstr("is empty"));
    EXPECT_THAT(refusal(ours, "\n").what(), HasSubstr("is empty"));
    EXPECT_THAT(refusal(ours, std::string(70'000, 'A')).what(), HasSubstr("larger than"));
}

TEST_F(SignaturesTest, AreNotBelievedWithoutAKey) {
    EXPECT_THAT(refusal(Signatures(), openssl_.sign("ours", "sums", "sha256")).what(),
                HasSubstr("no key in verify.public_keys"));
}

TEST_F(SignaturesTest, NeedEveryKeyToBeReadable) {
    const auto signature = openssl_.sign("ours", "sums", "sha256");
    openssl_.write("text", "no key\n");
    std::filesystem::create_directory(openssl_.path("folder"));
    for (const std::string bad : {"missing", "text", "ours", "folder"}) {
        const auto some = keys({"ours.pub", bad});
        const auto error = refusal(some, signature);
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << bad;
        EXPECT_THAT(error.what(), HasSubstr("verify.public_keys: "));
        EXPECT_THAT(error.what(), HasSubstr(openssl_.path(bad).string()));
        EXPECT_EQ(error_of([&] { (void)some.fingerprint(); }).kind(), ErrorKind::invalid);
    }
}

TEST_F(SignaturesTest, CountWithAReplacedKeyAtOnce) {
    const auto ours = keys({"ours.pub"});
    const auto signature = openssl_.sign("other", "sums", "");
    EXPECT_EQ(refusal(ours, signature).kind(), ErrorKind::invalid);
    const auto before = ours.fingerprint();
    openssl_.write("ours.pub", openssl_.read("other.pub"));
    ours.check(kSums, signature, "x");
    EXPECT_NE(ours.fingerprint(), before);
}

TEST_F(SignaturesTest, KnowOneSetOfKeysFromAnotherByTheirContent) {
    EXPECT_EQ(Signatures().fingerprint(), "");
    EXPECT_NE(keys({"ours.pub"}).fingerprint(), "");
    EXPECT_NE(keys({"ours.pub"}).fingerprint(), keys({"other.pub"}).fingerprint());
    EXPECT_NE(keys({"ours.pub"}).fingerprint(), keys({"ours.pub", "other.pub"}).fingerprint());
    EXPECT_EQ(keys({"other.pub", "ours.pub"}).fingerprint(),
              keys({"ours.pub", "other.pub", "ours.pub"}).fingerprint());
}

}  // namespace
}  // namespace kua::release
