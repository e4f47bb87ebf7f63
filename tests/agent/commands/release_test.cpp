// SPDX-License-Identifier: Apache-2.0
#include "agent/commands/release.hpp"

#include <gmock/gmock.h>

#include <sstream>

#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"
#include "tests/fakes/fake_clock.hpp"

namespace kua::commands {
namespace {

using test::error_of;
using test::FakeApi;
using test::FakeClock;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kLock = "/api/v1/namespaces/system-upgrade/configmaps/k3s-upgrade-agent";
constexpr auto kNow = "2026-01-01T00:00:00Z";

lock::Slot slot(const std::string& plan, const std::string& node, const std::string& phase,
                const std::string& detail = "no heartbeat",
                const std::string& renewed = "2025-12-31T23:58:00.000000Z") {
    return {plan, node, phase, "hash", "v1.31.4+k3s1", "t0", renewed, 900, detail};
}

lock::Lock lock_of(const std::vector<lock::Slot>& slots) {
    lock::Lock made;
    for (const auto& one : slots) {
        made.slots.emplace(lock::slot_key(one.plan, one.node), one);
    }
    return made;
}

std::vector<std::string> keys_of(const Freeing& choice) {
    std::vector<std::string> keys;
    for (const auto& [key, one] : choice.freed) {
        keys.push_back(key);
    }
    return keys;
}

TEST(Release, FreesWhatIsOverAndRefusesWhatIsHeld) {
    const auto lock = lock_of({
        slot("a", "n1", "Failed"),
        slot("b", "n1", "Blocked"),
        slot("c", "n1", "Draining"),
        slot("d", "n1", "Acquired"),
        slot("a", "n2", "Failed"),
        slot("c", "n2", "Draining"),
    });
    const struct {
        const char* node;
        const char* plan;
        bool force;
        std::vector<std::string> freed;
        std::size_t refused;
    } cases[] = {
        {"n1", "", false, {"a.n1", "b.n1"}, 2},
        {"n1", "a", false, {"a.n1"}, 0},
        {"n1", "b", false, {"b.n1"}, 0},
        {"n1", "c", false, {}, 1},
        {"n1", "c", true, {"c.n1"}, 0},
        {"n1", "", true, {"a.n1", "b.n1", "c.n1", "d.n1"}, 0},
        {"n1", "e", true, {}, 0},
        {"n2", "", false, {"a.n2"}, 1},
        {"n3", "", true, {}, 0},
        {"n3", "a", false, {}, 0},
    };
    for (const auto& test : cases) {
        const auto choice =
            choose_to_free(lock, test.node, test.plan, test.force, parse_rfc3339(kNow));
        EXPECT_EQ(keys_of(choice), test.freed) << test.node << " " << test.plan << test.force;
        EXPECT_THAT(choice.refused, SizeIs(test.refused)) << test.node << " " << test.plan;
    }
}

TEST(Release, SaysWhyASlotIsRefusedAndWhatToDo) {
    const struct {
        const char* renewed;
        const char* expected;
        const char* advice;
    } cases[] = {
        {"2025-12-31T23:58:00.000000Z",
         "it is Draining: 2 pods left, renewed 2m ago by the clock of n1",
         "its agent is at work: wait for it"},
        // A clock that is ahead of ours.
        {"2026-01-01T03:00:00.000000Z", "renewed 0ms ago by", "its agent is at work"},
        {"2025-12-31T23:45:01.000000Z", "renewed 14m59s ago by", "its agent is at work"},
        {"2025-12-31T23:45:00.000000Z", "renewed 15m ago by the clock of n1, and its lease is 15m",
         "If you know that n1 is down, or back and at rest, free it with --force"},
        {"soon", "renewed never by", "its agent is silent"},
        {"", "renewed never by", "its agent is silent"},
    };
    for (const auto& test : cases) {
        const auto choice =
            choose_to_free(lock_of({slot("p", "n1", "Draining", "2 pods left", test.renewed)}),
                           "n1", "", false, parse_rfc3339(kNow));
        EXPECT_THAT(choice.refused,
                    ElementsAre(AllOf(HasSubstr("p on n1 is not freed"), HasSubstr(test.expected),
                                      HasSubstr(test.advice), HasSubstr("--force"))))
            << test.renewed;
    }
}

TEST(Release, TakesTheCredentialsThatMayDoIt) {
    const struct {
        const char* name;
        const char* node;
        const char* given;
        Surroundings around;
        const char* expected;
        bool kubelets;
    } cases[] = {
        {"the node's own",
         "n1",
         "",
         {"n1", "", "/kubelet", "/env", "/k3s", true},
         "/kubelet",
         true},
        {"what is given comes first",
         "n1",
         "/given",
         {"n1", "", "/kubelet", "", "/k3s", false},
         "/given",
         false},
        {"another node, from the environment",
         "n2",
         "",
         {"n1", "", "/kubelet", "/env", "/k3s", true},
         "/env",
         false},
        {"another node, on a server",
         "n2",
         "",
         {"n1", "", "/kubelet", "", "/k3s", true},
         "/k3s",
         false},
        {"a host that is no node",
         "n2",
         "",
         {std::nullopt, "x", "/kubelet", "/env", "/k3s", false},
         "/env",
         false},
    };
    for (const auto& test : cases) {
        const auto access = access_to(test.node, test.given, test.around);
        EXPECT_EQ(access.kubeconfig, test.expected) << test.name;
        EXPECT_EQ(access.kubelets, test.kubelets) << test.name;
    }
}

TEST(Release, SaysWhoseCredentialsItNeeds) {
    const auto error = error_of([] {
        access_to("n2", "", {"n1", "", "/kubelet", "", "/etc/rancher/k3s/k3s.yaml", false});
    });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("n2 is not this host's node"),
                                    HasSubstr("--kubeconfig or $KUBECONFIG"),
                                    HasSubstr("/etc/rancher/k3s/k3s.yaml")));
    EXPECT_THAT(error_of([] {
                    access_to("n2", "", {"n1", "", "/kubelet", "/a:/b", "/k3s", true});
                }).what(),
                HasSubstr("KUBECONFIG=\"/a:/b\" is a list"));
    EXPECT_THAT(error_of([] {
                    access_to("n1", "", {std::nullopt, "permission denied", "/k", "", "", false});
                }).what(),
                HasSubstr("can't tell whether n1 is this host's node (permission denied)"));
}

