// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/kubeconfig.hpp"

#include <gmock/gmock.h>

#include "lib/base/format.hpp"
#include "tests/lib/kube/fixture.hpp"

namespace kua::kube {
namespace {

using test::error_of;
using test::KubeletFiles;
using ::testing::HasSubstr;

std::string base64(const std::string& text) {
    constexpr std::string_view kAlphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string result;
    for (std::size_t i = 0; i < text.size(); i += 3) {
        std::uint32_t bits = 0;
        for (std::size_t j = i; j < i + 3; ++j) {
            bits = (bits << 8U) | (j < text.size() ? static_cast<unsigned char>(text[j]) : 0U);
        }
        for (std::size_t j = 0; j < 4; ++j) {
            const bool filled = i + j <= text.size();
            result += filled ? kAlphabet[(bits >> (18 - 6 * j)) & 0x3fU] : '=';
        }
    }
    return result;
}

// A kubeconfig with these lines below `cluster:` and `user:`.
std::string kubeconfig(const std::string& cluster, const std::string& user) {
    return format(
        "clusters:\n- name: c\n  cluster: {{{}}}\nusers:\n- name: u\n  user: {{{}}}\n"
        "contexts:\n- name: x\n  context: {{cluster: c, user: u}}\n",
        cluster, user);
}

constexpr const char* kServer = "server: 'https://10.0.0.1:6443/'";

TEST(Kubeconfig, ReadsWhatK3sWritesForItsKubelet) {
    const KubeletFiles files;
    const test::Identity identity = files.issue(std::chrono::hours(1));
    const Kubeconfig config = read_kubeconfig(files.path());
    EXPECT_EQ(config.server, "https://127.0.0.1:6443");
    EXPECT_EQ(config.tls.ca_pem, files.authority().pem());
    EXPECT_EQ(config.tls.certificate_pem, identity.certificate_pem);
    EXPECT_EQ(config.tls.key_pem, identity.key_pem);
    EXPECT_EQ(config.token, "");
    EXPECT_EQ(node_name(config, files.path()), "node-1");
}

TEST(Kubeconfig, ReadsDataAndTokensAndTheOnlyContext) {
    const KubeletFiles files;
    const test::Identity identity = files.issue(std::chrono::hours(1));
    const auto path = files.folder().write(
        "data", kubeconfig(format("{}, certificate-authority-data: {}", kServer,
                                  base64(files.authority().pem())),
                           format("client-certificate-data: {}, client-key-data: {}, token: secret",
                                  base64(identity.certificate_pem), base64(identity.key_pem))));
    const Kubeconfig config = read_kubeconfig(path);
    EXPECT_EQ(config.server, "https://10.0.0.1:6443");
    EXPECT_EQ(config.tls.ca_pem, files.authority().pem());
    EXPECT_EQ(config.tls.certificate_pem, identity.certificate_pem);
    EXPECT_EQ(config.tls.key_pem, identity.key_pem);
    EXPECT_EQ(config.token, "secret");
}

TEST(Kubeconfig, FindsFilesBesideItself) {
    const KubeletFiles files;
    files.folder().write("token", "from a file\n");
    const auto path = files.folder().write(
        "relative", kubeconfig(format("{}, certificate-authority: server-ca.crt", kServer),
                               "client-certificate: client-kubelet.crt, client-key: "
                               "client-kubelet.key, tokenFile: token"));
    const Kubeconfig config = read_kubeconfig(path);
    EXPECT_EQ(config.tls.ca_pem, files.authority().pem());
    EXPECT_EQ(config.token, "from a file");
}

TEST(Kubeconfig, TakesTheCurrentContextOfSeveral) {
    const KubeletFiles files;
    const auto path = files.folder().write(
        "several",
        "current-context: two\nclusters:\n- {name: a, cluster: {server: 'https://a'}}\n"
        "- {name: b, cluster: {server: 'https://b'}}\nusers:\n- {name: u, user: {token: t}}\n"
        "contexts:\n- {name: one, context: {cluster: a, user: u}}\n"
        "- {name: two, context: {cluster: b, user: u}}\n");
    EXPECT_EQ(read_kubeconfig(path).server, "https://b");
}

TEST(Kubeconfig, SaysWhichFileAndFieldIsWrongAndHow) {
    struct Case {
        const char* name;
        std::string text;
        const char* said;
    };
    const KubeletFiles files;
    files.folder().write("text", "just text");
    const auto both = [](const char* user) { return kubeconfig(kServer, user); };
    const std::vector<Case> cases{
        {"not-yaml", "a: [", "not-yaml"},
        {"a-list", "- 1\n", "is no kubeconfig"},
        {"no-context", "clusters: []\n", "current-context is missing"},
        {"wrong-context", "current-context: x\ncontexts: []\n", "contexts holds no 'x'"},
        {"no-cluster", "contexts:\n- {name: x, context: {cluster: c, user: u}}\n",
         "clusters holds no 'c'"},
        {"no-server", kubeconfig("a: b", "token: t"), "server '' is not an https URL"},
        {"plain-http", kubeconfig("server: 'http://h'", "token: t"), "not an https URL"},
        {"insecure", kubeconfig(format("{}, insecure-skip-tls-verify: true", kServer), "token: t"),
         "insecure-skip-tls-verify is not supported"},
        {"exec", both("exec: {command: x}"), "exec is not supported"},
        {"auth", both("auth-provider: {name: x}"), "auth-provider is not supported"},
        {"no-ca", kubeconfig(format("{}, certificate-authority: nowhere.crt", kServer), "token: t"),
         "nowhere.crt: there is no such file"},
        {"odd-ca",
         kubeconfig(format("{}, certificate-authority: \"no\\nwhere.crt\"", kServer), "token: t"),
         "no where.crt: there is no such file"},
        {"long-ca",
         kubeconfig(format("{}, certificate-authority: {}", kServer, std::string(5000, 'x')),
                    "token: t"),
         "xxx…"},
        {"bad-ca", kubeconfig(format("{}, certificate-authority: text", kServer), "token: t"),
         "certificate-authority"},
        {"folder-ca", kubeconfig(format("{}, certificate-authority: .", kServer), "token: t"),
         "certificate-authority"},
        {"bad-data", both("client-certificate-data: '*'"), "client-certificate-data: is not base"},
        {"bad-cert", both("client-certificate: text, client-key: client-kubelet.key"),
         "client-certificate"},
        {"bad-key", both("client-certificate: client-kubelet.crt, client-key: text"),
         "holds no private key"},
        {"no-key", both("client-certificate: client-kubelet.crt"), "one of them is missing"},
    };
    for (const Case& one : cases) {
        const auto path = files.folder().write(one.name, one.text);
        const Error error = error_of([&] { read_kubeconfig(path); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << one.name;
        EXPECT_THAT(error.what(), HasSubstr(path.string())) << one.name;
        EXPECT_THAT(error.what(), HasSubstr(one.said)) << one.name;
        EXPECT_EQ(error.what(), excerpt(error.what(), 2000)) << one.name;
    }
    const auto missing = files.folder().path() / "missing";
    const Error error = error_of([&] { read_kubeconfig(missing); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr(missing.string()));
}

TEST(Kubeconfig, SaysWhenTheClientCertificateExpired) {
    const KubeletFiles files;
    files.issue(std::chrono::hours(-1));
    const Error error = error_of([&] { read_kubeconfig(files.path()); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("client-kubelet.crt"));
    EXPECT_THAT(error.what(), HasSubstr("expired at 20"));
    files.issue(std::chrono::hours(1));
    EXPECT_EQ(read_kubeconfig(files.path()).server, "https://127.0.0.1:6443");
}

TEST(NodeName, IsNotTakenFromSomebodyElsesCertificate) {
    const KubeletFiles files;
    for (const auto& [name, organization] :
         std::vector<std::pair<std::string, std::string>>{{"system:admin", "system:masters"},
                                                          {"system:node:node-1", "system:masters"},
                                                          {"node-1", "system:nodes"},
                                                          {"system:node:", "system:nodes"}}) {
        files.issue(std::chrono::hours(1), name, organization);
        const Kubeconfig config = read_kubeconfig(files.path());
        const Error error = error_of([&] { node_name(config, files.path()); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << name;
        EXPECT_THAT(error.what(), HasSubstr(files.path().string()));
    }
    const Error error = error_of([&] { node_name({}, files.path()); });
    EXPECT_THAT(error.what(), HasSubstr("no client certificate"));
}

}  // namespace
}  // namespace kua::kube
