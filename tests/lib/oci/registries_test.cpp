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

std::vector<std::string> asked(const std::string& yaml, const std::string& image,
                               bool default_endpoint = true) {
    std::vector<std::string> result;
    for (const auto& one : Registries::parse(yaml, "registries.yaml")
                               .endpoints(parse_reference(image), default_endpoint)) {
        result.push_back(one.url + ' ' + one.repository +
                         (one.mirrored.empty() ? "" : " ns=" + one.mirrored));
    }
    return result;
}

std::vector<std::string> problems(const std::string& yaml) {
    return Registries::parse(yaml, "registries.yaml").problems();
}

/// Why there is nowhere to pull the image from.
std::string why_not(const std::string& yaml, const std::string& image,
                    bool default_endpoint = true) {
    const auto error = test::thrown_by([&] { asked(yaml, image, default_endpoint); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    return error.what();
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

TEST(RegistriesYaml, HasAnotherNameForTheWildcard) {
    EXPECT_THAT(asked("mirrors: {_default: {endpoint: [all.lan]}}", "r.lan/b"),
                ElementsAre("https://all.lan/v2 b ns=r.lan", "https://r.lan/v2 b"));
    EXPECT_TRUE(
        first("configs: {_default: {tls: {insecure_skip_verify: true}}}").tls.insecure_skip_verify);
    const std::string both =
        R"y(mirrors: {_default: {endpoint: [a.lan]}, "*": {endpoint: [b.lan]}})y";
    EXPECT_THAT(asked(both, "r.lan/b"),
                ElementsAre("https://b.lan/v2 b ns=r.lan", "https://r.lan/v2 b"));
    EXPECT_THAT(problems(both),
                ElementsAre("registries.yaml: mirrors._default means * as another entry does; the "
                            "entry is skipped"));
}

TEST(RegistriesYaml, MeansHttpOnAnOddPortOfThisHost) {
    // k3s, normalizeEndpointAddress.
    for (const auto& [endpoint, url] : std::vector<std::pair<std::string, std::string>>{
             {"localhost:5000", "http://localhost:5000/v2"},
             {"LOCALHOST:80/x", "http://localhost:80/x"},
             {"127.0.0.1:5000", "http://127.0.0.1:5000/v2"},
             {"127.1.2.3:5000", "http://127.1.2.3:5000/v2"},
             {"'[::1]:5000'", "http://[::1]:5000/v2"},
             {"localhost", "https://localhost/v2"},
             {"'[::1]'", "https://[::1]/v2"},
             {"localhost:443", "https://localhost:443/v2"},
             {"https://localhost:5000", "https://localhost:5000/v2"},
             {"localhost.lan:5000", "https://localhost.lan:5000/v2"},
             {"127.0.0.1.lan:5000", "https://127.0.0.1.lan:5000/v2"},
             {"10.0.0.1:5000", "https://10.0.0.1:5000/v2"},
         }) {
        EXPECT_EQ(first("mirrors: {docker.io: {endpoint: [" + endpoint + "]}}").url, url);
    }
    EXPECT_THAT(asked("", "localhost:5000/a"), ElementsAre("http://localhost:5000/v2 a"));
    const std::string with_tls = R"y(
mirrors: {docker.io: {endpoint: [localhost:5000, localhost:5001]}}
configs:
  localhost:5000: {tls: {ca_file: /ca}}
  localhost:5001: {auth: {username: u, password: p}}
)y";
    EXPECT_THAT(asked(with_tls, "a/b"), ElementsAre("https://localhost:5000/v2 a/b ns=docker.io",
                                                    "http://localhost:5001/v2 a/b ns=docker.io",
                                                    "https://registry-1.docker.io/v2 a/b"));
    EXPECT_THAT(asked(with_tls, "localhost:5000/a"), ElementsAre("https://localhost:5000/v2 a"));
    EXPECT_THAT(asked("", "localhost/a"), ElementsAre("https://localhost/v2 a"));
}

TEST(RegistriesYaml, MayForbidTheRegistryItself) {
    const std::string yaml = R"y(
mirrors:
  docker.io: {endpoint: [one.lan]}
  own.lan: {endpoint: [one.lan, own.lan], rewrite: {"^": "x/"}}
  bare.lan:
)y";
    EXPECT_THAT(asked(yaml, "a/b", false), ElementsAre("https://one.lan/v2 a/b ns=docker.io"));
    EXPECT_THAT(asked(yaml, "other.lan/b", false), ElementsAre("https://other.lan/v2 b"))
        << "no mirror applies to it";
    EXPECT_THAT(asked(yaml, "own.lan/b", false),
                ElementsAre("https://one.lan/v2 x/b ns=own.lan", "https://own.lan/v2 x/b"))
        << "it is listed";
    EXPECT_THAT(asked("mirrors: {'*': {endpoint: [one.lan]}}", "other.lan/b", false),
                ElementsAre("https://one.lan/v2 b ns=other.lan"));
    EXPECT_THAT(
        why_not(yaml, "bare.lan/b", false),
        AllOf(HasSubstr("registries.yaml: mirrors.bare.lan has no endpoint"),
              HasSubstr("--disable-default-registry-endpoint"), HasSubstr("add an endpoint")));
}

TEST(RegistriesYaml, FollowsAnchorsAliasesAndMergeKeys) {
    const auto all = Registries::parse(R"y(
x-shared: &shared
  endpoint: &endpoints [one.lan]
mirrors:
  docker.io: *shared
  r.lan: {<<: *shared, rewrite: {"^": "x/"}}
  other.lan: {endpoint: *endpoints}
configs:
  one.lan: &one
    auth: {username: u, password: p}
  two.lan:
    <<: *one
)y",
                                       "registries.yaml");
    EXPECT_THAT(all.problems(), ElementsAre(HasSubstr("unknown key 'x-shared'")));
    for (const std::string image : {"docker.io/a/b", "r.lan/a/b", "other.lan/a/b"}) {
        const auto endpoint = all.endpoints(parse_reference(image)).front();
        EXPECT_EQ(endpoint.url, "https://one.lan/v2") << image;
        EXPECT_EQ(endpoint.repository, image == "r.lan/a/b" ? "x/a/b" : "a/b");
        EXPECT_EQ(endpoint.credentials.username, "u");
    }
    EXPECT_EQ(all.endpoints(parse_reference("two.lan/a")).front().credentials.username, "u");
}

