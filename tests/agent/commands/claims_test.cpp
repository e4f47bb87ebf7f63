// SPDX-License-Identifier: Apache-2.0
#include "agent/commands/claims.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include "lib/base/format.hpp"
#include "tests/agent/support.hpp"

namespace kua::commands {
namespace {

using ::testing::HasSubstr;
using State = Claim::State;

TEST(Claims, AreOneAgents) {
    const test::TempFolder folder;
    Claims first;
    EXPECT_EQ(first.claim(folder / "state").state, State::ours);
    EXPECT_EQ(first.claim(folder / "state").state, State::ours) << "a configuration is read again";
    Claims second;
    const auto refused = second.claim(folder / "state");
    EXPECT_EQ(refused.state, State::anothers);
    EXPECT_THAT(refused.why, HasSubstr(format("process {}, ", ::getpid())));
    EXPECT_THAT(refused.why, HasSubstr("state/agent.lock"));
    EXPECT_THAT(refused.why, HasSubstr("systemctl status k3s-upgrade-agent"));
}

TEST(Claims, AreKeptWhenTheConfigurationNamesAnotherFolder) {
    const test::TempFolder folder;
    Claims first;
    EXPECT_EQ(first.claim(folder / "one").state, State::ours);
    EXPECT_EQ(first.claim(folder / "two").state, State::ours);
    Claims second;
    EXPECT_EQ(second.claim(folder / "one").state, State::anothers);
    EXPECT_EQ(second.claim(folder / "two").state, State::anothers);
    EXPECT_EQ(first.claim(folder / "one").state, State::ours);
}

TEST(Claims, KnowTheSameFolderByAnotherName) {
    const test::TempFolder folder;
    Claims claims;
    EXPECT_EQ(claims.claim(folder / "state").state, State::ours);
    std::filesystem::create_directory_symlink(folder / "state", folder / "link");
    EXPECT_EQ(claims.claim(folder / "link").state, State::ours);
    EXPECT_EQ(claims.claim(folder / "state/.").state, State::ours);
}

TEST(Claims, AreMadeAgainWhereTheFolderWasRemoved) {
    const test::TempFolder folder;
    Claims first;
    EXPECT_EQ(first.claim(folder / "state").state, State::ours);
    std::filesystem::remove_all(folder / "state");
    EXPECT_EQ(first.claim(folder / "state").state, State::ours);
    Claims second;
    EXPECT_EQ(second.claim(folder / "state").state, State::anothers);
}

TEST(Claims, FailWhereThereCanBeNoFolder) {
    const test::TempFolder folder;
    test::write_text(folder / "file", "");
    Claims claims;
    const auto failed = claims.claim(folder / "file" / "state");
    EXPECT_EQ(failed.state, State::failed);
    EXPECT_THAT(failed.why, HasSubstr("file"));
}

}  // namespace
}  // namespace kua::commands
