// SPDX-License-Identifier: Apache-2.0
#include "agent/release/bundle_source.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "lib/base/format.hpp"
#include "tests/agent/release/fake_sink.hpp"
#include "tests/agent/support.hpp"
#include "tests/lib/archive/tar_writer.hpp"

namespace kua::release {
namespace {

using test::error_of;
using test::FakeSink;
using test::tar_end;
using test::tar_file;
using test::tar_header;
using test::zstd_frame;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const Wanted kWanted{{1, 31, 4, 0, 1}, "rancher/k3s-upgrade"};

std::string sha256(const std::string& text) {
    return crypto::hex_digest(crypto::Algorithm::sha256, text);
}

std::string line(const std::string& name, const std::string& content) {
    return sha256(content) + "  " + name + "\n";
}

const std::string kBinary(300'000, 'b');
const std::string kImages(200'000, 'i');
const std::string kSums = line("k3s-airgap-images-amd64.tar", kImages) +
                          line("k3s-airgap-images-amd64.tar.gz", kImages + "gz") +
                          line("k3s-airgap-images-amd64.tar.zst", kImages + "zst") +
                          line("k3s", kBinary);

class BundleSourceTest : public ::testing::Test {
  protected:
    BundleSource source(const Signatures& signatures) {
        return {BundleSettings{folder_.path()}, architecture("x86_64"), signatures};
    }
    BundleSource source() { return source(none_); }
    Fetched fetch() { return source().fetch(kWanted, sink_, {}); }
    Error refusal() {
        return error_of([&] { fetch(); });
    }
    /// Refused for good, with the file's name and this in the message.
    void expect_refusal(const std::string& name, const std::string& said) {
        const auto error = refusal();
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << error.what();
        EXPECT_THAT(error.what(), AllOf(HasSubstr((folder_ / name).string()), HasSubstr(said)));
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
        EXPECT_LT(std::string(error.what()).size(), 600U);
    }

    void file(const std::string& name, const std::string& content) {
        std::filesystem::create_directories((folder_ / name).parent_path());
        test::write_text(folder_ / name, content);
    }
    void release(const std::string& prefix = "") {
        file(prefix + "k3s", kBinary);
        file(prefix + "sha256sum-amd64.txt", kSums);
    }

    test::TempFolder folder_;
    const Signatures none_;
    FakeSink sink_;
};

TEST_F(BundleSourceTest, TakesPlainFiles) {
    release();
    const auto fetched = fetch();
    EXPECT_EQ(fetched.sha256, sha256(kBinary));
    EXPECT_EQ(fetched.images, std::nullopt);
    EXPECT_EQ(sink_.content.at(Part::binary), kBinary);
    ASSERT_EQ(sink_.begun.size(), 1U);
    EXPECT_EQ(sink_.begun[0].name, "k3s");
    EXPECT_EQ(sink_.begun[0].size, kBinary.size());
    EXPECT_EQ(source().name(), "bundle " + folder_.path().string());
}

TEST_F(BundleSourceTest, KnowsTheChecksumOnlyWhereItIsTheVersions) {
    release();
    EXPECT_EQ(source().checksum(kWanted, {}), std::nullopt) << "it may be any version's";
    release("v1.31.4+k3s1/");
    EXPECT_EQ(source().checksum(kWanted, {}), sha256(kBinary));
    std::filesystem::remove_all(folder_ / "v1.31.4+k3s1");
    file("v1.31.4+k3s1.tar", "");
    EXPECT_EQ(source().checksum(kWanted, {}), std::nullopt);
}

TEST_F(BundleSourceTest, TakesTheImagesThatAreSmallestFirst) {
    release("v1.31.4+k3s1/");
    file("v1.31.4+k3s1/k3s-airgap-images-amd64.tar", kImages);
    EXPECT_EQ(fetch().images, sha256(kImages));
    EXPECT_EQ(sink_.content.at(Part::images), kImages);
    file("v1.31.4+k3s1/k3s-airgap-images-amd64.tar.gz", kImages + "gz");
    EXPECT_EQ(fetch().images, sha256(kImages + "gz"));
    file("v1.31.4+k3s1/k3s-airgap-images-amd64.tar.zst", kImages + "zst");
    EXPECT_EQ(fetch().images, sha256(kImages + "zst"));
    EXPECT_EQ(sink_.begun.back().name, "k3s-airgap-images-amd64.tar.zst");
}

TEST_F(BundleSourceTest, RefusesFilesThatAreNotWhatTheSumsSay) {
    release();
    auto flipped = kBinary;
    flipped[1000] = 'x';
    for (const auto& binary : {flipped, kBinary + "x", kBinary.substr(1), std::string()}) {
        file("k3s", binary);
        expect_refusal("k3s", "its SHA-256 is " + sha256(binary));
    }
    release();
    file("k3s-airgap-images-amd64.tar", "other images");
    expect_refusal("k3s-airgap-images-amd64.tar", "its SHA-256 is " + sha256("other images"));
}

TEST_F(BundleSourceTest, RefusesImagesThatTheSumsDontList) {
    release();
    file("sha256sum-amd64.txt", line("k3s", kBinary));
    file("k3s-airgap-images-amd64.tar", kImages);
    expect_refusal("sha256sum-amd64.txt", "no checksum for k3s-airgap-images-amd64.tar");
    file("v1.31.4+k3s1.tar", tar_file("k3s", kBinary) +
                                 tar_file("sha256sum-amd64.txt", line("k3s", kBinary)) +
                                 tar_file("k3s-airgap-images-amd64.tar", kImages) + tar_end());
    expect_refusal("v1.31.4+k3s1.tar", "no checksum for k3s-airgap-images-amd64.tar");
}

TEST_F(BundleSourceTest, RefusesSumsThatAreNotInOrder) {
    struct Case {
        std::string sums;
        std::string said;
    };
    for (const auto& [sums, said] : std::vector<Case>{
             {"", "no checksum for k3s"},
             {line("k3s-arm64", kBinary), "no checksum for k3s"},
             {line("k3s", kBinary) + line("k3s", "x"), "two different checksums for k3s"},
             {"nonsense\n", "line 1 is not"},
             {std::string(10'000'000, 'x'), "1.0 MB at most"},
         }) {
        release();
        file("sha256sum-amd64.txt", sums);
        expect_refusal("sha256sum-amd64.txt", said);
        file("v1.31.4+k3s1.tar",
             tar_file("sha256sum-amd64.txt", sums) + tar_file("k3s", kBinary) + tar_end());
        expect_refusal("v1.31.4+k3s1.tar", said);
        EXPECT_THAT(refusal().what(), HasSubstr("sha256sum-amd64.txt"));
        std::filesystem::remove(folder_ / "v1.31.4+k3s1.tar");
    }
    file("sha256sum-amd64.txt", sha256(kBinary) + " *k3s\n");
    EXPECT_EQ(fetch().sha256, sha256(kBinary)) << "binary mode";
}

TEST_F(BundleSourceTest, SaysWhatIsMissing) {
    release();
    std::filesystem::remove(folder_ / "sha256sum-amd64.txt");
    expect_refusal("sha256sum-amd64.txt", "does not exist");
    release();
    std::filesystem::remove(folder_ / "k3s");
    expect_refusal("k3s", "does not exist");
    file("v1.31.4+k3s1.tar", tar_file("k3s", kBinary) + tar_end());
    expect_refusal("v1.31.4+k3s1.tar", "sha256sum-amd64.txt is not in it");
    file("v1.31.4+k3s1.tar", tar_file("sha256sum-amd64.txt", kSums) + tar_end());
    expect_refusal("v1.31.4+k3s1.tar", "k3s is not in it");
}

TEST_F(BundleSourceTest, OpensNothingButFiles) {
    release();
    file("elsewhere/k3s", kBinary);
    std::filesystem::remove(folder_ / "k3s");
    std::filesystem::create_symlink(folder_ / "elsewhere/k3s", folder_ / "k3s");
    std::filesystem::rename(folder_ / "elsewhere", folder_ / "v1.30.0+k3s1");
    expect_refusal("k3s", "is a symbolic link");
    std::filesystem::remove(folder_ / "k3s");
    ASSERT_EQ(::mkfifo((folder_ / "k3s").c_str(), 0600), 0);
    expect_refusal("k3s", "is a pipe");
    ASSERT_EQ(::mkfifo((folder_ / "v1.31.4+k3s1.tar").c_str(), 0600), 0);
    expect_refusal("v1.31.4+k3s1.tar", "is a pipe");
}

TEST_F(BundleSourceTest, TakesArchivesWithTheirMembersInAnyOrder) {
    const auto sums = tar_file("k3s-v1.31.4/sha256sum-amd64.txt", kSums);
    const auto binary = tar_file("./k3s-v1.31.4/k3s", kBinary);
    const auto images = tar_file("k3s-v1.31.4/k3s-airgap-images-amd64.tar.gz", kImages + "gz") +
                        tar_file("k3s-v1.31.4/k3s-airgap-images-amd64.tar.zst", kImages + "zst") +
                        tar_file("k3s-v1.31.4/k3s-airgap-images-amd64.tar", kImages);
    const auto rest = tar_header({"./", 0, '5'}) + tar_header({"k3s-v1.31.4/", 0, '5'}) +
                      tar_file("k3s-v1.31.4/README", "read me") +
                      tar_file("k3s-v1.31.4/k3s-arm64", "another");
    for (const auto& bytes :
         {rest + sums + binary + images, images + binary + rest + sums, binary + images + sums}) {
        for (const bool compressed : {false, true}) {
            file("bundle.tar", compressed ? zstd_frame(bytes + tar_end()) : bytes + tar_end());
            sink_ = FakeSink();
            const auto fetched = fetch();
            EXPECT_EQ(fetched.sha256, sha256(kBinary));
            EXPECT_EQ(fetched.images, sha256(kImages + "zst"));
            EXPECT_EQ(sink_.content.at(Part::binary), kBinary);
            EXPECT_EQ(sink_.content.at(Part::images), kImages + "zst");
        }
    }
}

TEST_F(BundleSourceTest, RefusesArchivesThatAreNotInOrder) {
    const auto sums = tar_file("sha256sum-amd64.txt", kSums);
    const auto binary = tar_file("k3s", kBinary);
    struct Case {
        std::string bytes;
        std::string said;
    };
    for (const auto& [bytes, said] : std::vector<Case>{
             {sums + binary + binary, "k3s is in it twice"},
             {sums + binary + tar_file("./k3s", "x"), "k3s is in it twice"},
             {sums + tar_file("other/k3s", kBinary), "different folders"},
             {sums + tar_header({"k3s", 0, '2', "/bin/sh"}), "k3s is a link or device"},
             {sums + tar_header({"k3s", 0, '1', "other"}), "k3s is a link or device"},
             {sums + tar_header({"k3s", 0, '3'}), "k3s is a link or device"},
             {sums + tar_file("k3s", kBinary + "x"), "k3s: its SHA-256 is"},
             {sums + binary + tar_file("k3s-airgap-images-amd64.tar", "x"),
              "k3s-airgap-images-amd64.tar: its SHA-256 is"},
             {sums + tar_header({"k3s", 2ULL << 30U}), "2.1 GB are too much"},
             {sums + binary + tar_file("../../etc/passwd", "x"), "a name with \"..\""},
             {std::string(4096, 'x'), "no tar archive"},
         }) {
        sink_ = FakeSink();
        file("v1.31.4+k3s1.tar.zst", zstd_frame(bytes + tar_end()));
        expect_refusal("v1.31.4+k3s1.tar.zst", said);
    }
}

TEST_F(BundleSourceTest, WaitsForAnArchiveThatBreaksOff) {
    const auto bytes =
        zstd_frame(tar_file("sha256sum-amd64.txt", kSums) + tar_file("k3s", kBinary) + tar_end());
    for (const auto size :
         {std::size_t{0}, std::size_t{10}, bytes.size() / 2, bytes.size() - 2000}) {
        sink_ = FakeSink();
        file("v1.31.4+k3s1.tar.zst", bytes.substr(0, size));
        const auto error = refusal();
        EXPECT_EQ(error.kind(), ErrorKind::transient) << size;
        EXPECT_THAT(error.what(), AllOf(HasSubstr((folder_ / "v1.31.4+k3s1.tar.zst").string()),
                                        HasSubstr("is still being written")));
    }
}

/// Writes to a file of the bundle while the source reads it.
class Meddler final : public Sink {
  public:
    explicit Meddler(std::filesystem::path path) : path_(std::move(path)) {}
    [[nodiscard]] std::optional<Kept> kept(Part /*part*/) const override { return {}; }
    void begin(Part /*part*/, const Beginning& /*beginning*/) override {
        std::ofstream(path_, std::ios::binary | std::ios::app) << "more";
    }
    void write(std::string_view data) override { hasher_.update(data); }
    std::string finish() override { return hasher_.finish(); }

  private:
    std::filesystem::path path_;
    crypto::Hasher hasher_{crypto::Algorithm::sha256};
};

TEST_F(BundleSourceTest, WaitsForWhatIsWrittenMeanwhile) {
    release();
    Meddler plain(folder_ / "k3s");
    auto error = error_of([&] { source().fetch(kWanted, plain, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), HasSubstr((folder_ / "k3s").string() + " is still being written"));
    file("v1.31.4+k3s1.tar",
         tar_file("k3s", kBinary) + tar_file("sha256sum-amd64.txt", kSums) + tar_end());
    Meddler archive(folder_ / "v1.31.4+k3s1.tar");
    error = error_of([&] { source().fetch(kWanted, archive, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), HasSubstr("v1.31.4+k3s1.tar is still being written"));
}

TEST_F(BundleSourceTest, StopsWhenToldTo) {
    std::stop_source stop;
    stop.request_stop();
    release();
    EXPECT_EQ(error_of([&] { source().fetch(kWanted, sink_, stop.get_token()); }).kind(),
              ErrorKind::stopped);
    file("v1.31.4+k3s1.tar",
         tar_file("k3s", kBinary) + tar_file("sha256sum-amd64.txt", kSums) + tar_end());
    EXPECT_EQ(error_of([&] { source().fetch(kWanted, sink_, stop.get_token()); }).kind(),
              ErrorKind::stopped);
}

TEST_F(BundleSourceTest, NeedsASignatureWhenThereAreKeys) {
    const Signatures keys({folder_ / "release.pem"});
    release("v1.31.4+k3s1/");
    const auto refused = [&] {
        auto checked = source(keys);
        const auto error = error_of([&] { checked.fetch(kWanted, sink_, {}); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return std::string(error.what());
    };
    EXPECT_THAT(refused(), HasSubstr("v1.31.4+k3s1/sha256sum-amd64.txt.sig is missing"));
    EXPECT_EQ(error_of([&] { source(keys).checksum(kWanted, {}); }).kind(), ErrorKind::invalid);
    file("v1.31.4+k3s1/sha256sum-amd64.txt.sig", "no signature");
    EXPECT_THAT(refused(), Not(HasSubstr("is missing")));
    file("v1.31.4+k3s1/sha256sum-amd64.txt.sig", std::string(100'000, 's'));
    EXPECT_THAT(refused(), HasSubstr("sha256sum-amd64.txt.sig: "));
    std::filesystem::remove_all(folder_ / "v1.31.4+k3s1");
    file("v1.31.4+k3s1.tar",
         tar_file("k3s", kBinary) + tar_file("sha256sum-amd64.txt", kSums) + tar_end());
    EXPECT_THAT(refused(), HasSubstr("v1.31.4+k3s1.tar: sha256sum-amd64.txt.sig is missing"));
}

}  // namespace
}  // namespace kua::release
