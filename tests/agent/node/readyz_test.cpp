// SPDX-License-Identifier: Apache-2.0
#include "agent/node/readyz.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"
#include "tests/fakes/fake_clock.hpp"

namespace kua::node {
namespace {

using std::chrono::seconds;
using test::error_of;
using test::FakeApi;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

/// As kube-apiserver 1.30 says it.
constexpr auto kNotReady =
    "[+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\n"
    "[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\nreadyz check failed\n";

TEST(FailingChecks, AreReadFromTheVerboseAnswer) {
    EXPECT_THAT(failing_checks(kNotReady),
                ElementsAre("etcd", "poststarthook/rbac/bootstrap-roles"));
    EXPECT_THAT(failing_checks("[+]ping ok\nreadyz check passed\n"), IsEmpty());
    EXPECT_THAT(failing_checks(""), IsEmpty());
    EXPECT_THAT(failing_checks("[-]"), ElementsAre(""));
    std::string many;
    for (int line = 0; line < 1000; ++line) {
        many += "[-]" + std::string(1000, 'x') + " failed\n";
    }
    EXPECT_THAT(failing_checks(many), SizeIs(10));
    EXPECT_LT(failing_checks(many).front().size(), 200U);
}

class ApiReady : public ::testing::Test {
  protected:
    /// What the API server answers, one after the other; the last one from then on.
    void answers(std::vector<int> statuses) {
        api_.before([this, statuses](const FakeApi::Seen& request) {
            EXPECT_EQ(request.text(), "GET /readyz");
            EXPECT_TRUE(request.query.contains("verbose"));
            const auto turn = std::min(static_cast<std::size_t>(asked_++), statuses.size() - 1);
            const auto status = statuses[turn];
            return std::optional(
                http::Response{status, {}, status == 200 ? "ok" : kNotReady, FakeApi::kServer});
        });
    }
    void wait() { wait_api_ready(client_, clock_, seconds(20), {}); }

    test::TempFolder folder_;
    FakeApi api_;
    test::FakeClock clock_;
    kube::Client client_{api_, test::write_kubeconfig(folder_)};
    int asked_ = 0;
};

TEST_F(ApiReady, IsWaitedFor) {
    answers({500, 401, 500, 200});
    EXPECT_NO_THROW(wait());
    EXPECT_EQ(asked_, 4);
}

TEST_F(ApiReady, FailsWithTheChecksThatDo) {
    answers({500});
    const auto error = error_of([&] { wait(); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("is not ready after 20s (/readyz): failing checks: etcd, "
                                "poststarthook/rbac/bootstrap-roles"),
                      Not(HasSubstr("ping"))));
}

TEST_F(ApiReady, FailsWhenNobodyAnswers) {
    api_.set_down(true);
    EXPECT_EQ(error_of([&] { wait(); }).kind(), ErrorKind::failed);
}

TEST_F(ApiReady, IsNotToBeKnownWhereANodeMayNotAsk) {
    for (const int status : {403, 404}) {
        asked_ = 0;
        answers({status});
        EXPECT_NO_THROW(wait());
        EXPECT_EQ(asked_, 1);
    }
}

}  // namespace
}  // namespace kua::node
