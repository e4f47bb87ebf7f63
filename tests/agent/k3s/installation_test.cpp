// SPDX-License-Identifier: Apache-2.0
#include "agent/k3s/installation.hpp"

#include <gmock/gmock.h>

#include "agent/k3s/titles.hpp"
#include "lib/base/format.hpp"
#include "tests/agent/support.hpp"
#include "tests/fakes/fake_units.hpp"

namespace kua::k3s {
namespace {

using test::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const plan::Version kVersion{1, 30, 4, 0, 1};

TEST(Title, IsReadFromACommandLine) {
    struct Case {
        std::string command;
        std::string program;
        std::string role;
    };
    for (const auto& [command, program, role] : {
             Case{"/usr/local/bin/k3s server", "/usr/local/bin/k3s", "server"},
             Case{"/usr/local/bin/k3s agent", "/usr/local/bin/k3s", "agent"},
             Case{"/usr/local/bin/k3s init", "/usr/local/bin/k3s", ""},
             // With --log before 1.22, and for a moment while it starts.
             Case{"/usr/local/bin/k3s", "/usr/local/bin/k3s", ""},
             Case{"k3s server", "k3s", "server"},
             // Before it has hidden its arguments.
             Case{"/opt/k3s server --token x", "/opt/k3s", "server"},
         }) {
        const auto title = read_title(command);
        ASSERT_TRUE(title) << command;
        EXPECT_EQ(title->program, program);
        EXPECT_EQ(title->role, role);
    }
    for (const auto* command : {"", "/usr/bin/consul", " server", "/bin/sh /opt/start agent",
                                "/usr/local/bin/k3s kubectl", "/usr/local/bin/k3s servers"}) {
        EXPECT_FALSE(read_title(command)) << command;
    }
}

TEST(DataDirVariable, CountsFromTheReleasesOnThatReadIt) {
    for (const auto& [text, counts] :
         {std::pair("v1.20.8+k3s1", false), std::pair("v1.27.15+k3s1", false),
          std::pair("v1.27.16+k3s1", true), std::pair("v1.28.11+k3s1", false),
          std::pair("v1.28.12+k3s1", true), std::pair("v1.29.6+k3s1", false),
          std::pair("v1.29.7+k3s1", true), std::pair("v1.30.2+k3s1", false),
          std::pair("v1.30.3+k3s1", true), std::pair("v1.31.0+k3s1", true),
          std::pair("v1.36.0+k3s1", true)}) {
        EXPECT_EQ(reads_data_dir_variable(*plan::parse_version(text)), counts) << text;
    }
}

class FinderTest : public ::testing::Test {
  protected:
    FinderTest() {
        // No configuration of this machine's own.
        environment_ = {"K3S_CONFIG_FILE=/dev/null"};
        for (const auto* name : {"k3s", "other"}) {
            test::write_text(folder_ / name, "");
        }
        test::write_text(folder_ / "start.sh", "#!/bin/sh\n");
    }

    [[nodiscard]] std::string path(const std::string& name) const {
        return std::filesystem::canonical(folder_ / name).string();
    }
    [[nodiscard]] std::string k3s() const { return path("k3s"); }

    systemd::UnitState& add(const std::string& name, std::vector<std::string> exec_start) {
        auto& unit = units_.add(name, std::move(exec_start));
        unit.environment = environment_;
        return unit;
    }

    /// A unit whose processes say something else than its ExecStart; the first is the main process.
    void add_with(const std::string& name, std::vector<std::string> exec_start,
                  const std::vector<std::string>& commands) {
        auto& unit = add(name, std::move(exec_start));
        unit.main_pid = 100;
        units_.running[name].clear();
        std::uint32_t pid = unit.main_pid;
        for (const auto& command : commands) {
            units_.running[name].push_back({pid++, command});
        }
    }

    void set_state(const std::string& name, const std::string& state) {
        units_.units[name].active_state = state;
        units_.units[name].main_pid = 0;
        units_.running[name].clear();
    }

    Installation find() {
        Finder finder(units_, wanted_, version_of_, folder_ / "memory.json");
        auto found = finder.find();
        finder.remember(found);
        return found;
    }

