// SPDX-License-Identifier: Apache-2.0
#include "lib/crypto/digest.hpp"

#include <gtest/gtest.h>

#include "lib/base/error.hpp"

namespace kua::crypto {
namespace {

// The vectors are FIPS 180-4's examples.

TEST(Digest, IsThatOfTheStandardsExamples) {
    EXPECT_EQ(hex_digest(Algorithm::sha256, ""),
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(hex_digest(Algorithm::sha256, "abc"),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(hex_digest(Algorithm::sha224, "abc"),
              "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7");
    EXPECT_EQ(hex_digest(Algorithm::sha256, std::string(1'000'000, 'a')),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Digest, IsTheSamePieceByPiece) {
    Hasher hasher(Algorithm::sha224);
    hasher.update("a");
    hasher.update("");
    hasher.update("bc");
    EXPECT_EQ(hasher.finish(), hex_digest(Algorithm::sha224, "abc"));
}

TEST(Digest, CountsZeroBytes) {
    EXPECT_NE(hex_digest(Algorithm::sha256, std::string_view("\0", 1)),
              hex_digest(Algorithm::sha256, ""));
}

TEST(Hasher, CanBeMoved) {
    Hasher first(Algorithm::sha256);
    first.update("ab");
    Hasher second(std::move(first));
    second.update("c");
    EXPECT_EQ(second.finish(), hex_digest(Algorithm::sha256, "abc"));
}

TEST(Hasher, IsUsedUpAfterItsDigest) {
    Hasher hasher(Algorithm::sha256);
    hasher.finish();
    EXPECT_THROW(hasher.update("a"), Error);
    EXPECT_THROW(hasher.finish(), Error);
}

}  // namespace
}  // namespace kua::crypto
