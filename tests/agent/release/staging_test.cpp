// SPDX-License-Identifier: Apache-2.0
// The staged "binaries" are shell scripts: they are really run, as nobody.
#include "agent/release/staging.hpp"

#include <gmock/gmock.h>

#include "agent/release/file_hash.hpp"
#include "agent/release/pin.hpp"
#include "tests/agent/release/fake_source.hpp"
#include "tests/agent/release/scripts.hpp"
#include "tests/agent/support.hpp"

namespace kua::release {
namespace {

using test::error_of;
using test::FakeSource;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const plan::Version kVersion{1, 31, 4, 0, 1};
const Wanted kWanted{kVersion, "rancher/k3s-upgrade"};

std::string script(const std::string& version) {
    return "#!/bin/sh\necho 'k3s version " + version + " (abcdef)'\necho 'go version go1.22'\n";
}

class StagingTest : public ::testing::Test {
  protected:
    StagingTest() {
        // nobody has to reach what lies in it; the state folder of the package is so too.
        std::filesystem::permissions(folder_.path(), std::filesystem::perms(0711));
    }

    FakeSource& add(const std::string& content) {
        auto source = std::make_unique<FakeSource>(content);
        auto& added = *source;
        sources_.push_back(std::move(source));
        return added;
    }

    Staging& staging() {
        if (!staging_) {
            staging_.emplace(folder_ / "staging", std::move(sources_), signatures_,
                             test::inspector_of_scripts());
        }
        return *staging_;
    }

    Staged stage() { return staging().stage(kWanted, {folder_.path(), folder_.path()}, {}, {}); }

    /// What lies in the staging folder, by path; folders only where they are empty.
    std::vector<std::string> files() {
        std::vector<std::string> names;
        const auto root = folder_ / "staging";
        for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
            if (!entry.is_directory() || std::filesystem::is_empty(entry.path())) {
                names.push_back(entry.path().lexically_relative(root).string());
            }
        }
        std::sort(names.begin(), names.end());
        return names;
    }

