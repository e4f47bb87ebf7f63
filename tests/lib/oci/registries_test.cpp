// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/registries.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lib/fs/temp_folder.hpp"
#include "tests/lib/oci/fake_registries.hpp"

namespace kua::oci {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> asked(const std::string& yaml, const std::string& image) {
    std::vector<std::string> result;
    for (const auto& one :
         Registries::parse(yaml, "registries.yaml").endpoints(parse_reference(image))) {
        result.push_back(one.url + ' ' + one.repository +
                         (one.mirrored.empty() ? "" : " ns=" + one.mirrored));
    }
    return result;
}

Endpoint first(const std::string& yaml, const std::string& image = "rancher/k3s-upgrade") {
    return Registries::parse(yaml, "registries.yaml").endpoints(parse_reference(image)).front();
}

TEST(RegistriesYaml, ThatIsNotThereMeansTheRegistryItself) {
    const fs::TempFolder folder;
    const auto none = Registries::read(folder.path() / "registries.yaml");
    EXPECT_EQ(none.endpoints(parse_reference("rancher/k3s-upgrade")).at(0).url,
              "https://registry-1.docker.io/v2");
    for (const std::string empty : {"", "mirrors:\n", "mirrors: {}\nconfigs: {}\n",
                                    "mirrors: {docker.io: }\n", "mirrors: {docker.io: {}}\n"}) {
        EXPECT_THAT(asked(empty, "rancher/k3s-upgrade"),
                    ElementsAre("https://registry-1.docker.io/v2 rancher/k3s-upgrade"))
            << empty;
    }
    EXPECT_THAT(asked("", "r.lan:5000/a"), ElementsAre("https://r.lan:5000/v2 a"));
}

TEST(RegistriesYaml, ListsMirrorsInOrderAndTheRegistryItselfLast) {
    EXPECT_THAT(asked(R"y(
mirrors:
  docker.io:
    endpoint:
      - "https://one.lan:5000"
      - "http://two.lan/"
      - "three.lan/v2/"
      - "https://four.lan/artifactory/api/docker/hub"
      - "https://one.lan:5000/v2"
)y",
                      "rancher/k3s-upgrade"),
                ElementsAre("https://one.lan:5000/v2 rancher/k3s-upgrade ns=docker.io",
                            "http://two.lan/v2 rancher/k3s-upgrade ns=docker.io",
                            "https://three.lan/v2 rancher/k3s-upgrade ns=docker.io",
                            "https://four.lan/artifactory/api/docker/hub rancher/k3s-upgrade "
                            "ns=docker.io",
                            "https://registry-1.docker.io/v2 rancher/k3s-upgrade"));
}

TEST(RegistriesYaml, HasAWildcardForRegistriesWithoutAnEntry) {
    const std::string yaml = R"y(
mirrors:
  "*": {endpoint: ["https://all.lan"]}
  own.lan: {endpoint: ["https://special.lan"]}
  bare.lan:
)y";
    EXPECT_THAT(asked(yaml, "a/b"), ElementsAre("https://all.lan/v2 a/b ns=docker.io",
                                                "https://registry-1.docker.io/v2 a/b"));
    EXPECT_THAT(asked(yaml, "own.lan/b"),
                ElementsAre("https://special.lan/v2 b ns=own.lan", "https://own.lan/v2 b"));
    EXPECT_THAT(asked(yaml, "bare.lan/b"), ElementsAre("https://bare.lan/v2 b"));
}

TEST(RegistriesYaml, RewritesTheNameButNotForTheDefaultEndpoint) {
    const std::string yaml = R"y(
mirrors:
  docker.io:
    endpoint: ["https://one.lan"]
    rewrite:
      "^rancher/(.*)": "hub/${1}/x-$1-$$"
)y";
    const auto error = test::thrown_by([&] { asked(yaml, "rancher/k3s-upgrade"); });
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("registries.yaml: mirrors.docker.io.rewrite.^rancher/(.*)"),
                      HasSubstr("'hub/k3s-upgrade/x-k3s-upgrade-$'")));
    const std::string good = R"y(