class ReleaseSlotsTest : public ::testing::Test {
  protected:
    ReleaseSlotsTest() {
        api_.put(kLock, {{"metadata", {{"name", "k3s-upgrade-agent"}}}});
        put(slot("a", "n1", "Failed"));
        put(slot("b", "n1", "Draining", "2 pods\nleft"));
        put(slot("a", "n2", "Failed"));
    }

    void put(const lock::Slot& one) {
        api_.edit(kLock, {{"data", {{lock::slot_key(one.plan, one.node), to_json(one).dump()}}}});
    }

    int release(const std::string& node, const std::string& plan = {}, bool force = false) {
        out_.str({});
        errors_.str({});
        lock::LockSettings settings;
        settings.node = node;
        lock::Slots slots(client_, clock_, settings);
        ReleaseOptions options;
        options.plan = plan;
        options.force = force;
        return release_slots(slots, clock_, options, out_, errors_);
    }

    [[nodiscard]] std::vector<std::string> keys() const {
        std::vector<std::string> keys;
        const auto data = api_.get(kLock).at("data");
        for (const auto& [key, value] : data.items()) {
            keys.push_back(key);
        }
        return keys;
    }

    test::TempFolder folder_;
    FakeApi api_;
    FakeClock clock_;
    kube::Client client_{api_, test::write_kubeconfig(folder_)};
    std::ostringstream out_;
    std::ostringstream errors_;
};

TEST_F(ReleaseSlotsTest, FreesAndSaysSo) {
    EXPECT_EQ(release("n1", "a"), 0);
    EXPECT_EQ(out_.str(), "freed a on n1: Failed, v1.31.4+k3s1, no heartbeat\n");
    EXPECT_EQ(errors_.str(), "");
    EXPECT_THAT(keys(), ElementsAre("a.n2", "b.n1"));
}

