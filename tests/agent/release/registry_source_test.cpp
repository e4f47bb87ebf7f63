// SPDX-License-Identifier: Apache-2.0
#include "agent/release/registry_source.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/release/cosign.hpp"
#include "lib/fs/files.hpp"
#include "lib/log/log.hpp"
#include "tests/agent/release/fake_sink.hpp"
#include "tests/fakes/fake_clock.hpp"
#include "tests/lib/archive/tar_writer.hpp"
#include "tests/lib/fs/temp_folder.hpp"
#include "tests/lib/oci/fake_registries.hpp"

namespace kua::release {
namespace {

using test::tar_file;
using test::tar_header;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const auto kVersion = *plan::parse_version("v1.31.4+k3s1");
const std::string kEnd(1024, '\0');
const std::string kOciLayer = "application/vnd.oci.image.layer.v1.tar";

std::string folder(const std::string& name) { return tar_header({name, 0, '5'}); }
std::string other(const std::string& name, char type) {
    return tar_header({name, 0, type, "target"});
}

class RegistrySourceTest : public ::testing::Test {
  protected:
    void SetUp() override { web_.hosts["https://r.lan"] = repository_.host(); }
    void TearDown() override { log::set_sink({}); }

    Json manifest(const std::vector<std::string>& layers, const std::string& type = kOciLayer) {
        Json list = Json::array();
        for (const auto& layer : layers) {
            list.push_back({{"mediaType", type},
                            {"digest", repository_.add_blob(layer + kEnd)},
                            {"size", layer.size() + kEnd.size()}});
        }
        return {{"schemaVersion", 2},
                {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                {"layers", list}};
    }

    static Json index_of(const std::string& digest, const std::string& arch) {
        return {{"schemaVersion", 2},
                {"mediaType", "application/vnd.oci.image.index.v1+json"},
                {"manifests",
                 {{{"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                   {"digest", digest},
                   {"size", 1},
                   {"platform", {{"os", "linux"}, {"architecture", arch}}}}}}};
    }

    Fetched fetch(const std::string& image = "r.lan/a/b",
                  const Signatures& signatures = Signatures()) {
        RegistrySource source(web_, clock_, {folder_ / "registries.yaml", default_endpoint_}, 0,
                              architecture("x86_64"), signatures);
        sink_ = {};
        return source.fetch({kVersion, image}, sink_, {});
    }

    /// Why an image with these layers is refused.
    Error refused(const std::vector<std::string>& layers) {
        repository_.add_manifest("v1.31.4-k3s1", manifest(layers));
        return test::thrown_by([&] { fetch(); });
    }

    const fs::TempFolder folder_;
    test::FakeRegistries web_;
    test::FakeClock clock_;
    test::Repository repository_;
    test::FakeSink sink_;
    bool default_endpoint_ = true;
    std::vector<std::string> warnings_;
};

TEST_F(RegistrySourceTest, AsksForTheVersionsTagUnlessTheImageSaysAnother) {
    const std::string digest = "sha256:" + std::string(64, 'a');
    EXPECT_EQ(image_of({kVersion, "rancher/k3s-upgrade"}).text(),
              "docker.io/rancher/k3s-upgrade:v1.31.4-k3s1");
    EXPECT_EQ(image_of({kVersion, "r.lan:5000/k3s-upgrade:latest"}).text(),
              "r.lan:5000/k3s-upgrade:latest");
    EXPECT_EQ(image_of({kVersion, "r.lan/x@" + digest}).text(), "r.lan/x@" + digest);
    EXPECT_THAT(test::thrown_by([] {
                    image_of({kVersion, "R/"});
                }).what(),
                HasSubstr("spec.upgrade.image"));
}

TEST_F(RegistrySourceTest, TakesTheBinaryOutOfTheTopmostLayerThatHasIt) {
    const std::string binary(5000, 'k');
    const auto digest = repository_.add_manifest(
        "v1.31.4-k3s1",
        manifest({folder("./") + tar_file("opt/k3s", "old") + tar_file("bin/sh", "sh"),
                  folder("opt/") + tar_file("./opt/k3s", binary) + tar_file("scripts/x", "y"),
                  tar_file("opt/k3s2", "other") + tar_file("bin/opt/k3s", "other")}));
    EXPECT_EQ(fetch().sha256, crypto::hex_digest(crypto::Algorithm::sha256, binary));
    EXPECT_EQ(sink_.content[Part::binary], binary);
    EXPECT_EQ(sink_.begun.at(0).name, "k3s");
    EXPECT_EQ(sink_.begun.at(0).size, 5000U);
    EXPECT_EQ(fetch("r.lan/a/b@" + digest).sha256,
              crypto::hex_digest(crypto::Algorithm::sha256, binary));
}

TEST_F(RegistrySourceTest, PicksTheImageOfItsArchitectureOutOfAnIndex) {
    const auto image = repository_.add_manifest("x", manifest({tar_file("opt/k3s", "amd64")}));
    const auto index = repository_.add_manifest("v1.31.4-k3s1", index_of(image, "amd64"));
    fetch();
    EXPECT_EQ(sink_.content[Part::binary], "amd64");
    repository_.add_manifest("v1.31.4-k3s1", index_of(image, "arm64"));
    EXPECT_THAT(test::thrown_by([&] { fetch(); }).what(),
                AllOf(HasSubstr("r.lan/a/b:v1.31.4-k3s1"), HasSubstr("linux/amd64"),
                      HasSubstr("linux/arm64")));
    repository_.add_manifest("v1.31.4-k3s1", index_of(index, "amd64"));
    EXPECT_THAT(test::thrown_by([&] { fetch(); }).what(), HasSubstr("index in an index"));
}

TEST_F(RegistrySourceTest, RespectsWhiteouts) {
    const std::string below = tar_file("opt/k3s", "below");
    for (const std::string hidden :
         {"opt/.wh.k3s", "opt/.wh..wh..opq", ".wh.opt", ".wh..wh..opq"}) {
        const auto error = refused({below, tar_file(hidden, "")});
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << hidden;
        EXPECT_THAT(error.what(), HasSubstr("holds no opt/k3s")) << hidden;
        EXPECT_TRUE(sink_.begun.empty()) << hidden;
    }
    // What is in the same layer stays, whatever the order.
    for (const auto& layer : {tar_file("opt/k3s", "new") + tar_file("opt/.wh..wh..opq", ""),
                              tar_file(".wh..wh..opq", "") + tar_file("opt/k3s", "new")}) {
        repository_.add_manifest("v1.31.4-k3s1", manifest({below, layer}));
        fetch();
        EXPECT_EQ(sink_.content[Part::binary], "new");
    }
    for (const std::string harmless : {"opt/.wh.k3", ".wh.opt2", "bin/.wh..wh..opq", "opt/.wh."}) {
        repository_.add_manifest("v1.31.4-k3s1", manifest({below, tar_file(harmless, "")}));
        fetch();
        EXPECT_EQ(sink_.content[Part::binary], "below") << harmless;
    }
}

TEST_F(RegistrySourceTest, TakesNothingForTheBinaryThatIsNone) {
    const std::string below = tar_file("opt/k3s", "below");
    for (const char type : {'1', '2', '3', '4', '5', '6'}) {
        EXPECT_THAT(refused({below, other("opt/k3s", type)}).what(),
                    HasSubstr("opt/k3s is no regular file"))
            << type;
    }
    EXPECT_THAT(refused({below, tar_file("opt/k3s", "")}).what(), HasSubstr("can't be k3s"));
    EXPECT_THAT(refused({tar_header({"opt/k3s", (1ULL << 30U) + 1})}).what(),
                HasSubstr("can't be k3s"));
    EXPECT_THAT(refused({below + below}).what(), HasSubstr("twice"));
    EXPECT_THAT(refused({below, other("opt", '2')}).what(), HasSubstr("opt is no folder"));
    EXPECT_THAT(refused({tar_file("bin/k3s", "x")}).what(), HasSubstr("holds no opt/k3s"));
    EXPECT_THAT(refused({}).what(), HasSubstr("holds no opt/k3s"));
    EXPECT_EQ(refused({"this is no tar"}).kind(), ErrorKind::invalid);
    EXPECT_EQ(refused({tar_file("../opt/k3s", "x")}).kind(), ErrorKind::invalid);
}

TEST_F(RegistrySourceTest, RefusesLayersThatAreNoFileSystem) {
    for (const std::string type :
         {"application/vnd.in-toto+json", "", "application/vnd.oci.image.layer.v1.tar+encrypted",
          "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}) {
        repository_.add_manifest("v1.31.4-k3s1", manifest({tar_file("opt/k3s", "x")}, type));
        EXPECT_EQ(test::thrown_by([&] { fetch(); }).kind(), ErrorKind::invalid) << type;
    }
    repository_.add_manifest("v1.31.4-k3s1",
                             manifest(std::vector<std::string>(128, tar_file("a", "b"))));
    EXPECT_THAT(test::thrown_by([&] { fetch(); }).what(), HasSubstr("128 layers"));
    EXPECT_TRUE(sink_.begun.empty());
}

TEST_F(RegistrySourceTest, ReadsTheFileAnewAndBeginsAnewWhenAMirrorLies) {
    const std::string binary(5000, 'k');
    repository_.add_manifest("v1.31.4-k3s1", manifest({tar_file("opt/k3s", binary)}));
    fetch();
    // The mirror flips a bit of the file, and cuts another's head off: both are found out, though
    // the second breaks the archive first.
    const auto lie = [this](std::size_t at) {
        return [this, at](const http::Request& request) {
            auto reply = repository_.answer(request);
            if (request.url.find("/blobs/") != std::string::npos) reply.body[at] ^= 1;
            return reply;
        };
    };
    web_.hosts["https://flips"] = lie(3000);
    web_.hosts["https://breaks"] = lie(5);
    fs::write_file(folder_ / "registries.yaml",
                   "mirrors: {r.lan: {endpoint: [https://down, https://flips, https://breaks]}}");
    EXPECT_EQ(fetch().sha256, crypto::hex_digest(crypto::Algorithm::sha256, binary));
    EXPECT_EQ(sink_.content[Part::binary], binary);
    web_.hosts["https://r.lan"] = lie(700);
    const auto error = test::thrown_by([&] { fetch(); });
    EXPECT_THAT(error.what(), AllOf(HasSubstr("https://flips/v2: gives bytes whose digest"),
                                    HasSubstr("https://breaks/v2: gives bytes whose digest"),
                                    HasSubstr("https://r.lan/v2: gives bytes whose digest")));
    fs::write_file(folder_ / "registries.yaml", "mirrors: x");
    EXPECT_THAT(test::thrown_by([&] { fetch(); }).what(), HasSubstr("registries.yaml: mirrors"));
}

TEST_F(RegistrySourceTest, AsksTheRegistryItselfOnlyWhereItMay) {
    repository_.add_manifest("v1.31.4-k3s1", manifest({tar_file("opt/k3s", "k3s")}));
    default_endpoint_ = false;
    EXPECT_NO_THROW(fetch()) << "it has no mirror";
    fs::write_file(folder_ / "registries.yaml", "mirrors: {r.lan: {endpoint: [down]}}");
    const auto error = test::thrown_by([&] { fetch(); });
    EXPECT_THAT(error.what(), AllOf(HasSubstr("https://down/v2"), Not(HasSubstr("https://r.lan"))));
    default_endpoint_ = true;
    EXPECT_NO_THROW(fetch());
}

TEST_F(RegistrySourceTest, WarnsOnceOfAMistakeThatIsNotInItsWay) {
    repository_.add_manifest("v1.31.4-k3s1", manifest({tar_file("opt/k3s", "k3s")}));
    fs::write_file(folder_ / "registries.yaml", "mirrors: {'https://foreign.lan': {}}");
    log::set_sink([this](log::Level level, std::string_view message, const log::Fields&) {
        if (level == log::Level::warning) warnings_.emplace_back(message);
    });
    const Signatures signatures;
    RegistrySource source(web_, clock_, {folder_ / "registries.yaml"}, 0, architecture("x86_64"),
                          signatures);
    source.fetch({kVersion, "r.lan/a/b"}, sink_, {});
    source.fetch({kVersion, "r.lan/a/b"}, sink_, {});
    EXPECT_THAT(warnings_, ElementsAre(HasSubstr("mirrors.https://foreign.lan")));
    EXPECT_THAT(test::thrown_by([&] {
                    source.fetch({kVersion, "foreign.lan/b"}, sink_, {});
                }).what(),
                HasSubstr("mirrors.https://foreign.lan"));
    fs::write_file(folder_ / "registries.yaml", "configs: {a.lan: {auth: x}}");
    source.fetch({kVersion, "r.lan/a/b"}, sink_, {});
    EXPECT_THAT(warnings_, ElementsAre(HasSubstr("https://foreign.lan"), HasSubstr("a.lan.auth")));
}

TEST_F(RegistrySourceTest, ReadsK3sOwnFileWhereNoneIsConfigured) {
    const Signatures signatures;
    const auto named = [&](const RegistrySettings& settings) {
        return RegistrySource(web_, clock_, settings, 0, architecture("x86_64"), signatures).name();
    };
    EXPECT_EQ(named({}), "registry (/etc/rancher/k3s/registries.yaml)");
    EXPECT_EQ(named({"/srv/registries.yaml"}), "registry (/srv/registries.yaml)");
}

TEST_F(RegistrySourceTest, SaysThatThereIsNoSuchImage) {
    const auto error = test::thrown_by([&] { fetch(); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("r.lan/a/b:v1.31.4-k3s1"), HasSubstr("Plan")));
}

TEST_F(RegistrySourceTest, WantsASignatureWhereThereAreKeys) {
    const Signatures signatures({folder_ / "cosign.pub"});
    const auto image = repository_.add_manifest("x", manifest({tar_file("opt/k3s", "k3s")}));
    const auto index = repository_.add_manifest("v1.31.4-k3s1", index_of(image, "amd64"));
    auto error = test::thrown_by([&] { fetch("r.lan/a/b", signatures); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("no valid signature"),
                                    HasSubstr("there is no " + signature_tag(index)),
                                    HasSubstr("there is no " + signature_tag(image))));
    repository_.add_manifest(signature_tag(index), manifest({tar_file("a", "b")}));
    error = test::thrown_by([&] { fetch("r.lan/a/b", signatures); });
    EXPECT_THAT(error.what(), HasSubstr("holds no signature"));
    repository_.add_manifest(signature_tag(index),
                             manifest({"{}"}, "application/vnd.dev.cosign.simplesigning.v1+json"));
    error = test::thrown_by([&] { fetch("r.lan/a/b", signatures); });
    EXPECT_THAT(error.what(), HasSubstr("dev.cosignproject.cosign/signature"));
    EXPECT_TRUE(sink_.begun.empty());
}

}  // namespace
}  // namespace kua::release
