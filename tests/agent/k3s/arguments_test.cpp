// SPDX-License-Identifier: Apache-2.0
#include "agent/k3s/arguments.hpp"

#include <gmock/gmock.h>

#include "lib/base/format.hpp"
#include "tests/agent/support.hpp"

namespace kua::k3s {
namespace {

using test::error_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ArgumentsTest : public ::testing::Test {
  protected:
    [[nodiscard]] std::string file(const std::string& name) const {
        return (folder_ / name).string();
    }

    void write(const std::string& name, const std::string& text) const {
        std::filesystem::create_directories((folder_ / name).parent_path());
        test::write_text(folder_ / name, text);
    }

    /// With a configuration file of the test's, wherever k3s looks for one.
    [[nodiscard]] Arguments read(std::vector<std::string> words) const {
        return {std::move(words), {{"K3S_CONFIG_FILE", file("config.yaml")}}};
    }

    [[nodiscard]] std::string data_dir(std::vector<std::string> words) const {
        const auto told = read(std::move(words)).value({"data-dir", "d"});
        return told ? told->value + " by " + told->where : "-";
    }

    test::TempFolder folder_;
};

TEST_F(ArgumentsTest, AreReadInEveryWayThatK3sTakesThem) {
    const std::string by = " by the unit's arguments";
    for (const auto& words : std::vector<std::vector<std::string>>{
             {"server", "--data-dir", "/mnt/k3s"},
             {"server", "--data-dir=/mnt/k3s"},
             {"server", "-d", "/mnt/k3s"},
             {"server", "-d=/mnt/k3s"},
             {"server", "-data-dir", "/mnt/k3s"},
             {"--debug", "server", "--cluster-init", "--data-dir", "/mnt/k3s", "--disable", "x"},
             {"server", "--data-dir", "/srv/other", "--data-dir", "/mnt/k3s"}}) {
        EXPECT_EQ(data_dir(words), "/mnt/k3s" + by) << join(words, " ");
    }
    EXPECT_EQ(data_dir({"server", "--data-dirs", "/x", "--node-label", "data-dir=/x"}), "-");
    EXPECT_EQ(data_dir({}), "-");
}

TEST_F(ArgumentsTest, KnowTheCommandWhateverComesBeforeIt) {
    EXPECT_EQ(read({"--debug", "server"}).command(), "server");
    EXPECT_EQ(read({"agent", "--node-name", "server"}).command(), "agent");
    EXPECT_EQ(read({"kubectl"}).command(), "");
}

TEST_F(ArgumentsTest, WinOverFilesAndALaterFileOverAnEarlierOne) {
    write("config.yaml", "data-dir: /of/config\nnode-name: x\n");
    EXPECT_EQ(data_dir({"server"}), "/of/config by " + file("config.yaml"));
    write("config.yaml.d/10-a.yaml", "data-dir: /of/a\n");
    write("config.yaml.d/20-b.yaml", "data-dir: /of/b\n");
    write("config.yaml.d/30-c.txt", "data-dir: /of/no/yaml\n");
    EXPECT_EQ(data_dir({"server"}), "/of/b by " + file("config.yaml.d/20-b.yaml"));
    EXPECT_EQ(data_dir({"server", "-d", "/of/argument"}), "/of/argument by the unit's arguments");
}

TEST_F(ArgumentsTest, NameTheFileThemselvesUnlessTheEnvironmentDoes) {
    write("one.yaml", "data-dir: /of/one\n");
    write("two.yaml", "data-dir: /of/two\n");
    for (const auto& words : {std::vector<std::string>{"server", "--config", file("one.yaml")},
                              std::vector<std::string>{"server", "-c", file("one.yaml")},
                              std::vector<std::string>{"server", "--config=" + file("one.yaml")}}) {
        EXPECT_EQ(Arguments(words, {}).value({"data-dir"})->value, "/of/one");
        EXPECT_EQ(
            Arguments(words, {{"K3S_CONFIG_FILE", file("two.yaml")}}).value({"data-dir"})->value,
            "/of/two");
    }
}

TEST_F(ArgumentsTest, AddToAListWhereTheKeySaysSo) {
    write("config.yaml", "kubelet-arg: [a=1, b=2]\n");
    EXPECT_THAT(read({"server"}).values("kubelet-arg"), ElementsAre("a=1", "b=2"));
    write("config.yaml.d/1.yaml", "kubelet-arg+: c=3\n");
    EXPECT_THAT(read({"server"}).values("kubelet-arg"), ElementsAre("a=1", "b=2", "c=3"));
    write("config.yaml.d/2.yaml", "kubelet-arg: [d=4]\n");
    EXPECT_THAT(read({"server"}).values("kubelet-arg"), ElementsAre("d=4"));
    EXPECT_THAT(read({"server", "--kubelet-arg", "e=5", "--kubelet-arg=f=6"}).values("kubelet-arg"),
                ElementsAre("e=5", "f=6"));
    EXPECT_THAT(read({"server"}).values("kube-proxy-arg"), IsEmpty());
}

TEST_F(ArgumentsTest, KnowAFlagThatIsSet) {
    write("config.yaml", "rootless: true\ndisable-agent: false\n");
    EXPECT_TRUE(read({"server"}).is_set("rootless"));
    EXPECT_FALSE(read({"server"}).is_set("disable-agent"));
    EXPECT_TRUE(read({"server", "--disable-agent"}).is_set("disable-agent"));
    EXPECT_FALSE(read({"server", "--rootless=false"}).is_set("rootless"));
    EXPECT_FALSE(read({"server"}).is_set("docker"));
}

TEST_F(ArgumentsTest, NameTheFileThatK3sCouldNotReadEither) {
    write("config.yaml", "data-dir: [\n");
    const auto error = error_of([&] { (void)read({"server"}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("k3s's configuration"), HasSubstr("config.yaml")));
    write("config.yaml", "- data-dir\n");
    EXPECT_THAT(error_of([&] { (void)read({"server"}); }).what(), HasSubstr("must be a mapping"));
    write("config.yaml", "");
    EXPECT_EQ(data_dir({"server"}), "-");
}

TEST_F(ArgumentsTest, AreOnTheNodeToo) {
    const auto told = Arguments::of_node(R"(["server","--data-dir","/mnt/k3s","--token","***"])");
    ASSERT_TRUE(told);
    EXPECT_EQ(told->command(), "server");
    EXPECT_EQ(told->value({"data-dir"})->value, "/mnt/k3s");
    EXPECT_FALSE(Arguments::of_node("server"));
    EXPECT_FALSE(Arguments::of_node("{}"));
    EXPECT_FALSE(Arguments::of_node(""));
}

}  // namespace
}  // namespace kua::k3s