    test::TempFolder folder_;
    const Signatures signatures_;
    std::vector<std::unique_ptr<Source>> sources_;
    std::optional<Staging> staging_;
};

TEST_F(StagingTest, FetchesAndVerifies) {
    auto& source = add(script("v1.31.4+k3s1"));
    const auto staged = stage();
    EXPECT_EQ(test::read_text(staged.path), source.content);
    EXPECT_EQ(staged.sha256, crypto::hex_digest(crypto::Algorithm::sha256, source.content));
    EXPECT_EQ(std::filesystem::status(staged.path).permissions(), std::filesystem::perms(0755));
    EXPECT_EQ(std::filesystem::status(folder_ / "staging").permissions(),
              std::filesystem::perms(0711));
    EXPECT_THAT(files(), ElementsAre("v1.31.4+k3s1/k3s", "v1.31.4+k3s1/verified.json"));
}

TEST_F(StagingTest, FetchesOnlyOnceEvenWhenTheSourceIsAwayLater) {
    auto& source = add(script("v1.31.4+k3s1"));
    const auto first = stage();
    source.on_checksum = [] { throw Error(ErrorKind::transient, "away"); };
    EXPECT_EQ(stage().path, first.path);
    EXPECT_EQ(source.fetches, 1);
}

TEST_F(StagingTest, FetchesAgainWhatTheSourceHasReplacedMeanwhile) {
    auto& source = add(script("v1.31.4+k3s1"));
    stage();
    source.content += "# mended\n";
    EXPECT_EQ(test::read_text(stage().path), source.content);
    EXPECT_EQ(source.fetches, 2);
}

TEST_F(StagingTest, FetchesAgainWhenThePlansImageIsAnother) {
    auto& source = add(script("v1.31.4+k3s1"));
    source.tells = false;
    source.by_image = true;
    stage();
    stage();
    EXPECT_EQ(source.fetches, 1);
    source.content += "# from elsewhere\n";
    const Wanted other{kVersion, "registry.example.org/rancher/k3s-upgrade"};
    const auto staged = staging().stage(other, {folder_.path(), folder_.path()}, {}, {});
    EXPECT_EQ(test::read_text(staged.path), source.content);
}

TEST_F(StagingTest, LeavesAPinnedImageToARegistry) {
    auto& http = add(script("v1.31.4+k3s1"));
    http.called = "http https://mirror";
    auto& registry = add(script("v1.31.4+k3s1") + "# pinned\n");
    registry.called = "registry";
    registry.by_image = true;
    registry.tells = false;
    const Destinations to{folder_.path(), folder_.path()};
    for (const std::string& pin : {"sha256:" + std::string(64, '0'), std::string("latest")}) {
        // Another image has given it, or none that was asked for.
        EXPECT_EQ(test::read_text(stage().path), http.content);
        const Wanted wanted{kVersion,
                            "rancher/k3s-upgrade" + (pin == "latest" ? ":" + pin : "@" + pin)};
        const auto staged = staging().stage(wanted, to, {}, {});
        EXPECT_EQ(test::read_text(staged.path), registry.content) << pin;
        // What http says of the version decides nothing.
        test::write_text(folder_ / "installed", http.content);
        EXPECT_FALSE(staging().is_release(wanted, folder_ / "installed", to, {}));
        test::write_text(folder_ / "installed", registry.content);
        EXPECT_TRUE(staging().is_release(wanted, folder_ / "installed", to, {}));
        registry.on_checksum = [] { throw Error(ErrorKind::transient, "registry is away"); };
        staging().clean();
        const auto error = error_of([&] { staging().stage(wanted, to, {}, {}); });
        EXPECT_EQ(error.kind(), ErrorKind::transient);
        EXPECT_THAT(error.what(), HasSubstr("fetching v1.31.4+k3s1: registry is away; http "
                                            "https://mirror: skipped: the Plan's image is pinned "
                                            "to " +
                                            pin + ", which only a registry can serve"));
        EXPECT_THAT(files(), IsEmpty());
        registry.on_checksum = nullptr;
    }
}

TEST_F(StagingTest, RefusesAPinnedImageWhereThereIsNoRegistry) {
    auto& http = add(script("v1.31.4+k3s1"));
    const Wanted pinned{kVersion, "rancher/k3s-upgrade:v1.31.3-k3s1"};
    const auto error = error_of([&] {
        staging().stage(pinned, {folder_.path(), folder_.path()}, {}, {});
    });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("the Plan's image is pinned to v1.31.3-k3s1"),
                                    HasSubstr("add `registry: {}` to `source`"),
                                    HasSubstr("spec.upgrade.image")));
    EXPECT_EQ(http.fetches, 0);
    EXPECT_EQ(
        error_of([&] {
            staging().is_release(pinned, folder_ / "k3s", {folder_.path(), folder_.path()}, {});
        }).kind(),
        ErrorKind::invalid);
    EXPECT_EQ(http.checksums, 0);
}