mirrors:
  docker.io:
    endpoint: ["https://one.lan", "https://docker.io", "https://registry-1.docker.io/v2"]
    rewrite:
      "^rancher/(.*)": "hub/rancher-images/$1"
)y";
    EXPECT_THAT(asked(good, "rancher/k3s-upgrade"),
                ElementsAre("https://one.lan/v2 hub/rancher-images/k3s-upgrade ns=docker.io",
                            "https://registry-1.docker.io/v2 rancher/k3s-upgrade"))
        << "a mirror that is the registry itself is left out";
    EXPECT_THAT(asked(good, "other/a"), ElementsAre("https://one.lan/v2 other/a ns=docker.io",
                                                    "https://registry-1.docker.io/v2 other/a"));
    // With the port it is another endpoint to k3s, and so it is a way to rewrite for a registry.
    EXPECT_THAT(
        asked(R"y(mirrors: {r.lan: {endpoint: ["https://r.lan:443"], rewrite: {"^": "x/"}}})y",
              "r.lan/a"),
        ElementsAre("https://r.lan:443/v2 x/a ns=r.lan", "https://r.lan/v2 a"));
}

TEST(RegistriesYaml, TakesTheFirstRewriteThatChangesSomething) {
    EXPECT_THAT(asked(R"y(
mirrors:
  r.lan:
    endpoint: [one.lan]
    rewrite: {"^x": "y", "b": "c", "a": "$1z$", "zz": "q"}
)y",
                      "r.lan/b/b"),
                ElementsAre("https://one.lan/v2 c/c ns=r.lan", "https://r.lan/v2 b/b"));
}

TEST(RegistriesYaml, ShowsAnExpressionInOneLine) {
    const auto registries = Registries::parse(
        R"(mirrors: {docker.io: {endpoint: [x], rewrite: {"^rancher\n?": "//"}}})",
        "registries.yaml");
    const std::string said =
        test::thrown_by([&] { (void)registries.endpoints(parse_reference("rancher/k3s")); }).what();
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
    EXPECT_NE(said.find("mirrors.docker.io.rewrite.^rancher"), std::string::npos) << said;
}

TEST(RegistriesYaml, SurvivesAnExpressionThatWouldTakeForEver) {
    const std::string yaml = R"y(
mirrors:
  r.lan: {endpoint: [one.lan], rewrite: {"^(a+)+(a+)+(a+)+$": "x"}}
)y";
    EXPECT_THAT(asked(yaml, "r.lan/" + std::string(200, 'a') + "/b").size(), 2U);
}

TEST(RegistriesYaml, GivesCredentialsToTheirHostOnly) {
    const std::string yaml = R"y(
mirrors:
  docker.io: {endpoint: ["https://one.lan:5000", "https://one.lan"]}
configs:
  "one.lan:5000":
    auth: {username: u, password: 12345}
    tls: {ca_file: /ca, cert_file: /cert, key_file: /key, insecure_skip_verify: yes}
  "docker.io":
    auth: {auth: dXNlcjpwYXNz}
  "*":
    auth: {username: any, password: any}
    tls: {insecure_skip_verify: true}
)y";
    const auto all = Registries::parse(yaml, "registries.yaml").endpoints(parse_reference("a/b"));
    ASSERT_EQ(all.size(), 3U);
    EXPECT_EQ(all[0].credentials.username, "u");
    EXPECT_EQ(all[0].credentials.password, "12345");
    EXPECT_EQ(all[0].tls.ca_file, "/ca");
    EXPECT_EQ(all[0].tls.cert_file, "/cert");
    EXPECT_EQ(all[0].tls.key_file, "/key");
    EXPECT_TRUE(all[0].tls.insecure_skip_verify);
    EXPECT_TRUE(all[1].credentials.empty()) << "another port, and \"*\" gives no credentials away";
    EXPECT_TRUE(all[1].tls.insecure_skip_verify) << "of \"*\"";
    EXPECT_EQ(all[2].credentials.username, "user");
    EXPECT_EQ(all[2].credentials.password, "pass");
    EXPECT_FALSE(all[2].tls.insecure_skip_verify);
}

