// SPDX-License-Identifier: Apache-2.0
#include "agent/coordinator/cluster_id.hpp"

#include <gmock/gmock.h>

#include <vector>

#include "lib/log/log.hpp"
#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"
#include "tests/fakes/fake_clock.hpp"

namespace kua::coordinator {
namespace {

using test::FakeApi;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr auto kNamespace = "/api/v1/namespaces/kube-system";

class ClusterIdTest : public ::testing::Test {
  protected:
    ClusterIdTest() {
        log::set_sink([this](log::Level level, std::string_view message, const log::Fields&) {
            logged_.emplace_back(level, message);
        });
    }
    ~ClusterIdTest() override { log::set_sink({}); }

    test::TempFolder folder_;
    FakeApi api_;
    test::FakeClock clock_;
    kube::Client client_{api_, test::write_kubeconfig(folder_),
                         [this] { return clock_.monotonic(); }};
    ClusterId id_{client_, clock_};
    std::vector<std::pair<log::Level, std::string>> logged_;
};

TEST_F(ClusterIdTest, IsTheUidOfKubeSystemAndAskedForOnce) {
    api_.put(kNamespace, {{"metadata", {{"name", "kube-system"}, {"uid", "b7c4"}}}});
    EXPECT_EQ(id_.get({}), "b7c4");
    EXPECT_EQ(id_.get({}), "b7c4");
    EXPECT_THAT(api_.requests(), SizeIs(1));
}

TEST_F(ClusterIdTest, IsDoneWithoutWhereANodeMayNotReadIt) {
    api_.before([](const FakeApi::Seen&) {
        return std::optional(FakeApi::refuse(403, "namespaces \"kube-system\" is forbidden"));
    });
    EXPECT_EQ(id_.get({}), "");
    EXPECT_THAT(logged_, SizeIs(0)) << "a server that starts says the same";
    clock_.advance(std::chrono::seconds(30));
    EXPECT_EQ(id_.get({}), "");
    EXPECT_EQ(id_.get({}), "");
    EXPECT_THAT(api_.requests(), SizeIs(2));
    clock_.advance(std::chrono::hours(1));
    EXPECT_EQ(id_.get({}), "");
    EXPECT_THAT(api_.requests(), SizeIs(3));
    ASSERT_THAT(logged_, SizeIs(1)) << "said once";
    EXPECT_EQ(logged_.front().first, log::Level::info);
    EXPECT_THAT(logged_.front().second,
                AllOf(HasSubstr("\"kube-system\" is forbidden"), HasSubstr("apply deploy/")));
    api_.before({});
    api_.put(kNamespace, {{"metadata", {{"name", "kube-system"}, {"uid", "b7c4"}}}});
    clock_.advance(std::chrono::hours(1));
    EXPECT_EQ(id_.get({}), "b7c4");
}

TEST_F(ClusterIdTest, IsNotKnownWhileTheApiIsAway) {
    api_.set_down(true);
    EXPECT_EQ(test::error_of([&] { id_.get({}); }).kind(), ErrorKind::transient);
}

}  // namespace
}  // namespace kua::coordinator
