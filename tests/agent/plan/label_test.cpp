// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/label.hpp"

#include <gtest/gtest.h>

namespace kua::plan {
namespace {

TEST(Label, KeysAreWhatKubernetesTakes) {
    for (const auto& key : {std::string("a"), std::string("upgraded-to"), std::string("A_b.c-9"),
                            std::string("example.org/a"), std::string("a-b.c0/X"),
                            std::string(63, 'a'), std::string(253, 'a') + "/b"}) {
        EXPECT_FALSE(label_key_problem(key)) << key << ' ' << *label_key_problem(key);
    }
    for (const auto& key :
         {std::string(""), std::string("-a"), std::string("a-"), std::string("a b"),
          std::string("a/"), std::string("/a"), std::string("a/b/c"), std::string("Example.org/a"),
          std::string("a..b/c"), std::string("-a.b/c"), std::string("a_b/c"), std::string("\u00e4"),
          std::string(64, 'a'), "b/" + std::string(64, 'a'), std::string(254, 'a') + "/b"}) {
        EXPECT_TRUE(label_key_problem(key)) << key;
    }
}

TEST(Label, ValuesAreWhatKubernetesTakes) {
    for (const auto& value : {std::string(""), std::string("v1.31.4-k3s1"), std::string("True"),
                              std::string("a_b"), std::string(63, 'a')}) {
        EXPECT_FALSE(label_value_problem(value)) << value << ' ' << *label_value_problem(value);
    }
    for (const auto& value :
         {std::string("v1.31.4+k3s1"), std::string("-a"), std::string("a."), std::string("a b"),
          std::string("a/b"), std::string("$(X)"), std::string(" "), std::string(64, 'a')}) {
        EXPECT_TRUE(label_value_problem(value)) << value;
    }
}

TEST(Label, ANodeMaySetItsOwnAndAnyForeignOne) {
    for (const char* key :
         {"a", "example.org/a", "notkubernetes.io/a", "kubernetes.io.example.org/a",
          "kubernetes.io/hostname", "topology.kubernetes.io/zone", "node.kubernetes.io/a",
          "x.node.kubernetes.io/a", "kubelet.kubernetes.io/a", "upgrade.cattle.io/version"}) {
        EXPECT_TRUE(node_may_set(key)) << key;
    }
    for (const char* key :
         {"node-role.kubernetes.io/control-plane", "kubernetes.io/role", "k8s.io/a", "x.k8s.io/a",
          "node-restriction.kubernetes.io/a", "x.node-restriction.kubernetes.io/a"}) {
        EXPECT_FALSE(node_may_set(key)) << key;
    }
}

}  // namespace
}  // namespace kua::plan