TEST(RegistriesYaml, ReadsTokensInEverySpelling) {
    for (const std::string key : {"token", "identity_token", "identitytoken"}) {
        EXPECT_EQ(
            first("configs: {docker.io: {auth: {" + key + ": T}}}").credentials.identity_token,
            "T");
    }
    EXPECT_EQ(first("configs: {registry-1.docker.io: {auth: {username: u, password: p}}}")
                  .credentials.username,
              "u");
}

TEST(RegistriesYaml, SaysWhatIsWrongAndWhere) {
    struct Case {
        std::string yaml;
        std::vector<std::string> said;
    };
    for (const auto& [yaml, said] : std::vector<Case>{
             {"mirrors: [", {"registries.yaml:1"}},
             {"- a", {"registries.yaml: must be a mapping"}},
             {"mirrors: [a]", {"registries.yaml: mirrors must be a mapping", "array"}},
             {"mirrors: {a: [b]}", {"mirrors.a must be a mapping"}},
             {"mirrors: {a: {endpoints: [b]}}",
              {"mirrors.a", "unknown key 'endpoints'", "endpoint"}},
             {"mirrors: {a: {endpoint: b}}", {"mirrors.a.endpoint must be a list", "\"b\""}},
             {"mirrors: {a: {endpoint: [{}]}}", {"mirrors.a.endpoint[0] must be text", "object"}},
             {"mirrors: {a: {endpoint: [x, 'ftp://y']}}", {"mirrors.a.endpoint[1]", "ftp://y"}},
             {"mirrors: {a: {endpoint: ['']}}", {"mirrors.a.endpoint[0]"}},
             {"mirrors: {a: {endpoint: ['https:/0.0https://.1/v2']}}",
              {"mirrors.a.endpoint[0]", "is no registry's URL"}},
             {"mirrors: {a: {endpoint: ['https://u:secret@y']}}", {"endpoint[0]", "configs"}},
             {"mirrors: {a: {endpoint: ['https://y?q']}}", {"endpoint[0]", "https://y?q"}},
             {"mirrors: {'https://a': {}}", {"mirrors.https://a", "host:port"}},
             {"mirrors: {a: {rewrite: {'(': x}}}", {"mirrors.a.rewrite.(", "regular expression"}},
             {"mirrors: {a: {rewrite: {'a{1,90000000000000000000}': x}}}",
              {"mirrors.a.rewrite.a{1,9", "more than 1000 times"}},
             {"mirrors: {a: {rewrite: {'a{1001}': x}}}", {"more than 1000 times"}},
             {"mirrors: {a: {rewrite: {'(a)\\90000000000000000000': x}}}", {"back-reference"}},
             {"mirrors: {a: {rewrite: {a: [x]}}}", {"mirrors.a.rewrite.a must be text"}},
             {"configs: {a: {auth: x}}", {"configs.a.auth must be a mapping"}},
             {"configs: {a: {auth: {username: [x]}}}", {"configs.a.auth.username must be text"}},
             {"configs: {a: {auth: {auth: '?secret'}}}", {"configs.a.auth.auth", "base64"}},
             {"configs: {a: {auth: {auth: c2VjcmV0}}}", {"configs.a.auth.auth", "user:password"}},
             {"configs: {a: {tls: {insecure_skip_verify: maybe}}}",
              {"configs.a.tls.insecure_skip_verify must be true or false", "maybe"}},
             {"configs: {a: {tls: {cert_file: /x}}}", {"configs.a.tls", "key_file"}},
             {"configs: {a: {ca_file: /x}}", {"configs.a", "'ca_file'"}},
         }) {
        const auto error =
            test::thrown_by([&, &text = yaml] { Registries::parse(text, "registries.yaml"); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << yaml;
        EXPECT_THAT(error.what(), HasSubstr("registries.yaml"));
        EXPECT_THAT(error.what(), Not(HasSubstr("secret"))) << yaml;
        for (const auto& part : said) EXPECT_THAT(error.what(), HasSubstr(part)) << yaml;
    }
}

}  // namespace
}  // namespace kua::oci