TEST(RegistriesYaml, IsRefusedWholeOnlyWhenItIsNoMapping) {
    for (const auto& [yaml, said] : std::vector<std::pair<std::string, std::string>>{
             {"mirrors: [", "registries.yaml:1"},
             {"- a", "registries.yaml: must be a mapping, not array"},
             {"a", "registries.yaml: must be a mapping, not \"a\""},
         }) {
        const auto error =
            test::thrown_by([&, &text = yaml] { Registries::parse(text, "registries.yaml"); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << yaml;
        EXPECT_THAT(error.what(), HasSubstr(said));
    }
}

TEST(RegistriesYaml, SaysWhatIsWrongAndFailsOnlyWhoNeedsIt) {
    struct Case {
        std::string yaml;
        std::vector<std::string> said;
        std::string needed_by;  ///< An image; empty: nothing fails.
    };
    for (
        const auto& [yaml, said, needed_by] : std::vector<Case>{
            {"mirrors: [a]", {"mirrors must be a mapping, not array", "all of it"}, "x.lan/b"},
            {"configs: a", {"configs must be a mapping, not \"a\"", "all of it"}, "x.lan/b"},
            {"mirrors: {a.lan: [b]}", {"mirrors.a.lan must be a mapping, not array"}, "a.lan/b"},
            {"mirrors: {a.lan: {endpoint: b}}",
             {"mirrors.a.lan.endpoint must be a list, not \"b\""},
             "a.lan/b"},
            {"mirrors: {a.lan: {endpoint: [{}]}}",
             {"mirrors.a.lan.endpoint[0] must be text", "object", "endpoint is skipped"},
             "a.lan/b"},
            {"mirrors: {a.lan: {endpoint: [x, 'ftp://y']}}",
             {"mirrors.a.lan.endpoint[1]", "'ftp://y'", "endpoint is skipped"},
             ""},
            {"mirrors: {a.lan: {endpoint: ['']}}", {"mirrors.a.lan.endpoint[0]"}, "a.lan/b"},
            {"mirrors: {a.lan: {endpoint: ['https:/0.0https://.1/v2']}}",
             {"mirrors.a.lan.endpoint[0]", "is not a registry's URL"},
             "a.lan/b"},
            {"mirrors: {a.lan: {endpoint: ['https://u:secret@y']}}",
             {"endpoint[0]", "configs.<host>.auth"},
             "a.lan/b"},
            {"mirrors: {a.lan: {endpoint: ['https://y?q']}}",
             {"endpoint[0]", "https://y?q"},
             "a.lan/b"},
            {"mirrors: {'https://a.lan/v2': {endpoint: [b]}}",
             {"mirrors.https://a.lan/v2 must be named by", "without a scheme or path: a.lan"},
             "a.lan/b"},
            {"mirrors: {a.lan/rancher: {endpoint: [b]}}",
             {"mirrors.a.lan/rancher must be named by", "path: a.lan"},
             "a.lan/b"},
            {"mirrors: {'https://a.lan': {endpoint: [b]}, a.lan: {endpoint: [c]}}",
             {"mirrors.https://a.lan must be named by"},
             ""},
            {"mirrors: {'': {}}", {"mirrors. must be named by"}, ""},
            {"mirrors: {a.lan: {rewrite: {'(': x}}}",
             {"mirrors.a.lan.rewrite.(", "regular expression", "rewrite is skipped"},
             ""},
            {"mirrors: {a.lan: {rewrite: {'a{1,90000000000000000000}': x}}}",
             {"mirrors.a.lan.rewrite.a{1,9", "more than 1000 times"},
             ""},
            {"mirrors: {a.lan: {rewrite: {'a{1001}': x}}}", {"more than 1000 times"}, ""},
            {"mirrors: {a.lan: {rewrite: {'(a)\\90000000000000000000': x}}}",
             {"back-reference"},
             ""},
            {"mirrors: {a.lan: {rewrite: {a: [x]}}}", {"mirrors.a.lan.rewrite.a must be text"}, ""},
            {"mirrors: {a.lan: {rewrite: x}}",
             {"mirrors.a.lan.rewrite must be a mapping"},
             "a.lan/b"},
            {"mirrors: {a.lan: {endpoints: [b]}}",
             {"mirrors.a.lan has an unknown key 'endpoints'; known are: endpoint, rewrite; the key "
              "is ignored"},
             ""},
            {"mirrors: {endpoint: [b]}",
             {"mirrors.endpoint is at the wrong level: it belongs below mirrors.<registry>",
              "entry is skipped"},
             ""},
            {"mirrors: {a.lan: {auth: {username: secret}}}",
             {"mirrors.a.lan has a key 'auth', which belongs below configs.<registry>"},
             ""},
            {"mirrors: {configs: {a.lan: {}}}",
             {"mirrors.configs is at the wrong level: it belongs at the top level"},
             ""},
            {"configs: {tls: {ca_file: /x}}",
             {"configs.tls is at the wrong level: it belongs below configs.<registry>"},
             ""},
            {"configs: {a.lan: {ca_file: /x}}",
             {"configs.a.lan has a key 'ca_file', which belongs below configs.<registry>.tls"},
             ""},
            {"a.lan: {endpoint: [b]}",
             {"registries.yaml: has an unknown key 'a.lan'; known are: mirrors, configs"},
             ""},
            {"endpoint: [b]", {"registries.yaml: has a key 'endpoint', which belongs below"}, ""},
            {"configs: {a.lan: {auth: x}}", {"configs.a.lan.auth must be a mapping"}, "a.lan/b"},
            {"configs: {'https://a.lan': {auth: {username: u, password: secret}}}",
             {"configs.https://a.lan must be named by", "path: a.lan"},
             "a.lan/b"},
            {"configs: {a.lan: {auth: {username: [x]}}}",
             {"configs.a.lan.auth.username must be text"},
             "a.lan/b"},
            {"configs: {a.lan: {auth: {usrname: secret}}}",
             {"configs.a.lan.auth has an unknown key 'usrname'"},
             ""},
            {"configs: {a.lan: {auth: {auth: '?secret'}}}",
             {"configs.a.lan.auth.auth", "base64"},
             "a.lan/b"},
            {"configs: {a.lan: {auth: {auth: c2VjcmV0}}}",
             {"configs.a.lan.auth.auth", "user:password"},
             "a.lan/b"},
            {"configs: {a.lan: {tls: {insecure_skip_verify: maybe}}}",
             {"configs.a.lan.tls.insecure_skip_verify must be true or false", "maybe"},
             "a.lan/b"},
            {"configs: {a.lan: {tls: {cert_file: /x}}}",
             {"configs.a.lan.tls", "key_file"},
             "a.lan/b"},
            {"configs: {'*': {tls: x}}", {"configs.*.tls must be a mapping"}, "a.lan/b"},
        }) {
        const auto found = problems(yaml);
        ASSERT_EQ(found.size(), 1U) << yaml;
        EXPECT_THAT(found[0], HasSubstr("registries.yaml: ")) << yaml;
        EXPECT_THAT(found[0], AllOf(Not(HasSubstr("secret")), Not(HasSubstr("\n")))) << yaml;
        for (const auto& part : said) EXPECT_THAT(found[0], HasSubstr(part)) << yaml;
        if (needed_by.empty()) {
            EXPECT_FALSE(asked(yaml, "a.lan/b").empty()) << yaml;
        } else {
            const auto reason = why_not(yaml, needed_by);
            EXPECT_TRUE(!reason.empty() && found[0].starts_with(reason + "; ")) << yaml << reason;
        }
        if (yaml.find("a.lan") != std::string::npos && yaml.find('*') == std::string::npos) {
            EXPECT_THAT(asked(yaml, "foreign.lan/b"), ElementsAre("https://foreign.lan/v2 b"))
                << yaml;
        }
    }
}

TEST(RegistriesYaml, LeavesOutAnEndpointThatCanNotBeUsedWhereThereIsAnother) {
    const std::string yaml = R"y(
mirrors:
  docker.io: {endpoint: [broken.lan, "ftp://x", good.lan]}
  own.lan: {endpoint: [good.lan]}
  lost.lan: {endpoint: [broken.lan]}
configs:
  broken.lan: {auth: x}
  own.lan: {auth: x}
)y";
    EXPECT_EQ(problems(yaml).size(), 3U);
    EXPECT_THAT(asked(yaml, "a/b"), ElementsAre("https://good.lan/v2 a/b ns=docker.io",
                                                "https://registry-1.docker.io/v2 a/b"));
    EXPECT_THAT(asked(yaml, "own.lan/b"), ElementsAre("https://good.lan/v2 b ns=own.lan"));
    // Not past the only mirror.
    EXPECT_THAT(why_not(yaml, "lost.lan/b"),
                HasSubstr("registries.yaml: configs.broken.lan.auth must be a mapping"));
}

TEST(RegistriesYaml, DoesNotListProblemsWithoutAnEnd) {
    std::string yaml = "mirrors:\n";
    for (int number = 0; number < 1000; ++number) {
        yaml += "  https://" + std::to_string(number) + ".lan: {}\n";
    }
    const auto found = problems(yaml);
    EXPECT_EQ(found.size(), 51U);
    EXPECT_EQ(found.back(), "registries.yaml: and 950 more");
    EXPECT_FALSE(why_not(yaml, "999.lan/a").empty());
}

}  // namespace
}  // namespace kua::oci
