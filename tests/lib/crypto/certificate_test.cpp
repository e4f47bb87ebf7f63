// SPDX-License-Identifier: Apache-2.0
#include "lib/crypto/certificate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.hpp"

namespace kua::crypto {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// O = system:nodes, CN = system:node:server-1, as in k3s's client-kubelet.crt.
constexpr std::string_view kNode = R"(-----BEGIN CERTIFICATE-----
MIIBrTCCAVSgAwIBAgIBATAKBggqhkjOPQQDAjA2MRUwEwYDVQQKDAxzeXN0ZW06
bm9kZXMxHTAbBgNVBAMMFHN5c3RlbTpub2RlOnNlcnZlci0xMB4XDTI2MTEyMzEz
MzMwM1oXDTM2MTEyMDEzMzMwM1owNjEVMBMGA1UECgwMc3lzdGVtOm5vZGVzMR0w
GwYDVQQDDBRzeXN0ZW06bm9kZTpzZXJ2ZXItMTBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABKfmUxOKQMFrOWaMra7iJRFWjqgHPCY5PyAfYuo7km6TEcDViSneAbEg
he2KC43IJ2azbsxZiaRYro/xLnVGbDujUzBRMB0GA1UdDgQWBBT4jSpIFedypdkT
FuaYQqe1gdodQzAfBgNVHSMEGDAWgBT4jSpIFedypdkTFuaYQqe1gdodQzAPBgNV
HRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIAOdpQLztZD60mDBleDLEw9+
UaNh5yWMVb60mZ7N9oesAiAox4vCAua4XmW2O/NXd5WcSldtXUWdkUkl5MTmmC8p
5Q==
-----END CERTIFICATE-----
)";

/// CN = first, O = one, O = two, CN = last-é; until the year 9996.
constexpr std::string_view kOdd = R"(-----BEGIN CERTIFICATE-----
MIIBwDCCAWagAwIBAgIBATAKBggqhkjOPQQDAjA+MQ4wDAYDVQQDDAVmaXJzdDEM
MAoGA1UECgwDb25lMQwwCgYDVQQKDAN0d28xEDAOBgNVBAMMB2xhc3Qtw6kwIBcN
MjYxMTIzMTMzMzAzWhgPOTk5NjEyMTAxMzMzMDNaMD4xDjAMBgNVBAMMBWZpcnN0
MQwwCgYDVQQKDANvbmUxDDAKBgNVBAoMA3R3bzEQMA4GA1UEAwwHbGFzdC3DqTBZ
MBMGByqGSM49AgEGCCqGSM49AwEHA0IABKfmUxOKQMFrOWaMra7iJRFWjqgHPCY5
PyAfYuo7km6TEcDViSneAbEghe2KC43IJ2azbsxZiaRYro/xLnVGbDujUzBRMB0G
A1UdDgQWBBT4jSpIFedypdkTFuaYQqe1gdodQzAfBgNVHSMEGDAWgBT4jSpIFedy
pdkTFuaYQqe1gdodQzAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUC
IQC9EjaNau1OhrwZxxkVQe3gV6MjYKk/QvWZvOpoadOp1wIgHDI6clz1usD9IFVU
PufaQgJlRLRLKJ8Y/cRi4FZLi/M=
-----END CERTIFICATE-----
)";

/// O = nobody, without a CN.
constexpr std::string_view kNameless = R"(-----BEGIN CERTIFICATE-----
MIIBeDCCAR2gAwIBAgIUDH9+WM8ayKfdV1/8C4CToegPxb0wCgYIKoZIzj0EAwIw
ETEPMA0GA1UECgwGbm9ib2R5MB4XDTI2MTEyMzEzMzMwM1oXDTI2MTEyNDEzMzMw
M1owETEPMA0GA1UECgwGbm9ib2R5MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
p+ZTE4pAwWs5ZoytruIlEVaOqAc8Jjk/IB9i6juSbpMRwNWJKd4BsSCF7YoLjcgn
ZrNuzFmJpFiuj/EudUZsO6NTMFEwHQYDVR0OBBYEFPiNKkgV53Kl2RMW5phCp7WB
2h1DMB8GA1UdIwQYMBaAFPiNKkgV53Kl2RMW5phCp7WB2h1DMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAKzWTFaXzQIPtMDZz3i6VdZbQdaxueuN
SfX6TTa37DTIAiEAlzFdUkHYfgJY7IH6uLkUJiS8jlUkjvEiplCEZKGQptw=
-----END CERTIFICATE-----
)";

WallTime at(std::int64_t seconds) { return WallTime(std::chrono::seconds(seconds)); }

std::string invalid_message(std::string_view pem) {
    try {
        read_certificate(pem, "client.crt");
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
}

TEST(Certificate, SaysWhomItNamesAndUntilWhen) {
    const Certificate read = read_certificate(kNode, "client.crt");
    EXPECT_EQ(read.common_name, "system:node:server-1");
    EXPECT_THAT(read.organizations, ElementsAre("system:nodes"));
    EXPECT_EQ(read.not_before, at(1795440783));
    EXPECT_EQ(read.not_after, at(2110800783));
}

TEST(Certificate, IsTheFirstOfItsFile) {
    // k3s writes the client's certificate, then its CA's; other things may stand before.
    const std::string chain = "some text\n" + std::string(kNode) + std::string(kOdd);
    EXPECT_EQ(read_certificate(chain, "client.crt").common_name, "system:node:server-1");
}

TEST(Certificate, NamesWhomTheApiServerWouldRead) {
    const Certificate read = read_certificate(kOdd, "client.crt");
    EXPECT_EQ(read.common_name, "last-\u00e9");
    EXPECT_THAT(read.organizations, ElementsAre("one", "two"));
}

TEST(Certificate, MayLastLongerThanOurClock) {
    const Certificate read = read_certificate(kOdd, "client.crt");
    EXPECT_GT(read.not_after, at(9'000'000'000));
    EXPECT_GT(read.not_after, read.not_before);
}

TEST(Certificate, MayNameNobody) {
    const Certificate read = read_certificate(kNameless, "client.crt");
    EXPECT_EQ(read.common_name, "");
    EXPECT_THAT(read.organizations, ElementsAre("nobody"));
}

TEST(Certificate, IsRefusedWhenItIsNone) {
    for (const std::string& pem :
         {std::string(), std::string("text"), std::string(kNode.substr(0, 200)),
          std::string("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
          std::string("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
          std::string("\0\0", 2)}) {
        EXPECT_EQ(invalid_message(pem), "client.crt: holds no readable PEM certificate");
    }
}

TEST(Certificate, IsReadWellAfterOneThatWasNot) {
    invalid_message("text");
    EXPECT_THAT(read_certificate(kNode, "x").organizations, testing::Not(IsEmpty()));
}

}  // namespace
}  // namespace kua::crypto
