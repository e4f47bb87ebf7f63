// SPDX-License-Identifier: Apache-2.0
#include "agent/node/cordon.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"

namespace kua::node {
namespace {

using test::error_of;
using test::FakeApi;
using ::testing::HasSubstr;

constexpr auto kNode = "/api/v1/nodes/server-1";

class OwnNodeTest : public ::testing::Test {
  protected:
    OwnNodeTest() {
        api_.put(kNode,
                 {{"metadata", {{"name", "server-1"}, {"labels", {{"keep", "1"}, {"drop", "1"}}}}},
                  {"spec", {{"podCIDR", "10.42.0.0/24"}}}});
    }

    test::TempFolder folder_;
    FakeApi api_;
    kube::Client client_{api_, test::write_kubeconfig(folder_)};
    OwnNode node_{client_, "server-1"};
};

TEST_F(OwnNodeTest, IsCordonedAndUncordonedAgainAndAgain) {
    const auto before = api_.get(kNode);
    for (int i = 0; i < 2; ++i) {
        node_.cordon("server-plan", {});
        const auto node = api_.get(kNode);
        EXPECT_EQ(node.at("spec").at("unschedulable"), true);
        EXPECT_EQ(node.at("metadata").at("annotations").at(plan::kCordonedBy), "server-plan");
        EXPECT_EQ(node.at("spec").at("podCIDR"), "10.42.0.0/24");
        EXPECT_FALSE(cordoned_by_others(node));
    }
    for (int i = 0; i < 2; ++i) {
        node_.uncordon({});
        const auto node = api_.get(kNode);
        EXPECT_FALSE(node.at("spec").contains("unschedulable"));
        EXPECT_FALSE(node.at("metadata").at("annotations").contains(plan::kCordonedBy));
        EXPECT_EQ(node.at("metadata").at("labels"), before.at("metadata").at("labels"));
    }
}

TEST_F(OwnNodeTest, IsLabelled) {
    node_.label({{"plan.upgrade.cattle.io/p", "h"}, {"drop", std::nullopt}}, {});
    EXPECT_EQ(api_.get(kNode).at("metadata").at("labels"),
              Json({{"keep", "1"}, {"plan.upgrade.cattle.io/p", "h"}}));
}

TEST_F(OwnNodeTest, SaysWhatWasRefused) {
    api_.before([](const FakeApi::Seen& request) -> std::optional<http::Response> {
        return request.method == "PATCH" ? std::optional(FakeApi::refuse(403, "not allowed"))
                                         : std::nullopt;
    });
    EXPECT_THAT(error_of([&] { node_.cordon("p", {}); }).what(),
                HasSubstr("cordoning Node server-1: 403 not allowed"));
    api_.remove(kNode);
    EXPECT_EQ(error_of([&] { (void)node_.read({}); }).kind(), ErrorKind::invalid);
}

TEST(Cordon, TellsWhoHasLiftedIt) {
    const Json mark = {{"annotations", {{plan::kCordonedBy, "p"}}}};
    EXPECT_FALSE(uncordoned_by_others(Json::object()));
    EXPECT_FALSE(uncordoned_by_others({{"spec", {{"unschedulable", true}}}, {"metadata", mark}}));
    EXPECT_TRUE(uncordoned_by_others({{"metadata", mark}}));
    EXPECT_FALSE(marked_by_us(Json::object()));
    EXPECT_TRUE(marked_by_us({{"metadata", mark}}));
}

TEST(Cordon, TellsOursFromTheOthers) {
    EXPECT_FALSE(cordoned_by_others(Json::object()));
    EXPECT_FALSE(cordoned_by_others({{"spec", {{"unschedulable", false}}}}));
    EXPECT_TRUE(cordoned_by_others({{"spec", {{"unschedulable", true}}}}));
    EXPECT_FALSE(cordoned_by_others({{"spec", {{"unschedulable", true}}},
                                     {"metadata", {{"annotations", {{plan::kCordonedBy, "p"}}}}}}));
}

}  // namespace
}  // namespace kua::node