TEST(Pin, IsADigestOrATagThatIsNotTheVersions) {
    const std::string digest = "sha256:" + std::string(64, 'a');
    const struct {
        std::string image;
        std::optional<std::string> pin;
    } cases[] = {
        {"rancher/k3s-upgrade", std::nullopt},
        {"rancher/k3s-upgrade:v1.31.4-k3s1", std::nullopt},
        {"r.lan:5000/rancher/k3s-upgrade", std::nullopt},
        {"rancher/k3s-upgrade:v1.31.3-k3s1", "v1.31.3-k3s1"},
        {"rancher/k3s-upgrade:latest", "latest"},
        {"rancher/k3s-upgrade@" + digest, digest},
        {"rancher/k3s-upgrade:v1.31.4-k3s1@" + digest, digest},
    };
    for (const auto& [image, pin] : cases) {
        EXPECT_EQ(pin_of({kVersion, image}), pin) << image;
    }
    const auto error = error_of([] { pin_of({kVersion, "rancher/k3s-upgrade@sha256:abc"}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("spec.upgrade.image"));
}

TEST_F(StagingTest, IsNotPutOffByANameThatIsNoText) {
    auto& source = add(script("v1.31.4+k3s1"));
    source.called = "bundle /srv/\xff";
    source.validator = "\"\xff\"";
    EXPECT_EQ(test::read_text(stage().path), source.content);
}

TEST_F(StagingTest, BelievesNothingThatASourceWhichIsConfiguredNoMoreHasGiven) {
    add(script("v1.31.4+k3s1"));
    stage();
    staging_.reset();
    auto& other = add(script("v1.31.4+k3s1"));
    other.called = "other";
    stage();
    EXPECT_EQ(other.fetches, 1);
}

TEST_F(StagingTest, GoesOnWhereATransferBroke) {
    auto& source = add(script("v1.31.4+k3s1"));
    source.validator = "\"1\"";
    source.on_half = [] { throw Error(ErrorKind::transient, "connection reset"); };
    EXPECT_EQ(error_of([&] { stage(); }).kind(), ErrorKind::transient);
    EXPECT_THAT(files(),
                ElementsAre("v1.31.4+k3s1/unverified/k3s", "v1.31.4+k3s1/unverified/k3s.json"));
    source.on_half = nullptr;
    EXPECT_EQ(test::read_text(stage().path), source.content);
    EXPECT_EQ(source.offset, source.content.size() / 2);
    EXPECT_THAT(files(), ElementsAre("v1.31.4+k3s1/k3s", "v1.31.4+k3s1/verified.json"));
}

TEST_F(StagingTest, BeginsAnewWhenTheSourceHasOtherBytes) {
    auto& source = add(script("v1.31.4+k3s1"));
    source.validator = "\"1\"";
    source.on_half = [] { throw Error(ErrorKind::transient, "connection reset"); };
    error_of([&] { stage(); });
    source.on_half = nullptr;
    source.validator = "\"2\"";
    EXPECT_EQ(test::read_text(stage().path), source.content);
    EXPECT_EQ(source.offset, 0U);
}

TEST_F(StagingTest, GoesOnWithNothingThatAnotherSourceHasLeft) {
    auto& first = add(script("v1.31.4+k3s1"));
    first.validator = "\"1\"";
    first.on_half = [] { throw Error(ErrorKind::transient, "connection reset"); };
    auto& second = add(script("v1.31.4+k3s1"));
    second.called = "second";
    second.validator = "\"1\"";
    EXPECT_EQ(test::read_text(stage().path), second.content);
    EXPECT_EQ(second.offset, 0U);
}

TEST_F(StagingTest, StagesImagesBesideTheBinary) {
    auto& source = add(script("v1.31.4+k3s1"));
    source.images = "layers";
    for (int time = 0; time < 2; ++time) {
        const auto staged = stage();
        ASSERT_TRUE(staged.images);
        EXPECT_EQ(staged.images->name, "k3s-airgap-images-amd64.tar.zst");
        EXPECT_EQ(test::read_text(staged.images->path), "layers");
        EXPECT_EQ(staged.images->sha256,
                  crypto::hex_digest(crypto::Algorithm::sha256, source.images));
        EXPECT_EQ(std::filesystem::status(staged.images->path).permissions(),
                  std::filesystem::perms(0600));
    }
    EXPECT_EQ(source.fetches, 1);
    test::write_text(stage().images->path, "damaged");
    EXPECT_EQ(test::read_text(stage().images->path), "layers");
}

TEST_F(StagingTest, ComparesABinaryWithTheRelease) {
    auto& source = add(script("v1.31.4+k3s1"));
    const auto same = [&](const std::string& content) {
        test::write_text(folder_ / "k3s", content);
        return staging().is_release(kWanted, folder_ / "k3s", {}, {});
    };
    EXPECT_TRUE(same(source.content));
    EXPECT_FALSE(same("another"));
    EXPECT_EQ(source.fetches, 0);
    source.tells = false;
    EXPECT_TRUE(same(source.content));
    EXPECT_FALSE(same("another"));
    EXPECT_EQ(source.fetches, 1);
}

TEST_F(StagingTest, FetchesAgainWhatWasDamagedMeanwhile) {
    auto& source = add(script("v1.31.4+k3s1"));
    const auto staged = stage();
    test::write_text(staged.path, "damaged");
    stage();
    EXPECT_EQ(source.fetches, 2);
    EXPECT_EQ(test::read_text(staged.path), source.content);
}

TEST_F(StagingTest, LeavesNothingBehindWhenTheChecksumDiffers) {
    auto& source = add(script("v1.31.4+k3s1"));
    source.said = std::string(64, 'a');
    const auto error = error_of([&] { stage(); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("fetching v1.31.4+k3s1"), HasSubstr("SHA-256"),
                                    HasSubstr(source.said), HasSubstr("nothing was installed")));
    EXPECT_THAT(files(), IsEmpty());
}

TEST_F(StagingTest, NeverRunsWhatWasNotVerified) {
    auto& source = add("#!/bin/sh\ntouch " + (folder_ / "ran").string() + "\n");
    std::filesystem::permissions(folder_.path(), std::filesystem::perms(0777));
    source.said = std::string(64, 'a');
    error_of([&] { stage(); });
    EXPECT_FALSE(std::filesystem::exists(folder_ / "ran"));
}

TEST_F(StagingTest, RefusesABinaryThatSaysItIsAnother) {
    add(script("v1.31.3+k3s1"));
    const auto error = error_of([&] { stage(); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("the binary for v1.31.4+k3s1 says it is v1.31.3+k3s1"));
    EXPECT_THAT(files(), IsEmpty());
}

TEST_F(StagingTest, RefusesABinaryThatDoesNotRun) {
    struct Case {
        std::string content;
        std::string said;
    };
    for (const auto& [content, said] : std::vector<Case>{
             {"#!/bin/sh\necho broken >&2\nexit 3\n", "ends with status 3: broken"},
             {"#!/bin/sh\nkill -9 $$\n", "was ended by signal 9"},
             {"#!/bin/sh\necho hello\n", "says \"hello"},
             {"#!/bin/sh\n", "which is no k3s version"},
         }) {
        add(content);
        const auto error = error_of([&] { stage(); });
        EXPECT_THAT(error.what(), HasSubstr(said)) << content;
        EXPECT_THAT(files(), IsEmpty()) << content;
        staging_.reset();
    }
}

TEST_F(StagingTest, LeavesNothingBehindWhenTheTransferBreaks) {
    auto& source = add(script("v1.31.4+k3s1"));
    source.on_half = [] { throw Error(ErrorKind::transient, "connection reset"); };
    const auto error = error_of([&] { stage(); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(files(), IsEmpty());
    source.on_half = nullptr;
    EXPECT_NO_THROW(stage());
}

TEST_F(StagingTest, TriesTheSourcesInOrder) {
    auto& first = add("x");
    auto& second = add(script("v1.31.4+k3s1"));
    first.on_checksum = [] { throw Error(ErrorKind::invalid, "not here"); };
    stage();
    EXPECT_EQ(first.fetches, 1);
    EXPECT_EQ(second.fetches, 1);
}

TEST_F(StagingTest, NamesEverySourcesReasonAndIsTransientWhenOneOfThemIs) {
    add("x").on_checksum = [] { throw Error(ErrorKind::transient, "first is away"); };
    add("x").on_checksum = [] { throw Error(ErrorKind::invalid, "second has none"); };
    const auto error = error_of([&] { stage(); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    // What is wrong stands first: long messages are cut at their end.
    EXPECT_THAT(error.what(), HasSubstr("second has none; first is away"));
}

TEST_F(StagingTest, DoesNotGoOnToTheNextSourceWhenItIsStopped) {
    add("x").on_checksum = [] { throw Error(ErrorKind::stopped, "stopped"); };
    auto& second = add(script("v1.31.4+k3s1"));
    EXPECT_EQ(error_of([&] { stage(); }).kind(), ErrorKind::stopped);
    EXPECT_EQ(second.fetches, 0);
}

TEST_F(StagingTest, StopsWhereThereIsNoRoomForIt) {
    auto& source = add(script("v1.31.4+k3s1"));
    source.total = 1ULL << 50U;
    const auto error = error_of([&] { stage(); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(), HasSubstr("make room"));
    EXPECT_THAT(files(), IsEmpty());
}

TEST_F(StagingTest, CleansAllButOne) {
    add(script("v1.31.4+k3s1"));
    stage();
    std::filesystem::create_directory(folder_ / "staging" / "v1.30.4+k3s1");
    test::write_text(folder_ / "staging" / "v1.30.4+k3s1" / "k3s", "old");
    test::write_text(folder_ / "staging" / "v1.30.4+k3s1.partial", "of an older agent");
    staging().clean(kVersion);
    EXPECT_THAT(files(), ElementsAre("v1.31.4+k3s1/k3s", "v1.31.4+k3s1/verified.json"));
    staging().clean();
    EXPECT_THAT(files(), IsEmpty());
    std::filesystem::remove_all(folder_ / "staging");
    EXPECT_NO_THROW(staging().clean());
}

TEST_F(StagingTest, HashesAFileOfAnySize) {
    for (const std::size_t size : {0U, 1U, 65535U, 65536U, 65537U, 200000U}) {
        const std::string content(size, 'x');
        test::write_text(folder_ / "file", content);
        EXPECT_EQ(hash_file(folder_ / "file"),
                  crypto::hex_digest(crypto::Algorithm::sha256, content));
    }
    EXPECT_EQ(error_of([&] { hash_file(folder_ / "none"); }).kind(), ErrorKind::failed);
    EXPECT_EQ(error_of([&] { hash_file(folder_.path()); }).kind(), ErrorKind::failed);
}

}  // namespace
}  // namespace kua::release
