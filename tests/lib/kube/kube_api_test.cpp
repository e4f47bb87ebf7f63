// SPDX-License-Identifier: Apache-2.0
// What lib/kube takes for granted about the API server, seen on a real one.
#include <gmock/gmock.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "lib/kube/objects.hpp"
#include "lib/kube/watch.hpp"
#include "lib/log/log.hpp"
#include "tests/lib/kube/api_fixture.hpp"

namespace kua::kube {
namespace {

using test::environment;
using test::error_of;
using test::KubeApi;
using ::testing::HasSubstr;

std::string value_of(const std::optional<Json>& object) {
    return object ? string_at(*object, {"data", "value"}) : "(absent)";
}

TEST_F(KubeApi, ShowsAWatchWhatHappens) {
    create("a", "1");
    Watch maps(admin_, {config_maps(), {}}, [&] { bell_.ring(); });
    ASSERT_TRUE(bell_.wait([&] { return value_of(maps.get("a")) == "1"; }));
    EXPECT_EQ(maps.get("a")->at("kind"), "ConfigMap");
    EXPECT_EQ(maps.get("a")->at("apiVersion"), "v1");
    create("b", "2");
    ASSERT_TRUE(bell_.wait([&] { return value_of(maps.get("b")) == "2"; }));
    EXPECT_FALSE(maps.get("b")->at("metadata").contains("managedFields"));
    change("a", "3");
    ASSERT_TRUE(bell_.wait([&] { return value_of(maps.get("a")) == "3"; }));
    remove("b");
    ASSERT_TRUE(bell_.wait([&] { return !maps.get("b"); }));
    EXPECT_EQ(maps.snapshot().problem, std::nullopt);
}

TEST_F(KubeApi, ShowsAKubeletItsOwnNode) {
    const std::string name =
        node_name(kubelet_credentials_, environment("KUA_TEST_KUBELET_KUBECONFIG"));
    Watch node(kubelet_, one_node(name), [&] { bell_.ring(); });
    ASSERT_TRUE(bell_.wait([&] { return node.get(name).has_value(); }));
    EXPECT_EQ(node.snapshot().objects.size(), 1U);
    EXPECT_EQ(name_of(*node.get(name)), name);
}

TEST_F(KubeApi, ServesALongListInPages) {
    std::vector<std::jthread> workers;
    workers.reserve(4);
    for (int worker = 0; worker < 4; ++worker) {
        workers.emplace_back([this, worker] {
            for (int i = worker; i < 520; i += 4) create("map-" + std::to_string(i), "x");
        });
    }
    workers.clear();
    Watch maps(admin_, {config_maps(), {}}, [&] { bell_.ring(); });
    ASSERT_TRUE(bell_.wait([&] { return maps.snapshot().synced; }));
    // Some clusters put a ConfigMap of their own into every namespace.
    EXPECT_GE(maps.snapshot().objects.size(), 520U);
}

// That is what bookmarks are for: the version moves on though nothing that we selected has changed.
TEST_F(KubeApi, SendsABookmarkBeforeItEndsAWatch) {
    const Json list = admin_.must({"GET", config_maps()}, {});
    std::vector<std::string> types;
    std::string bookmark;
    Call call{"POST", "/api/v1/namespaces/default/configmaps"};
    call.body = {{"metadata", {{"name", space_}}}};
    const Answer answer = admin_.watch(
        config_maps(),
        {{"watch", "true"},
         {"allowWatchBookmarks", "true"},
         {"resourceVersion", resource_version_of(list)},
         {"timeoutSeconds", "4"}},
        std::chrono::seconds(60),
        [&](const Json& event) {
            types.push_back(event.at("type").get<std::string>());
            bookmark = resource_version_of(event.at("object"));
        },
        {}, [&] { admin_direct_.must(call, {}); });
    EXPECT_EQ(answer.status, 200);
    ASSERT_FALSE(types.empty());
    EXPECT_EQ(types.back(), "BOOKMARK");
    EXPECT_GT(std::stol(bookmark), std::stol(resource_version_of(list)));
    call.method = "DELETE";
    call.path += "/" + space_;
    call.body = nullptr;
    admin_direct_.must(call, {});
}

// A new kind's history begins with its first list; revision 1 lies before it. (Of a built-in kind
// in a cluster minutes old, everything is still remembered.)
TEST_F(KubeApi, SaysThatAnOldVersionIsGone) {
    define_widgets();
    ASSERT_TRUE(wait_for(admin_, {widgets(), {}}, "a", std::chrono::seconds(30),
                         [](const auto&) { return true; }, {}));
    std::optional<std::int64_t> code;
    const Answer answer = admin_.watch(
        widgets(), {{"watch", "true"}, {"resourceVersion", "1"}, {"timeoutSeconds", "5"}},
        std::chrono::seconds(60),
        [&](const Json& event) {
            if (event.at("type") == "ERROR") code = int_at(event, {"object", "code"});
        },
        {});
    EXPECT_TRUE(answer.status == 410 || code == 410) << answer.status << answer.message();
}

// Lets the first watch ask for a version that is long gone.
class Backdating final : public http::Client {
  public:
    explicit Backdating(http::Client& below) : below_(below) {}
    http::Response send(const http::Request& request, std::stop_token stop) override {
        ++lists_;
        return below_.send(request, std::move(stop));
    }
    http::Response stream(const http::Request& request, const http::Consumer& consumer,
                          std::stop_token stop) override {
        http::Request changed = request;
        if (!std::exchange(done_, true)) {
            const std::string field = "resourceVersion=";
            const std::size_t begin = changed.url.find(field) + field.size();
            changed.url.replace(begin, changed.url.find('&', begin) - begin, "1");
        }
        return below_.stream(changed, consumer, std::move(stop));
    }
    std::unique_ptr<http::Answer> open(const http::Request& request,
                                       std::stop_token stop) override {
        return below_.open(request, std::move(stop));
    }
    [[nodiscard]] int lists() const { return lists_; }

