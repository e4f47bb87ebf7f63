// SPDX-License-Identifier: Apache-2.0
#include "agent/release/http_source.hpp"

#include <gmock/gmock.h>

#include "lib/crypto/digest.hpp"
#include "tests/agent/release/fake_sink.hpp"
#include "tests/agent/support.hpp"
#include "tests/fakes/fake_clock.hpp"
#include "tests/lib/kube/fake_http_client.hpp"

namespace kua::release {
namespace {

using test::error_of;
using test::FakeHttpClient;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const Wanted kWanted{{1, 31, 4, 0, 1}, "rancher/k3s-upgrade"};
const std::string kSum(64, 'a');

class HttpSourceTest : public ::testing::Test {
  protected:
    HttpSource source(HttpSettings settings = {}) {
        return {web_, clock_, std::move(settings), architecture("x86_64"), signatures_};
    }

    test::FakeClock clock_;
    FakeHttpClient web_;
    const Signatures signatures_;
};

TEST_F(HttpSourceTest, AsksForTheChecksumsWithTheTagsPlusEncoded) {
    web_.then_text(200, kSum + "  k3s\n");
    EXPECT_EQ(source().checksum(kWanted, {}), kSum);
    const auto request = web_.requests().at(0);
    EXPECT_EQ(request.url,
              "https://github.com/k3s-io/k3s/releases/download/v1.31.4%2Bk3s1/sha256sum-amd64.txt");
    EXPECT_GT(request.most_redirects, 0) << "GitHub redirects";
    EXPECT_LE(request.most_body, 1U << 20U);
}

TEST_F(HttpSourceTest, TakesABaseUrlWithOrWithoutASlashAndAnAuthority) {
    const test::TempFolder folder;
    test::write_text(folder / "ca.pem", "PEM");
    web_.then_text(200, kSum + "  k3s\n");
    source({"https://mirror.example.org/k3s//", (folder / "ca.pem").string(), ""})
        .checksum(kWanted, {});
    EXPECT_EQ(web_.requests().at(0).url,
              "https://mirror.example.org/k3s/v1.31.4%2Bk3s1/sha256sum-amd64.txt");
    EXPECT_EQ(web_.requests().at(0).tls.ca_pem, "PEM");
}

TEST_F(HttpSourceTest, SaysSoWhenTheAuthorityIsMissing) {
    const auto error = error_of([&] {
        source({"https://x", "/no/such/ca.pem", ""}).checksum(kWanted, {});
    });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("/no/such/ca.pem does not exist"));
}

TEST_F(HttpSourceTest, SaysWhatTheServerAnswers) {
    struct Case {
        int status;
        ErrorKind kind;
        std::string said;
    };
    for (const auto& [status, kind, said] : std::vector<Case>{
             {404, ErrorKind::invalid, "answers 404: there is no release v1.31.4+k3s1 here"},
             {403, ErrorKind::invalid, "answers 403"},
             {302, ErrorKind::invalid, "answers 302"},
             {204, ErrorKind::invalid, "answers 204"},
             {429, ErrorKind::transient, "answers 429"},
             {500, ErrorKind::transient, "answers 500"},
             {503, ErrorKind::transient, "answers 503"},
         }) {
        web_.then_text(status, "some page");
        auto error = error_of([&] { source().checksum(kWanted, {}); });
        EXPECT_EQ(error.kind(), kind) << status;
        EXPECT_THAT(error.what(), HasSubstr(said));
        web_.then_text(200, kSum + "  k3s\n");
        // What may pass is tried again.
        for (int i = kind == ErrorKind::transient ? 5 : 1; i > 0; --i) {
            web_.then_text(status, "some page");
        }
        error = error_of([&] {
            test::FakeSink sink;
            source().fetch(kWanted, sink, {});
        });
        EXPECT_EQ(error.kind(), kind) << status;
        EXPECT_THAT(error.what(), HasSubstr(said));
    }
}

TEST_F(HttpSourceTest, NeverShowsACredential) {
    const std::string base = "https://user:secret@mirror.example.org/k3s";
    EXPECT_THAT(source({base, "", ""}).name(),
                AllOf(HasSubstr("mirror.example.org"), Not(HasSubstr("secret"))));
    // GitHub sends to a signed address.
    web_.then([](const http::Request&, const FakeHttpClient::Give&, const std::stop_token&) {
        return http::Response{
            403, {}, "", "https://objects.example.org/k3s?X-Amz-Signature=secret"};
    });
    EXPECT_THAT(error_of([&] {
                    source({base, "", ""}).checksum(kWanted, {});
                }).what(),
                AllOf(HasSubstr("https://objects.example.org"), HasSubstr("403"),
                      Not(HasSubstr("secret"))));
    web_.then_text(200, "nonsense");
    EXPECT_THAT(error_of([&] {
                    source({base, "", ""}).checksum(kWanted, {});
                }).what(),
                AllOf(HasSubstr("line 1"), Not(HasSubstr("secret"))));
}

TEST_F(HttpSourceTest, WritesTheBinaryThatHasTheChecksum) {
    struct Case {
        std::string length;
        std::optional<std::uint64_t> expected;
    };
    const auto sum = crypto::hex_digest(crypto::Algorithm::sha256, "abcdefg");
    for (const auto& [length, expected] :
         std::vector<Case>{{"7", 7U},
                           {"", std::nullopt},
                           {"7 bytes", std::nullopt},
                           {"-1", std::nullopt},
                           {"99999999999999999999999", std::nullopt}}) {
        web_.then_text(200, sum + "  k3s\n");
        web_.then_text(200, "abcdefg", {{"content-length", length}});
        test::FakeSink sink;
        EXPECT_EQ(source().fetch(kWanted, sink, {}).sha256, sum);
        EXPECT_EQ(sink.content.at(Part::binary), "abcdefg");
        EXPECT_EQ(sink.begun.at(0).size, expected) << length;
        const auto request = web_.requests().back();
        EXPECT_THAT(request.url, ::testing::EndsWith("/v1.31.4%2Bk3s1/k3s"));
        EXPECT_GE(request.timeout, std::chrono::hours(1)) << "silence ends it";
        EXPECT_GT(request.idle_timeout, Duration::zero());
    }
}

TEST_F(HttpSourceTest, RefusesABinaryThatHasAnotherChecksum) {
    web_.then_text(200, kSum + "  k3s\n");
    web_.then_text(200, "abcdefg");
    test::FakeSink sink;
    const auto error = error_of([&] { source().fetch(kWanted, sink, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("SHA-256"), HasSubstr(kSum), HasSubstr("nothing was installed")));
}

TEST_F(HttpSourceTest, ShowsBothChecksumsOfAnotherBinary) {
    web_.then_text(200, kSum + "  k3s\n");
    web_.then_text(200, "abcdefg");
    test::FakeSink sink;
    const auto error = error_of([&] { source().fetch(kWanted, sink, {}); });
    EXPECT_THAT(error.what(), HasSubstr(crypto::hex_digest(crypto::Algorithm::sha256, "abcdefg")));
}

TEST_F(HttpSourceTest, AsksForASignatureWhereKeysAreConfigured) {
    const Signatures required({"/no/such/key.pem"});
    HttpSource signed_source(web_, clock_, {}, architecture("x86_64"), required);
    web_.then_text(200, kSum + "  k3s\n");
    web_.then_text(404, "no");
    const auto error = error_of([&] { signed_source.checksum(kWanted, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("sha256sum-amd64.txt.sig answers 404"),
                                    HasSubstr("verify.public_keys")));
    EXPECT_LE(web_.requests().back().most_body, 64U << 10U);

    web_.then_text(200, kSum + "  k3s\n");
    web_.then_text(200, "signature");
    EXPECT_EQ(error_of([&] { signed_source.checksum(kWanted, {}); }).kind(), ErrorKind::invalid);
}

TEST_F(HttpSourceTest, WaitsForABusyServerThatSaysHowLong) {
    web_.then_text(429, "", {{"Retry-After", "7"}});
    web_.then_text(200, kSum + "  k3s\n");
    const auto begun = clock_.monotonic();
    EXPECT_EQ(source().checksum(kWanted, {}), kSum);
    EXPECT_EQ(clock_.monotonic() - begun, std::chrono::seconds(7));

    web_.then([](const http::Request&, const FakeHttpClient::Give&, const std::stop_token&) {
        return http::Response{503, {{"Retry-After", "3600"}}, "", "https://m.example/x?secret"};
    });
    const auto error = error_of([&] { source().checksum(kWanted, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("https://m.example/x answers 503"),
                                    HasSubstr("come again in 1h"), Not(HasSubstr("secret"))));
}

TEST_F(HttpSourceTest, TakesNoEncodedFile) {
    web_.then_text(200, kSum + "  k3s\n", {{"Content-Encoding", "gzip"}});
    auto error = error_of([&] { source().checksum(kWanted, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("(gzip)"));
    EXPECT_FALSE(web_.requests().at(0).headers.contains("Accept-Encoding"));

    web_.then_text(200, kSum + "  k3s\n", {{"Content-Encoding", "identity"}});
    EXPECT_EQ(source().checksum(kWanted, {}), kSum);
}

TEST_F(HttpSourceTest, SendsTheCredentialsOfAFileThatIsKeptSecret) {
    const test::TempFolder folder;
    const auto path = folder / "credentials";
    struct Case {
        std::string content;
        std::string header;  // empty: refused
    };
    for (const auto& [content, header] : std::vector<Case>{
             {"bearer s3cret", "Bearer s3cret"},
             {"Bearer s3cret\n", "Bearer s3cret"},
             {"basic me:s3cret pass\r\n", "Basic bWU6czNjcmV0IHBhc3M="},
             {"", ""},
             {"s3cret", ""},
             {"bearer", ""},
             {"bearer s3cret twice", ""},
             {"bearer s3cret\nbasic a:b", ""},
             {"basic s3cret", ""},
             {"digest a:s3cret", ""},
         }) {
        std::filesystem::remove(path);
        test::write_text(path, content);
        std::filesystem::permissions(path, std::filesystem::perms(0600));
        const HttpSettings settings{"https://mirror.example.org", "", path.string()};
        if (header.empty()) {
            const auto error = error_of([&] { source(settings).checksum(kWanted, {}); });
            EXPECT_EQ(error.kind(), ErrorKind::invalid) << content;
            EXPECT_THAT(error.what(),
                        AllOf(HasSubstr(path.string()), HasSubstr("source.http.credentials_file"),
                              HasSubstr("bearer TOKEN"), Not(HasSubstr("s3cret"))));
        } else {
            web_.then_text(200, kSum + "  k3s\n");
            EXPECT_EQ(source(settings).checksum(kWanted, {}), kSum);
            EXPECT_EQ(web_.requests().back().headers.at("authorization"), header);
        }
    }
}

TEST_F(HttpSourceTest, RefusesCredentialsThatOthersCanRead) {
    const test::TempFolder folder;
    const auto path = folder / "credentials";
    test::write_text(path, "bearer s3cret\n");
    std::filesystem::permissions(path, std::filesystem::perms(0640));
    const auto error = error_of([&] {
        source({"https://mirror.example.org", "", path.string()}).checksum(kWanted, {});
    });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("chmod 0600 " + path.string()), HasSubstr("0640"),
                                    Not(HasSubstr("s3cret"))));
}

TEST_F(HttpSourceTest, SendsNoCredentialsWithoutTls) {
    const test::TempFolder folder;
    const auto path = folder / "credentials";
    test::write_text(path, "bearer s3cret\n");
    std::filesystem::permissions(path, std::filesystem::perms(0600));
    const auto error = error_of([&] {
        source({"http://mirror.example.org", "", path.string()}).checksum(kWanted, {});
    });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("use https"));
    EXPECT_TRUE(web_.requests().empty());
}

TEST_F(HttpSourceTest, AsksForAnotherMachinesFilesByTheirNames) {
    struct Case {
        const char* machine;
        const char* sums;
        const char* binary;
    };
    const auto sum = crypto::hex_digest(crypto::Algorithm::sha256, "abc");
    for (const auto& [machine, sums, binary] :
         std::vector<Case>{{"aarch64", "/sha256sum-arm64.txt", "/k3s-arm64"},
                           {"armv7l", "/sha256sum-arm.txt", "/k3s-armhf"}}) {
        FakeHttpClient web;
        HttpSource other(web, clock_, {}, architecture(machine), signatures_);
        web.then_text(200, std::string(64, 'b') + "  k3s\n" + sum + "  " + (binary + 1) + "\n");
        web.then_text(200, "abc");
        test::FakeSink sink;
        EXPECT_EQ(other.fetch(kWanted, sink, {}).sha256, sum);
        EXPECT_THAT(web.requests().at(0).url, ::testing::EndsWith(sums));
        EXPECT_THAT(web.requests().at(1).url, ::testing::EndsWith(binary));
    }
}

TEST_F(HttpSourceTest, FetchesAnewWhatPiecesDoNotMake) {
    const auto sum = crypto::hex_digest(crypto::Algorithm::sha256, "abcdef");
    test::FakeSink sink;
    sink.content[Part::binary] = std::string(3, '\0');  // lost in a power cut
    sink.left[Part::binary] = {3, "\"v\""};
    web_.then_text(200, sum + "  k3s\n");
    web_.then_text(206, "def", {{"Content-Range", "bytes 3-5/6"}, {"ETag", "\"v\""}});
    web_.then_text(200, "abcdef", {{"ETag", "\"v\""}});
    EXPECT_EQ(source().fetch(kWanted, sink, {}).sha256, sum);
    EXPECT_EQ(sink.content.at(Part::binary), "abcdef");
    EXPECT_FALSE(web_.requests().back().headers.contains("Range"));
}

}  // namespace
}  // namespace kua::release