    std::string refusal() {
        const auto error = error_of([&] { find(); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return error.what();
    }

    test::TempFolder folder_;
    test::FakeUnits units_;
    std::vector<std::string> environment_;
    Finder::Wanted wanted_;
    Finder::VersionOf version_of_ = [](const auto&) { return kVersion; };
};

TEST_F(FinderTest, TakesTheUnitThatTheInstallerMade) {
    add("k3s.service", {k3s(), "server", "--cluster-init"});
    auto found = find();
    EXPECT_EQ(found.unit, "k3s.service");
    EXPECT_EQ(found.binary, k3s());
    EXPECT_TRUE(found.is_server);
    EXPECT_EQ(found.version, kVersion);
    EXPECT_EQ(found.data_dir, "/var/lib/rancher/k3s");
    EXPECT_EQ(found.by.role, "process 100, \"" + k3s() + " server\"");

    units_.units.clear();
    add("k3s-agent.service", {k3s(), "agent"});
    found = find();
    EXPECT_EQ(found.unit, "k3s-agent.service");
    EXPECT_FALSE(found.is_server);
}

TEST_F(FinderTest, TellsAServerWithAnApiServerFromOneOfEtcdOnly) {
    add("k3s.service", {k3s(), "server"});
    EXPECT_TRUE(find().has_api_server);
    EXPECT_EQ(find().own_server("https://10.0.0.1:6443"), "https://10.0.0.1:6443");
    add("k3s.service", {k3s(), "server", "--disable-apiserver", "--https-listen-port=7443"});
    auto found = find();
    EXPECT_TRUE(found.is_server);
    EXPECT_FALSE(found.has_api_server);
    EXPECT_EQ(found.own_server("https://127.0.0.1:6444"), "https://127.0.0.1:7443");
    EXPECT_EQ(found.own_server("https://[::1]:6444"), "https://[::1]:7443");
    add("k3s.service", {k3s(), "server", "--disable-apiserver"});
    EXPECT_EQ(find().own_server("https://127.0.0.1:6444"), "https://127.0.0.1:6443");
    units_.units.clear();
    add("k3s-agent.service", {k3s(), "agent"});
    EXPECT_FALSE(find().has_api_server);
}

TEST_F(FinderTest, TakesTheUnitThatRunsNotTheOneThatIsOnlyThere) {
    // k3s-ansible leaves k3s.service on agents.
    add("k3s.service", {k3s(), "server"});
    set_state("k3s.service", "inactive");
    add("k3s-agent.service", {k3s(), "agent"});
    const auto found = find();
    EXPECT_EQ(found.unit, "k3s-agent.service");
    EXPECT_FALSE(found.is_server);
}

TEST_F(FinderTest, RefusesWhereTwoRunAndWhereNoneDoes) {
    add("k3s.service", {k3s(), "server"});
    add("k3s-agent.service", {k3s(), "agent"});
    EXPECT_THAT(refusal(),
                AllOf(HasSubstr("k3s-agent.service, k3s.service"), HasSubstr("k3s.unit")));
    wanted_.unit = "k3s-agent.service";
    EXPECT_EQ(find().unit, "k3s-agent.service");
    wanted_.unit.clear();
    std::filesystem::remove(folder_ / "memory.json");

    set_state("k3s.service", "inactive");
    set_state("k3s-agent.service", "failed");
    EXPECT_THAT(refusal(), AllOf(HasSubstr("k3s.service is inactive"),
                                 HasSubstr("k3s-agent.service is failed"),
                                 HasSubstr("starts no k3s that did not run")));
    units_.units.clear();
    EXPECT_THAT(refusal(), HasSubstr("install k3s, or set k3s.unit"));
    wanted_.unit = "x.service";
    EXPECT_THAT(refusal(), HasSubstr("k3s.unit: there is no unit x.service"));
    add("x.service", {k3s(), "server"});
    set_state("x.service", "inactive");
    EXPECT_THAT(refusal(), HasSubstr("k3s.unit: x.service does not run (inactive)"));
}

TEST_F(FinderTest, FindsAnotherServiceByWhatRunsInIt) {
    add("ssh.service", {"/usr/sbin/sshd", "-D"});
    add("consul.service", {"/usr/bin/consul", "agent"});
    add("k3s-killall.service", {k3s(), "kubectl"});
    add("edge.service", {k3s(), "agent", "--server", "https://x"});
    EXPECT_EQ(find().unit, "edge.service");
}

TEST_F(FinderTest, ReplacesTheProgramThatRunsNotTheScriptThatStartsIt) {
    add_with("k3s-agent.service", {path("start.sh")}, {k3s() + " agent"});
    auto found = find();
    EXPECT_EQ(found.binary, k3s());
    EXPECT_FALSE(found.is_server);
    // A script that waits for what it has started: to be stopped with it, or not.
    add_with("k3s-agent.service", {path("start.sh")},
             {"/bin/sh " + path("start.sh"), k3s() + " agent", "containerd -c /x"});
    units_.units["k3s-agent.service"].kill_mode = "process";
    EXPECT_THAT(refusal(), AllOf(HasSubstr("leaves k3s running (KillMode=process)"),
                                 HasSubstr("`exec " + k3s())));
    units_.units["k3s-agent.service"].kill_mode = "control-group";
    EXPECT_EQ(find().binary, k3s());
    // One that says no path, where nothing else tells it.
    add_with("k3s-agent.service", {path("start.sh")}, {"k3s agent"});
    EXPECT_THAT(refusal(), AllOf(HasSubstr("start.sh"), HasSubstr("set k3s.binary")));
    wanted_.binary = path("other");
    EXPECT_EQ(find().binary, path("other"));
}

TEST_F(FinderTest, KnowsTheRoleOfOneThatLogsToAFile) {
    for (const auto* parent : {" init", ""}) {
        add_with("k3s.service", {k3s(), "server", "--log", "/x"}, {k3s() + parent, "k3s server"});
        const auto found = find();
        EXPECT_TRUE(found.is_server);
        EXPECT_EQ(found.binary, k3s());
    }
}

TEST_F(FinderTest, KnowsTheRoleByWhatRunsWhereTheUnitDoesNotSayIt) {
    // Every KubeKey cluster.
    add_with("k3s.service", {k3s(), "$K3S_CMD"}, {k3s() + " server"});
    EXPECT_TRUE(find().is_server);
    // While it starts, by the unit's arguments with its environment.
    environment_.emplace_back("K3S_CMD=server --data-dir /mnt/k3s");
    add_with("k3s.service", {k3s(), "$K3S_CMD"}, {});
    const auto found = find();
    EXPECT_TRUE(found.is_server);
    EXPECT_EQ(found.data_dir, "/mnt/k3s");
    EXPECT_EQ(found.by.role, "the unit's arguments");
    std::filesystem::remove(folder_ / "memory.json");
    environment_.pop_back();
    add_with("k3s.service", {k3s(), "$K3S_CMD"}, {});
    EXPECT_THAT(refusal(), HasSubstr("whether as server or as agent"));
}

TEST_F(FinderTest, KnowsOneThatCrashesByWhatRanHereBefore) {
    add_with("k3s-agent.service", {path("start.sh")}, {k3s() + " agent", "containerd"});
    find();
    for (const auto* state : {"activating", "failed"}) {
        set_state("k3s-agent.service", state);
        const auto found = find();
        EXPECT_EQ(found.unit, "k3s-agent.service") << state;
        EXPECT_EQ(found.binary, k3s());
        EXPECT_FALSE(found.is_server);
    }
    set_state("k3s-agent.service", "inactive");
    EXPECT_THAT(refusal(), HasSubstr("k3s-agent.service is inactive"));
}

TEST_F(FinderTest, FollowsALinkToTheFileThatIsToBeReplaced) {
    std::filesystem::create_symlink(k3s(), folder_ / "link");
    add("k3s.service", {(folder_ / "link").string(), "server"});
    EXPECT_EQ(find().binary, k3s());
}

TEST_F(FinderTest, SaysWhatIsWrongWithAUnitThatCouldNotBeRestarted) {
    auto& unit = add("k3s.service", {k3s(), "server"});
    unit.load_state = "bad-setting";
    unit.load_error = "Unit has a bad unit file setting.";
    EXPECT_THAT(refusal(),
                AllOf(HasSubstr("k3s.service runs, but could not be restarted"),
                      HasSubstr("bad-setting: Unit has a bad"), HasSubstr("daemon-reload")));
    set_state("k3s.service", "inactive");
    unit.load_state = "masked";
    EXPECT_THAT(refusal(), HasSubstr("k3s.service is masked"));
}

TEST_F(FinderTest, TakesTheProgramAndNotTheNameThatItIsGiven) {
    // ExecStart=@/opt/k3s argv0 server
    auto& unit = add("k3s.service", {"my-k3s", "server"});
    unit.exec_path = k3s();
    units_.running["k3s.service"] = {{100, "my-k3s server"}};
    EXPECT_EQ(find().binary, k3s());
}

TEST_F(FinderTest, RefusesWhatIsNoK3s) {
    version_of_ = [](const std::filesystem::path& binary) -> plan::Version {
        throw Error(ErrorKind::invalid, binary.string() + ": is no ELF program");
    };
    add("k3s.service", {path("start.sh"), "server"});
    EXPECT_THAT(refusal(),
                AllOf(HasSubstr("start.sh: is no ELF program"), HasSubstr("set k3s.binary")));
}

TEST_F(FinderTest, AsksAProgramOnceUntilItChanges) {
    int asked = 0;
    version_of_ = [&asked](const auto&) {
        ++asked;
        return kVersion;
    };
    add("k3s.service", {k3s(), "server"});
    Finder finder(units_, {}, version_of_, folder_ / "memory.json");
    finder.find();
    finder.find();
    EXPECT_EQ(asked, 1);
    test::write_text(folder_ / "k3s", "replaced");
    finder.find();
    EXPECT_EQ(asked, 2);
}

TEST_F(FinderTest, KnowsWhereK3sKeepsItsData) {
    add("k3s.service", {k3s(), "server", "--data-dir", "/mnt/k3s/"});
    auto found = find();
    EXPECT_EQ(found.data_dir, "/mnt/k3s");
    EXPECT_EQ(found.kubeconfig(), "/mnt/k3s/agent/kubelet.kubeconfig");
    EXPECT_EQ(found.snapshots, "/mnt/k3s/server/db/snapshots");

    test::write_text(folder_ / "config.yaml",
                     "data-dir: /of/config\netcd-snapshot-dir: /snapshots\n");
    environment_ = {"K3S_CONFIG_FILE=" + path("config.yaml"), "K3S_DATA_DIR=/of/environment"};
    add("k3s.service", {k3s(), "server"});
    found = find();
    EXPECT_EQ(found.data_dir, "/of/config");
    EXPECT_EQ(found.by.data_dir, path("config.yaml"));
    EXPECT_EQ(found.snapshots, "/snapshots");

    environment_ = {"K3S_CONFIG_FILE=/dev/null", "K3S_DATA_DIR=/of/environment"};
    add("k3s.service", {k3s(), "server"});
    EXPECT_EQ(find().data_dir, "/of/environment");
    version_of_ = [](const auto&) { return plan::Version{1, 30, 2, 0, 1}; };
    EXPECT_EQ(find().data_dir, "/var/lib/rancher/k3s") << "not a setting of that version";
    wanted_.data_dir = "/of/ours";
    EXPECT_EQ(find().data_dir, "/of/ours");
}

TEST_F(FinderTest, TakesNoArgumentsOfAScriptForK3ss) {
    add_with("k3s.service", {path("start.sh"), "--data-dir", "/of/the/script"},
             {k3s() + " server"});
    EXPECT_EQ(find().data_dir, "/var/lib/rancher/k3s");
}

TEST_F(FinderTest, ReadsWhatElseConcernsAnUpgrade) {
    add("k3s.service", {k3s(), "server"});
    auto found = find();
    EXPECT_TRUE(found.default_registry_endpoint && found.registries.empty());
    EXPECT_TRUE(found.fails_on_cgroup_v1);
    add("k3s.service",
        {k3s(), "server", "--private-registry", "/x.yaml", "--disable-default-registry-endpoint",
         "--kubelet-arg", "fail-cgroupv1=false"});
    found = find();
    EXPECT_FALSE(found.default_registry_endpoint);
    EXPECT_EQ(found.registries, "/x.yaml");
    EXPECT_FALSE(found.fails_on_cgroup_v1);
}

TEST_F(FinderTest, RefusesWhatIsNotSupportedInALine) {
    for (const auto* flag : {"disable-agent", "rootless"}) {
        add("k3s.service", {k3s(), "server", format("--{}", flag)});
        EXPECT_THAT(refusal(), AllOf(HasSubstr(format("--{}, which is not supported", flag)),
                                     Not(HasSubstr("\n"))));
    }
}

TEST_F(FinderTest, GivesTheEnvironmentOfWhatRunsOrRanLast) {
    environment_.emplace_back("HTTPS_PROXY=http://proxy");
    add("k3s.service", {k3s(), "server"});
    find();
    const Finder finder(units_, {}, version_of_, folder_ / "memory.json");
    EXPECT_EQ(finder.environment().at("HTTPS_PROXY"), "http://proxy");
    set_state("k3s.service", "inactive");
    EXPECT_EQ(finder.environment().at("HTTPS_PROXY"), "http://proxy");
    std::filesystem::remove(folder_ / "memory.json");
    EXPECT_TRUE(finder.environment().empty());
}

TEST_F(FinderTest, BelievesNoMemoryThatIsBroken) {
    for (const auto* text : {"", "{", "[]", "{}", R"({"unit": "k3s.service", "binary": "k3s"})"}) {
        test::write_text(folder_ / "memory.json", text);
        const Finder finder(units_, {}, version_of_, folder_ / "memory.json");
        EXPECT_FALSE(finder.remembered()) << text;
    }
}

class NodeTest : public ::testing::Test {
  protected:
    NodeTest() {
        found_.unit = "k3s-agent.service";
        found_.binary = "/usr/local/bin/k3s";
        found_.version = kVersion;
        found_.data_dir = "/var/lib/rancher/k3s";
        found_.by.role = "process 7";
        node_ = {
            {"metadata",
             {{"labels", Json::object()}, {"annotations", {{"k3s.io/node-args", R"(["agent"])"}}}}},
            {"status", {{"nodeInfo", {{"kubeletVersion", "v1.30.4+k3s1"}}}}}};
    }

    std::string refusal() {
        const auto error = error_of([&] { check_against_node(found_, node_); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return error.what();
    }

    Installation found_;
    Json node_;
};

TEST_F(NodeTest, MustNotContradictWhatWasFound) {
    EXPECT_NO_THROW(check_against_node(found_, node_));
    node_["metadata"]["labels"]["node-role.kubernetes.io/worker"] = "true";
    node_["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = "false";
    EXPECT_NO_THROW(check_against_node(found_, node_));
    for (const auto* label : {"node-role.kubernetes.io/control-plane",
                              "node-role.kubernetes.io/master", "node-role.kubernetes.io/etcd"}) {
        node_["metadata"]["labels"] = {{label, "true"}};
        EXPECT_THAT(refusal(), AllOf(HasSubstr(label), HasSubstr("process 7")));
    }
    found_.is_server = true;
    EXPECT_THAT(refusal(), HasSubstr("k3s.io/node-args says `k3s agent`"));
    node_["metadata"].erase("annotations");
    EXPECT_NO_THROW(check_against_node(found_, node_));
    node_["metadata"].erase("labels");
    EXPECT_NO_THROW(check_against_node(found_, node_)) << "labels may be lost";
}

TEST_F(NodeTest, RunsTheProgramThatIsThere) {
    node_["status"]["nodeInfo"]["kubeletVersion"] = "v1.29.9+k3s1";
    EXPECT_THAT(refusal(), AllOf(HasSubstr("/usr/local/bin/k3s is v1.30.4+k3s1"),
                                 HasSubstr("the Node reports v1.29.9+k3s1"),
                                 HasSubstr("restart k3s, or set k3s.binary")));
    EXPECT_NO_THROW(check_against_node(found_, node_, kVersion)) << "there already, not started";
}

TEST_F(NodeTest, SaysWhereK3sKeepsItsData) {
    node_["metadata"]["annotations"]["k3s.io/node-args"] = R"(["agent","--data-dir","/mnt/k3s"])";
    EXPECT_THAT(refusal(), AllOf(HasSubstr("says /mnt/k3s"), HasSubstr("set k3s.data_dir")));
    found_.data_dir = "/mnt/k3s";
    EXPECT_NO_THROW(check_against_node(found_, node_));
    node_["metadata"]["annotations"]["k3s.io/node-args"] = "no JSON";
    EXPECT_NO_THROW(check_against_node(found_, node_));
}

}  // namespace
}  // namespace kua::k3s