TEST_F(ReleaseSlotsTest, FreesTheFailedOnesAndNamesTheOthers) {
    EXPECT_EQ(release("n1"), 0);
    EXPECT_THAT(out_.str(), HasSubstr("freed a on n1"));
    EXPECT_THAT(errors_.str(), HasSubstr("b on n1 is not freed: it is Draining: 2 pods left"));
    EXPECT_THAT(keys(), ElementsAre("a.n2", "b.n1"));
}

TEST_F(ReleaseSlotsTest, FailsWhereAllOfItIsRefused) {
    EXPECT_EQ(release("n1", "b"), 1);
    EXPECT_EQ(out_.str(), "");
    EXPECT_THAT(errors_.str(), HasSubstr("b on n1 is not freed"));
    EXPECT_THAT(api_.requests(), SizeIs(1)) << "reading is all that was done";
}

TEST_F(ReleaseSlotsTest, FailsWhereThereIsNothingAndSaysWhereThereIs) {
    EXPECT_EQ(release("n3", "a"), 1);
    EXPECT_EQ(errors_.str(), "nothing to free: n3 has no slot of a; Failed are a on n1, a on n2\n");
    EXPECT_EQ(release("n1", "a"), 0);
    EXPECT_EQ(release("n1", "a"), 1);
    EXPECT_EQ(errors_.str(), "nothing to free: n1 has no slot of a; Failed are a on n2\n");
    EXPECT_EQ(release("n2"), 0);
    EXPECT_EQ(release("n2"), 1);
    EXPECT_EQ(errors_.str(), "nothing to free: n2 has no slot\n");
}

TEST_F(ReleaseSlotsTest, TakesAHeldSlotAwayByForce) {
    EXPECT_EQ(release("n1", "b", true), 0);
    EXPECT_EQ(out_.str(), "freed b on n1: Draining, v1.31.4+k3s1, 2 pods left\n");
    EXPECT_THAT(keys(), ElementsAre("a.n1", "a.n2"));
}

TEST_F(ReleaseSlotsTest, DecidesAnewAfterAConflict) {
    // While it decides, the node begins anew: what was Failed is held now.
    bool began = false;
    api_.before([&](const FakeApi::Seen& request) -> std::optional<http::Response> {
        if (request.method == "PATCH" && !began) {
            began = true;
            put(slot("a", "n1", "Draining"));
        }
        return std::nullopt;
    });
    EXPECT_EQ(release("n1", "a"), 1);
    EXPECT_EQ(out_.str(), "");
    EXPECT_THAT(errors_.str(), HasSubstr("it is Draining"));
    EXPECT_THAT(keys(), ElementsAre("a.n1", "a.n2", "b.n1"));
}

TEST_F(ReleaseSlotsTest, FailsWhereThereIsNoLock) {
    api_.remove(kLock);
    EXPECT_THAT(error_of([&] { release("n1"); }).what(),
                HasSubstr("does not exist; apply deploy/"));
}

/// The command itself, on a host that is set up by its configuration.
class ReleaseCommandTest : public ::testing::Test {
  protected:
    std::filesystem::path config(const std::string& text) {
        test::write_text(folder_ / "config.yaml", text);
        return folder_ / "config.yaml";
    }

    test::TempFolder folder_;
};

TEST_F(ReleaseCommandTest, AsksWhichNodeOnAHostThatIsNone) {
    const auto path = config("node: {kubeconfig: " + (folder_ / "none").string() + "}\n");
    const auto error = error_of([&] { release(path, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr((folder_ / "none").string()), HasSubstr("name one with --node")));
}

TEST_F(ReleaseCommandTest, ReadsTheKubeconfigThatIsGiven) {
    ReleaseOptions options;
    options.node = "n2";
    options.kubeconfig = folder_ / "admin";
    const auto error = error_of([&] { release(config("node: {name: n1}\n"), options); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr((folder_ / "admin").string()));
}

}  // namespace
}  // namespace kua::commands
