// SPDX-License-Identifier: Apache-2.0
#include "agent/config.hpp"

#include <gmock/gmock.h>

#include "lib/yaml/yaml.hpp"
#include "tests/agent/support.hpp"

namespace kua {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using test::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

Config read(const std::string& text) {
    return read_config(yaml::parse(text, "config.yaml"), "config.yaml");
}

std::string mistake(const std::string& text) {
    const auto error = error_of([&] { read(text); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid) << text;
    return error.what();
}

TEST(Config, NeedsNothing) {
    for (const char* text : {"", "---\n", "{}", "# nothing\n", "node:\nk3s:\nsource:\n",
                             "source: []", "log: {level: }"}) {
        const auto config = read(text);
        EXPECT_EQ(config.node.name, "") << text;
        EXPECT_EQ(config.node.kubeconfig, "");
        EXPECT_EQ(config.plans.ns, "system-upgrade");
        ASSERT_EQ(config.sources.size(), 3U) << text;
        EXPECT_EQ(std::get<release::BundleSettings>(config.sources[0]).directory,
                  "/var/lib/k3s-upgrade-agent/bundles");
        const auto& registry = std::get<release::RegistrySettings>(config.sources[1]);
        EXPECT_TRUE(registry.registries.empty()) << "what k3s reads decides";
        EXPECT_EQ(registry.file(), "/etc/rancher/k3s/registries.yaml");
        EXPECT_EQ(std::get<release::HttpSettings>(config.sources[2]).base_url,
                  "https://github.com/k3s-io/k3s/releases/download");
        EXPECT_TRUE(config.verify.public_keys.empty());
        EXPECT_EQ(config.prefetch, upgrade::Prefetch::in_window);
        EXPECT_EQ(config.cordon.when_lifted, upgrade::Lifted::stop);
        EXPECT_EQ(config.cordon.foreign, upgrade::Foreign::keep);
        EXPECT_EQ(config.drain.patience, minutes(1));
        EXPECT_TRUE(config.datastore.backup);
        EXPECT_EQ(config.drain.attempts, 3);
        EXPECT_EQ(config.download.rate, 0U);
        EXPECT_EQ(config.download.jitter, seconds(0));
        EXPECT_EQ(config.k3s.data_dir, "");
        EXPECT_EQ(config.restart.timeout, minutes(5));
        EXPECT_EQ(config.health.timeout, minutes(5));
        EXPECT_EQ(config.hooks.folder, "/etc/k3s-upgrade-agent/hooks.d");
        EXPECT_EQ(config.hooks.timeout, minutes(5));
        EXPECT_EQ(config.health.settle, seconds(30));
        EXPECT_EQ(config.rollback, upgrade::Rollback::automatic);
        EXPECT_EQ(config.lock.ttl, minutes(15));
        EXPECT_EQ(config.channel.poll, minutes(15));
        EXPECT_EQ(config.channel.confirm, minutes(1));
        EXPECT_TRUE(config.channel.ask);
        EXPECT_EQ(config.log.level, log::Level::info);
        EXPECT_EQ(config.folders.state, "/var/lib/k3s-upgrade-agent");
        EXPECT_EQ(config.folders.run, "/run/k3s-upgrade-agent");
    }
}

TEST(Config, ReadsEveryKey) {
    const auto config = read(R"(
node: {name: server-1, kubeconfig: /etc/kubeconfig}
k3s: {unit: my-k3s.service, binary: /opt/bin/k3s, data_dir: /srv/k3s}
plans: {namespace: upgrades}
source:
  - http:
      base_url: "https://mirror.example.org/k3s"
      ca_file: /etc/ca.pem
      credentials_file: /etc/mirror
  - http:
  - bundle: {directory: /srv/bundles}
  - registry: {registries: /etc/registries.yaml}
verify: {public_keys: [/etc/one.pem, /etc/two.pem]}
prefetch: always
cordon:
  when_lifted: again
  foreign: lift
datastore: {backup: never}
drain: {patience: 5m, attempts: 5}
download: {rate: 5MB, jitter: 10m}
restart: {timeout: 90s}
hooks: {directory: /srv/hooks, timeout: 90s}
health: {timeout: 1h, settle: 2m}
rollback: never
lock: {ttl: 2h}
channel: {poll: 1h, confirm: 5s, ask: false}
log: {level: debug}
folders: {state: /srv/state, run: /srv/run}
)");
    EXPECT_EQ(config.node.name, "server-1");
    EXPECT_EQ(config.node.kubeconfig, "/etc/kubeconfig");
    EXPECT_EQ(config.k3s.unit, "my-k3s.service");
    EXPECT_EQ(config.k3s.binary, "/opt/bin/k3s");
    EXPECT_EQ(config.plans.ns, "upgrades");
    ASSERT_EQ(config.sources.size(), 4U);
    const auto http = std::get<release::HttpSettings>(config.sources[0]);
    EXPECT_EQ(http.base_url, "https://mirror.example.org/k3s");
    EXPECT_EQ(http.ca_file, "/etc/ca.pem");
    EXPECT_EQ(http.credentials_file, "/etc/mirror");
    EXPECT_EQ(std::get<release::HttpSettings>(config.sources[1]).base_url,
              "https://github.com/k3s-io/k3s/releases/download");
    EXPECT_EQ(std::get<release::BundleSettings>(config.sources[2]).directory, "/srv/bundles");
    EXPECT_EQ(std::get<release::RegistrySettings>(config.sources[3]).registries,
              "/etc/registries.yaml");
    EXPECT_THAT(config.verify.public_keys, ::testing::ElementsAre("/etc/one.pem", "/etc/two.pem"));
    EXPECT_EQ(config.prefetch, upgrade::Prefetch::always);
    EXPECT_EQ(config.cordon.when_lifted, upgrade::Lifted::again);
    EXPECT_EQ(config.cordon.foreign, upgrade::Foreign::lift);
    EXPECT_FALSE(config.datastore.backup);
    EXPECT_EQ(config.drain.patience, minutes(5));
    EXPECT_EQ(config.drain.attempts, 5);
    EXPECT_EQ(config.download.rate, 5'000'000U);
    EXPECT_EQ(config.download.jitter, minutes(10));
    EXPECT_EQ(config.k3s.data_dir, "/srv/k3s");
    EXPECT_EQ(config.restart.timeout, seconds(90));
    EXPECT_EQ(config.health.timeout, minutes(60));
    EXPECT_EQ(config.hooks.folder, "/srv/hooks");
    EXPECT_EQ(config.hooks.timeout, seconds(90));
    EXPECT_EQ(config.health.settle, minutes(2));
    EXPECT_EQ(config.rollback, upgrade::Rollback::never);
    EXPECT_EQ(config.lock.ttl, minutes(120));
    EXPECT_EQ(config.channel.poll, minutes(60));
    EXPECT_EQ(config.channel.confirm, seconds(5));
    EXPECT_FALSE(config.channel.ask);
    EXPECT_EQ(config.log.level, log::Level::debug);
    EXPECT_EQ(config.folders.state, "/srv/state");
    EXPECT_EQ(config.folders.run, "/srv/run");
}

TEST(Config, TakesTheShippedFileWhenItsExamplesAreSwitchedOn) {
    // Every key that the packaged file documents must be one that is known.
    std::string text;
    for (auto line :
         std::vector<std::string>{"node:",
                                  "  name: server-1",
                                  "k3s:",
                                  "  unit: k3s.service",
                                  "  binary: /usr/local/bin/k3s",
                                  "plans:",
                                  "  namespace: system-upgrade",
                                  "source:",
                                  "  - http:",
                                  "      base_url: https://github.com/k3s-io/k3s/releases/download",
                                  "      ca_file: /etc/ssl/certs/our-ca.pem",
                                  "restart:",
                                  "  timeout: 5m",
                                  "health:",
                                  "  timeout: 5m",
                                  "  settle: 30s",
                                  "rollback: auto",
                                  "lock:",
                                  "  ttl: 15m",
                                  "channel:",
                                  "  poll: 15m",
                                  "  confirm: 1m",
                                  "  ask: true",
                                  "log:",
                                  "  level: info",
                                  "folders:",
                                  "  state: /var/lib/k3s-upgrade-agent",
                                  "  run: /run/k3s-upgrade-agent"}) {
        text += line + "\n";
    }
    EXPECT_NO_THROW(read(text));
}

TEST(Config, NamesFileKeyValueAndWhatToDo) {
    struct Case {
        std::string text;
        std::string key;
        std::string said;
    };
    for (const auto& [text, key, said] : std::vector<Case>{
             {"nodes: {}", "nodes: ",
              "unknown key; known here are channel, cordon, datastore, download, drain, folders, "
              "health"},
             {"node: {nam: x}", "node.nam: ", "unknown key; known here are kubeconfig, name"},
             {R"({"two\nlines": 1})", "config.yaml: two lines: ", "unknown key"},
             {"node: server-1", "node: ", "must be a mapping, is \"server-1\""},
             {"channel: {poll: 9s}", "channel.poll: ", "from 10s to 24h"},
             {"channel: {confirm: 2h}", "channel.confirm: ", "from 1s to 1h"},
             {"channel: {ask: 7}", "channel.ask: ", "must be true or false, is 7"},
             {"node: [a]", "node: ", "must be a mapping"},
             {"node: {name: 7}", "node.name: ", "must be a text, is 7"},
             {"node: {kubeconfig: relative/path}",
              "node.kubeconfig: ", "must be an absolute path, is \"relative/path\""},
             {"node: {kubeconfig: true}", "node.kubeconfig: ", "must be a text, is true"},
             {"k3s: {binary: k3s}", "k3s.binary: ", "must be an absolute path"},
             {"plans: {namespace: 1}", "plans.namespace: ", "must be a text"},
             {"plans: {namespace: ''}", "plans.namespace: ", "must be"},
             {"source: {http: {}}", "source: ", "must be a list of sources"},
             {"source: [http]", "source[0]: ", "must be a mapping, is \"http\""},
             {"source: [{ftp: {}}]",
              "source[0].ftp: ", "unknown key; known here are bundle, http, registry"},
             {"source: [{bundle: {}, http: {}}]", "source[0]: ", "names 2 sources"},
             {"verify: {public_keys: /etc/a.pem}", "verify.public_keys: ", "must be a list"},
             {"verify: {public_keys: [a.pem]}", "verify.public_keys[0]: ", "absolute path"},
             {"prefetch: sometimes", "prefetch: ", "must be always, in-window or never"},
             {"drain: {attempts: 0}", "drain.attempts: ", "a number from 1 to 100"},
             {"drain: {attempts: 2.5}", "drain.attempts: ", "a number from 1 to 100"},
             {"drain: {patience: 60}", "drain.patience: ", "must be a duration"},
             {"cordon: {when_lifted: maybe}", "cordon.when_lifted: ", "must be stop or again"},
             {"cordon: {foreign: drop}", "cordon.foreign: ", "must be keep or lift"},
             {"datastore: {backup: yes}", "datastore.backup: ", "must be auto or never"},
             {"prefetch: true", "prefetch: ", "must be always, in-window or never"},
             {"download: {rate: 5}", "download.rate: ", "must be bytes per second"},
             {"download: {rate: 5Mb}", "download.rate: ", "must be bytes per second"},
             {"download: {rate: 0MB}", "download.rate: ", "must be bytes per second"},
             {"download: {jitter: 5}", "download.jitter: ", "must be a duration"},
             {"source: [{}]", "source[0]: ", "names no source"},
             {"source: [{http: {url: x}}]", "source[0].http.url: ",
              "unknown key; known here are base_url, ca_file, credentials_file"},
             {"source: [{http: {base_url: 'ftp://x'}}]", "source[0].http.base_url: ",
              "must be a URL that begins with https:// or http://, is \"ftp://x\""},
             {"source: [{http: {ca_file: ca.pem}}]",
              "source[0].http.ca_file: ", "must be an absolute path"},
             {"restart: {timeout: 5}", "restart.timeout: ",
              "must be a duration from 10s to 1h such as \"5m\" or \"90s\", is 5"},
             {"restart: {timeout: soon}", "restart.timeout: ", "is \"soon\""},
             {"restart: {timeout: 9s}", "restart.timeout: ", "must be a duration from 10s"},
             {"health: {timeout: 2h}", "health.timeout: ", "must be a duration from 10s to 1h"},
             {"hooks: {timeout: 2h}", "hooks.timeout: ", "must be a duration from 1s to 1h"},
             {"health: {timeout: -5m}", "health.timeout: ", "must be a duration"},
             {"lock: {ttl: 1s}", "lock.ttl: ", "must be a duration from 15s to 24h"},
             {"health: {settle: 11m}", "health.settle: ", "must be a duration from 0ms to 10m"},
             {"rollback: sometimes", "rollback: ", "must be auto, always or never"},
             {"rollback: true", "rollback: ", "must be auto, always or never"},
             {"lock: {ttl: 9m}",
              "lock.ttl: ", "and restart.timeout + health.settle + health.timeout (15m), is 9m"},
             {"log: {level: loud}",
              "log.level: ", "must be debug, info, warning or error, is \"loud\""},
             {"log: {level: 3}", "log.level: ", "must be debug, info, warning or error, is 3"},
             {"folders: {state: ''}", "folders.state: ", "must be an absolute path"},
             {"- a", "the file: ", "must be a mapping"},
             {"just text", "the file: ", "must be a mapping, is \"just text\""},
         }) {
        EXPECT_THAT(mistake(text),
                    AllOf(HasSubstr("config.yaml: "), HasSubstr(key), HasSubstr(said)))
            << text;
    }
}

TEST(Config, LetsASlotOutlastTheTimeoutsWithoutBeingTold) {
    EXPECT_EQ(read("health: {timeout: 30m}").lock.ttl, minutes(35) + seconds(30));
    EXPECT_EQ(read("health: {timeout: 30m, settle: 0s}").lock.ttl, minutes(35));
}

TEST(Config, ListsAllMistakesAtOnce) {
    EXPECT_THAT(mistake("nodes: 1\nrestart: {timeout: 1}\nsource: [{http: {base_url: 1, x: 2}}]\n"),
                AllOf(HasSubstr("nodes: unknown"), HasSubstr("; "), HasSubstr("restart.timeout: "),
                      HasSubstr("source[0].http.base_url: "), HasSubstr("source[0].http.x: ")));
}

TEST(Config, ShowsOnlySoMuchOfAValue) {
    EXPECT_LT(mistake("node: " + std::string(10000, 'x')).size(), 300U);
}

TEST(Config, IsTheDefaultsWhereTheUsualFileIsMissingAndNoOther) {
    const test::TempFolder folder;
    const auto missing = error_of([&] { load_config(folder / "none.yaml"); });
    EXPECT_EQ(missing.kind(), ErrorKind::invalid);
    EXPECT_THAT(missing.what(), HasSubstr("none.yaml: there is no such file"));
    EXPECT_EQ(load_config(kConfigFile).plans.ns, "system-upgrade");
    test::write_text(folder / "config.yaml", "");
    EXPECT_EQ(load_config(folder / "config.yaml").plans.ns, "system-upgrade");
    test::write_text(folder / "config.yaml", "plans: {namespace: other}");
    EXPECT_EQ(load_config(folder / "config.yaml").plans.ns, "other");
    test::write_text(folder / "config.yaml", "plans: [");
    const auto error = error_of([&] { load_config(folder / "config.yaml"); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("config.yaml:1"));
    EXPECT_EQ(error_of([&] { load_config(folder.path()); }).kind(), ErrorKind::invalid);
}

}  // namespace
}  // namespace kua