  private:
    http::Client& below_;
    std::atomic<int> lists_ = 0;
    bool done_ = false;
};

TEST_F(KubeApi, IsListedAgainWhenTheVersionIsGone) {
    define_widgets();
    ASSERT_TRUE(wait_for(admin_, {widgets(), {}}, "a", std::chrono::seconds(30),
                         [](const auto&) { return true; }, {}));
    create_widget("a");
    Backdating http(http_);
    Client client(http, admin_files_.path());
    Watch watch(client, {widgets(), {}}, [&] { bell_.ring(); });
    ASSERT_TRUE(bell_.wait([&] { return http.lists() == 2 && watch.get("a"); }));
    create_widget("b");
    ASSERT_TRUE(bell_.wait([&] { return watch.get("b").has_value(); }));
    EXPECT_TRUE(watch.get("a").has_value());
    EXPECT_EQ(http.lists(), 2);
}

TEST_F(KubeApi, RefusesAPatchDecidedOnAnOldVersion) {
    const std::string version = resource_version_of(create("a", "1"));
    change("a", "2");
    Call call;
    call.method = "PATCH";
    call.path = config_map_path(space_, "a");
    call.content_type = kMergePatch;
    call.body = {{"metadata", {{"resourceVersion", version}}}, {"data", {{"value", "3"}}}};
    const Answer answer = admin_.call(call, {});
    EXPECT_EQ(answer.status, 409);
    EXPECT_THAT(answer.message(), HasSubstr("the object has been modified"));
    EXPECT_EQ(value_of(admin_.get(call.path, {})), "2");
    EXPECT_EQ(admin_.get(config_map_path(space_, "b"), {}), std::nullopt);
}

TEST_F(KubeApi, SaysWhatIsForbidden) {
    const std::string path = format("/api/v1/namespaces/{}/secrets", space_);
    const Answer answer = kubelet_.call({"GET", path}, {});
    EXPECT_EQ(answer.status, 403);
    EXPECT_THAT(answer.message(), HasSubstr("secrets"));
    EXPECT_EQ(error_of([&] { kubelet_.must({"GET", path}, {}); }).kind(), ErrorKind::invalid);

    Watch secrets(kubelet_, {path, {}}, [&] { bell_.ring(); });
    ASSERT_TRUE(bell_.wait([&] { return secrets.snapshot().problem.has_value(); }));
    const std::string at_first = *secrets.snapshot().problem;
    EXPECT_TRUE(is_passing(at_first)) << at_first;
    later_ = 30;
    ASSERT_TRUE(bell_.wait([&] { return secrets.snapshot().problem != at_first; }));
    EXPECT_THAT(secrets.snapshot().problem.value_or(""), HasSubstr("apply deploy/"));
}

TEST_F(KubeApi, SaysThatAKindIsUnknownUntilItsCrdIsThere) {
    Watch watch(admin_, {widgets(), {}}, [&] { bell_.ring(); });
    ASSERT_TRUE(bell_.wait([&] { return watch.snapshot().problem.has_value(); }));
    const std::string at_first = *watch.snapshot().problem;
    EXPECT_TRUE(is_passing(at_first)) << at_first;
    later_ = 30;
    ASSERT_TRUE(bell_.wait([&] { return watch.snapshot().problem != at_first; }));
    EXPECT_THAT(watch.snapshot().problem.value_or(""), HasSubstr("no CRD"));
    define_widgets();
    ASSERT_TRUE(bell_.wait(
        [&] { return watch.snapshot().synced && !watch.snapshot().problem.has_value(); }));
}

TEST_F(KubeApi, IsHeardWhenItWarns) {
    std::mutex mutex;
    std::vector<std::string> logged;
    log::set_sink([&](log::Level, std::string_view message, const log::Fields&) {
        const std::lock_guard lock(mutex);
        logged.emplace_back(message);
    });
    define_widgets({{"deprecated", true}, {"deprecationWarning", "the \"widget\", is old"}});
    {
        const Watch watch(admin_, {widgets(), {}}, [&] { bell_.ring(); });
        EXPECT_TRUE(bell_.wait([&] { return watch.snapshot().synced; }));
    }
    admin_.must({"GET", widgets()}, {});
    log::set_sink({});
    EXPECT_THAT(logged, ::testing::ElementsAre(format(
                            "GET {}: the API server warns: the \"widget\", is old", widgets())));
}

TEST_F(KubeApi, TakesOurEvents) {
    const Json map = create("a", "1");
    Call call;
    call.method = "POST";
    call.path = format("/api/v1/namespaces/{}/events", space_);
    call.body = make_event(map, "Normal", "Tested", "text", "k3s-upgrade-agent", "node-1",
                           std::chrono::system_clock::now());
    EXPECT_THAT(name_of(kubelet_.must(call, {})), HasSubstr("a."));
}

TEST_F(KubeApi, DoesNotAcceptAStrangersCertificateAndTheClientRecovers) {
    const test::Authority stranger("stranger");
    const test::Identity identity = stranger.issue({"system:admin", "system:masters", {}});
    admin_files_.use(identity.certificate_pem, identity.key_pem);
    const Error error = error_of([&] { admin_.must({"GET", "/version"}, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), HasSubstr("does not accept the credentials of"));

    admin_files_.use(admin_credentials_.tls.certificate_pem, admin_credentials_.tls.key_pem);
    EXPECT_THAT(string_at(admin_.must({"GET", "/version"}, {}), {"gitVersion"}), HasSubstr("v1."));
}

TEST_F(KubeApi, IsReachedOverOneConnectionByManyWatchesAndCalls) {
    std::vector<std::unique_ptr<Watch>> watches;
    watches.reserve(8);
    for (int i = 0; i < 8; ++i) {
        watches.push_back(
            std::make_unique<Watch>(admin_, Selection{config_maps(), {}}, [&] { bell_.ring(); }));
    }
    std::atomic<int> answers = 0;
    std::vector<std::jthread> callers;
    callers.reserve(8);
    for (int i = 0; i < 8; ++i) {
        callers.emplace_back([&] {
            for (int round = 0; round < 5; ++round) {
                if (admin_.call({"GET", "/version"}, {}).ok()) ++answers;
            }
        });
    }
    callers.clear();
    create("a", "1");
    for (const auto& watch : watches) {
        EXPECT_TRUE(bell_.wait([&] { return value_of(watch->get("a")) == "1"; }));
    }
    EXPECT_EQ(answers, 40);
    EXPECT_EQ(proxy_.connections(), 1);
}

TEST_F(KubeApi, FailsAllExchangesOfAConnectionThatBreaks) {
    std::atomic<int> open = 0;
    std::atomic<int> broken = 0;
    std::vector<std::jthread> callers;
    callers.reserve(8);
    for (int i = 0; i < 6; ++i) {
        callers.emplace_back([&] {
            const Error error = error_of([&] {
                admin_.watch(
                    config_maps(), {{"watch", "true"}}, std::chrono::minutes(5), [](const Json&) {},
                    {},
                    [&] {
                        ++open;
                        bell_.ring();
                    });
            });
            if (error.kind() == ErrorKind::transient) ++broken;
        });
    }
    ASSERT_TRUE(bell_.wait([&] { return open == 6; }));
    EXPECT_EQ(proxy_.connections(), 1);
    proxy_.cut();
    callers.clear();
    EXPECT_EQ(broken, 6);
}

// A load balancer whose server is gone keeps our connection, and says nothing.
TEST_F(KubeApi, IsReachedOverANewConnectionWhenTheOldOneHasFallenSilent) {
    Watch maps(admin_, {config_maps(), {}}, [&] { bell_.ring(); });
    ASSERT_TRUE(bell_.wait([&] { return maps.snapshot().synced; }));
    // Its list is there before its watch has begun: the answer's head would be a sign of life.
    create("a", "1");
    ASSERT_TRUE(bell_.wait([&] { return maps.get("a").has_value(); }));
    ASSERT_TRUE(admin_.call({"GET", "/version"}, {}).ok());
    proxy_.stall();
    Call call{"GET", "/version"};
    call.timeout = Duration(200);
    const Error error = error_of([&] { admin_.call(call, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), HasSubstr("not finished within 200ms"));
    // Neither the next call nor the watch stays with it.
    EXPECT_TRUE(admin_.call({"GET", "/version"}, {}).ok());
    create("b", "1");
    EXPECT_TRUE(bell_.wait([&] { return maps.get("b").has_value(); }));
    EXPECT_EQ(proxy_.connections(), 2);
}

TEST_F(KubeApi, IsWatchedOnAfterAConnectionBroke) {
    std::vector<std::unique_ptr<Watch>> watches;
    watches.reserve(8);
    for (int i = 0; i < 4; ++i) {
        watches.push_back(
            std::make_unique<Watch>(admin_, Selection{config_maps(), {}}, [&] { bell_.ring(); }));
    }
    for (int round = 0; round < 5; ++round) {
        const std::string name = "map-" + std::to_string(round);
        create(name, "x");
        for (const auto& watch : watches) {
            ASSERT_TRUE(bell_.wait([&] { return watch->get(name).has_value(); })) << round;
        }
        proxy_.cut();
    }
    EXPECT_LE(proxy_.connections(), 6);
}

TEST_F(KubeApi, IsFoundAgainAfterAnOutage) {
    Watch maps(admin_, {config_maps(), {}}, [&] { bell_.ring(); });
    ASSERT_TRUE(bell_.wait([&] { return maps.snapshot().synced; }));
    proxy_.refuse();
    ASSERT_TRUE(bell_.wait([&] {
        return maps.snapshot().problem.value_or("").find("connection refused") != std::string::npos;
    }));
    create("meanwhile", "1");
    proxy_.restore();
    ASSERT_TRUE(bell_.wait(
        [&] { return maps.get("meanwhile").has_value() && !maps.snapshot().problem.has_value(); }));
}

TEST_F(KubeApi, IsWaitedForAcrossAnOutage) {
    create("a", "old");
    std::jthread outage;
    const auto found = wait_for(admin_, one_config_map(space_, "a"), "a", std::chrono::seconds(30),
                                [&](const std::optional<Json>& a) {
                                    if (value_of(a) == "old" && !outage.joinable()) {
                                        outage = std::jthread([&] {
                                            proxy_.refuse();
                                            change("a", "new");
                                            proxy_.restore();
                                        });
                                    }
                                    return value_of(a) == "new";
                                },
                                {});
    EXPECT_EQ(value_of(found), "new");
}

}  // namespace
}  // namespace kua::kube
