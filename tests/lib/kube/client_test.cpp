// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/client.hpp"

#include <gmock/gmock.h>

#include "lib/log/log.hpp"
#include "tests/lib/kube/fake_http_client.hpp"
#include "tests/lib/kube/fixture.hpp"

namespace kua::kube {
namespace {

using test::error_of;
using test::FakeHttpClient;
using test::KubeletFiles;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Json status_object(int code, const std::string& message) {
    return {{"kind", "Status"}, {"code", code}, {"message", message}};
}

class KubeClient : public ::testing::Test {
  protected:
    KubeletFiles files_;
    FakeHttpClient http_;
    Client client_{http_, files_.path()};
};

TEST_F(KubeClient, SendsACallWithTheKubeconfigsCredentials) {
    http_.then(200, {{"kind", "Node"}});
    Call call;
    call.method = "PATCH";
    call.path = "/api/v1/nodes/node-1";
    call.query = {{"fieldSelector", "metadata.name=a+b"}, {"limit", "5"}};
    call.content_type = kMergePatch;
    call.body = {{"spec", {{"unschedulable", true}}}};
    call.timeout = Duration(1234);
    const Answer answer = client_.call(call, {});
    EXPECT_TRUE(answer.ok());
    EXPECT_EQ(answer.body.at("kind"), "Node");

    const http::Request sent = http_.requests().at(0);
    EXPECT_EQ(sent.method, "PATCH");
    EXPECT_EQ(sent.url,
              "https://127.0.0.1:6443/api/v1/nodes/node-1?fieldSelector=metadata.name%3Da%2Bb&"
              "limit=5");
    EXPECT_EQ(sent.headers.at("Content-Type"), "application/merge-patch+json");
    EXPECT_EQ(sent.headers.at("Accept"), "application/json");
    EXPECT_EQ(sent.headers.count("Authorization"), 0U);
    EXPECT_EQ(sent.body, R"({"spec":{"unschedulable":true}})");
    EXPECT_EQ(sent.timeout, Duration(1234));
    EXPECT_EQ(sent.tls.ca_pem, files_.authority().pem());
    EXPECT_FALSE(sent.tls.key_pem.empty());
}

TEST_F(KubeClient, SendsATokenWhereThereIsOne) {
    const auto path =
        files_.folder().write("token",
                              "clusters: [{name: c, cluster: {server: 'https://h'}}]\n"
                              "users: [{name: u, user: {token: secret}}]\n"
                              "contexts: [{name: x, context: {cluster: c, user: u}}]\n");
    Client client(http_, path);
    http_.then(200, Json::object());
    client.must({}, {});
    EXPECT_EQ(http_.requests().at(0).headers.at("authorization"), "Bearer secret");
}

TEST_F(KubeClient, GivesRefusalsAsAnswers) {
    http_.then(409, status_object(409, "the object has been modified"));
    const Answer answer = client_.call({}, {});
    EXPECT_EQ(answer.status, 409);
    EXPECT_FALSE(answer.ok());
    EXPECT_EQ(answer.message(), "the object has been modified");
}

TEST_F(KubeClient, PutsARefusalWithoutAStatusIntoWords) {
    http_.then_text(404, "404 page not found\n").then_text(403, "");
    EXPECT_THAT(client_.call({}, {}).message(), HasSubstr("404 page not found"));
    EXPECT_EQ(client_.call({}, {}).message(), "forbidden");
}

TEST_F(KubeClient, RefusesASuccessThatIsNoJson) {
    http_.then_text(200, "<html>");
    const Error error = error_of([&] { client_.call({}, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("https://127.0.0.1:6443"));
}

TEST_F(KubeClient, TakesAServerInTroubleForATransientError) {
    for (const int status : {429, 500, 503, 504}) {
        http_.then(status, status_object(status, "not now"));
        const Error error = error_of([&] { client_.call({}, {}); });
        EXPECT_EQ(error.kind(), ErrorKind::transient) << status;
        EXPECT_THAT(error.what(), HasSubstr(std::to_string(status) + " not now"));
    }
}

TEST_F(KubeClient, GivesA429WithItsDelayWhenAskedTo) {
    http_.then(429, status_object(429, "would violate the budget"), {{"Retry-After", "10"}})
        .then(429, status_object(429, ""), {{"Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"}});
    const Answer answer = client_.call({}, {}, true);
    EXPECT_EQ(answer.status, 429);
    EXPECT_EQ(answer.retry_after, std::chrono::seconds(10));
    EXPECT_EQ(client_.call({}, {}, true).retry_after, std::nullopt);
}

TEST_F(KubeClient, GetIsAbsentOn404AndMustThrowsWhatTheServerSays) {
    http_.then(404, status_object(404, "nodes \"x\" not found"))
        .then(200, {{"kind", "Node"}})
        .then(403, status_object(403, "nodes is forbidden"))
        .then(422, status_object(422, "is invalid"));
    EXPECT_EQ(client_.get("/x", {}), std::nullopt);
    EXPECT_EQ(client_.get("/x", {})->at("kind"), "Node");
    Error error = error_of([&] { client_.must({"GET", "/x"}, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_STREQ(error.what(), "GET /x: 403 nodes is forbidden");
    error = error_of([&] { client_.must({"POST", "/x"}, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::failed);
}

TEST_F(KubeClient, ReadsTheCredentialsAgainWhenTheyAreNotAccepted) {
    http_.then(401, status_object(401, "Unauthorized")).then(200, Json::object());
    const Error error = error_of([&] { client_.call({}, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), HasSubstr(files_.path().string()));
    const test::Identity fresh = files_.issue(std::chrono::hours(1));
    client_.call({}, {});
    EXPECT_NE(http_.requests().at(0).tls.certificate_pem, fresh.certificate_pem);
    EXPECT_EQ(http_.requests().at(1).tls.certificate_pem, fresh.certificate_pem);
}

TEST_F(KubeClient, ReadsTheCredentialsAgainAfterAConnectionThatFailed) {
    http_.then_fail(ErrorKind::transient).then_fail(ErrorKind::invalid).then(200, Json::object());
    std::vector<std::string> used;
    for (int i = 0; i < 2; ++i) error_of([&] { client_.call({}, {}); });
    const test::Identity fresh = files_.issue(std::chrono::hours(1));
    client_.call({}, {});
    EXPECT_EQ(http_.requests().at(2).tls.certificate_pem, fresh.certificate_pem);
}

/// With a clock of its own, and a server that has just been away or not.
class KubeClientAtAStart : public KubeClient {
  protected:
    Answer get(int status, const Json& body) {
        http_.then(status, body);
        return starting_.call({"GET", "/x"}, {});
    }
    Answer forbidden() {
        return get(403, status_object(403, "can only read resources of this type"));
    }
    void expect_starting() {
        const auto error = error_of([&] { forbidden(); });
        EXPECT_EQ(error.kind(), ErrorKind::transient);
        EXPECT_TRUE(is_passing(error.what())) << error.what();
        EXPECT_THAT(error.what(),
                    HasSubstr("GET https://127.0.0.1:6443/x: the API server answers 403; it may "
                              "still be loading its RBAC rules after a start (can only read"));
    }
    void expect_last_word(const Answer& answer) {
        EXPECT_FALSE(answer.may_pass);
        const auto error = refusal_with_remedy(answer, "x");
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        EXPECT_FALSE(is_passing(error.what()));
        EXPECT_THAT(error.what(), HasSubstr(kApplyDeploy));
    }

    Monotonic now_ = std::chrono::steady_clock::now();
    Client starting_{http_, files_.path(), [this] { return now_; }};
};

TEST_F(KubeClientAtAStart, TakesARefusalForItsLastWordWhenItLasts) {
    const Answer first = forbidden();
    EXPECT_TRUE(first.may_pass) << "nothing was the matter, but who knows";
    const auto error = refusal_with_remedy(first, "reading x");
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_TRUE(is_passing(error.what()));
    EXPECT_THAT(error.what(), Not(HasSubstr("apply")));
    EXPECT_EQ(refusal(first, "x").kind(), ErrorKind::invalid) << "an upgrade's step is told";
    now_ += Refusals::kLasts;
    expect_last_word(forbidden());
}

TEST_F(KubeClientAtAStart, WaitsAfterEveryKindOfOutage) {
    const std::vector<std::function<void()>> outages = {
        [&] { starting_.forget_credentials(); },
        [&] { starting_.server_may_have_started(); },
        [&] { error_of([&] { get(503, status_object(503, "starting")); }); },
        [&] { error_of([&] { get(401, status_object(401, "Unauthorized")); }); },
        [&] {
            http_.then_fail();
            error_of([&] { starting_.call({"GET", "/x"}, {}); });
        },
        [&] {
            starting_.forget_credentials();
            now_ += std::chrono::hours(1);
            std::filesystem::rename(files_.path(), files_.folder().path() / "away");
            error_of([&] { starting_.credentials(); });
            std::filesystem::rename(files_.folder().path() / "away", files_.path());
        }};
    for (const auto& outage : outages) {
        outage();
        now_ += std::chrono::seconds(59);
        expect_starting();
        now_ += Refusals::kLasts - std::chrono::seconds(1);
        expect_starting();
        now_ += std::chrono::seconds(1);
        expect_last_word(forbidden());
    }
}

TEST_F(KubeClientAtAStart, AsksAfterTextAndWatchesInTheSameWay) {
    starting_.server_may_have_started();
    http_.then(403, status_object(403, "no"));
    EXPECT_TRUE(is_passing(error_of([&] { starting_.get_text("/readyz", {}, {}); }).what()));
    const auto watch = [&] {
        http_.then(403, status_object(403, "no"));
        return starting_.watch("/x", {}, std::chrono::seconds(1), [](const Json&) {}, {});
    };
    EXPECT_TRUE(is_passing(error_of(watch).what()));
    now_ += Refusals::kLasts;
    // That it may be listed says nothing of watching it.
    EXPECT_TRUE(get(200, Json::object()).ok());
    expect_last_word(watch());
}

TEST_F(KubeClientAtAStart, BelievesWhatWasGrantedMeanwhile) {
    forbidden();
    now_ += std::chrono::minutes(10);
    EXPECT_EQ(get(409, status_object(409, "conflict")).status, 409);
    EXPECT_TRUE(forbidden().may_pass);
}

TEST_F(KubeClientAtAStart, WaitsForAKindToo) {
    const auto unknown = [&] {
        http_.then_text(404, "404 page not found\n");
        return starting_.call({"GET", "/x"}, {});
    };
    const auto error = refusal_with_remedy(unknown(), "listing x");
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_STREQ(error.what(),
                 "listing x: the API server answers 404; it may still be loading its CRDs after a "
                 "start (404 page not found )");
    now_ += Refusals::kLasts;
    EXPECT_THAT(refusal_with_remedy(unknown(), "listing x").what(), HasSubstr("no CRD"));
    starting_.server_may_have_started();
    EXPECT_TRUE(is_passing(error_of(unknown).what()));
    // One object that is not there is the truth at once.
    EXPECT_EQ(get(404, status_object(404, "not found")).status, 404);
}

TEST_F(KubeClient, SaysWhatAServerWarnsOfOnce) {
    std::vector<std::string> logged;
    log::set_sink([&](log::Level level, std::string_view message, const log::Fields&) {
        EXPECT_EQ(level, log::Level::warning);
        logged.emplace_back(message);
    });
    const auto answer = [&](const std::string& warning) {
        http_.then(200, Json::object(), {{"warning", warning}});
    };
    answer(R"(299 - "one", 299 - "two")");
    answer(R"(299 - "one")");
    answer(R"(299 - "three")");
    answer(R"(299 - "four")");
    client_.call({"PATCH", "/x"}, {});
    client_.call({"GET", "/y"}, {});
    client_.get_text("/readyz", {}, {});
    client_.watch("/z", {}, std::chrono::seconds(1), [](const Json&) {}, {});
    log::set_sink({});
    EXPECT_THAT(logged, ElementsAre("PATCH /x: the API server warns: one",
                                    "PATCH /x: the API server warns: two",
                                    "GET /readyz: the API server warns: three",
                                    "WATCH /z: the API server warns: four"));
}

TEST_F(KubeClient, WaitsForCredentialsThatAreBeingWritten) {
    const auto folder = files_.folder().path();
    const auto path = folder / "empty";
    files_.folder().write("empty", "");
    Client client(http_, path);
    EXPECT_EQ(error_of([&] { client.call({}, {}); }).kind(), ErrorKind::transient);
    std::filesystem::last_write_time(
        path, std::filesystem::file_time_type::clock::now() - std::chrono::minutes(1));
    EXPECT_EQ(error_of([&] { client.call({}, {}); }).kind(), ErrorKind::invalid);
}

TEST_F(KubeClient, DoesNotReadTheCredentialsAgainWithoutNeed) {
    http_.then(200, Json::object()).then(404, Json::object()).then(200, Json::object());
    client_.call({}, {});
    const auto first = client_.credentials();
    client_.call({}, {});
    client_.call({}, {});
    EXPECT_EQ(client_.credentials(), first);
}

TEST_F(KubeClient, RecoversWhenAnExpiredCertificateIsReplaced) {
    files_.issue(std::chrono::hours(-1));
    for (int i = 0; i < 2; ++i) {
        EXPECT_THAT(error_of([&] { client_.call({}, {}); }).what(), HasSubstr("expired at"));
    }
    EXPECT_TRUE(http_.requests().empty());
    files_.issue(std::chrono::hours(1));
    http_.then(200, Json::object());
    EXPECT_TRUE(client_.call({}, {}).ok());
}

TEST_F(KubeClient, CutsAWatchIntoLines) {
    http_.then(
        [](const http::Request& request, const FakeHttpClient::Give& give, const std::stop_token&) {
            for (const char* piece :
                 {"{\"a\":", "1}\n{\"a\":2}", "\n", "\n{\"a\":3}\n{\"a", "\":4}\n"}) {
                give(piece);
            }
            return http::Response{200, {}, "", request.url};
        });
    std::vector<int> seen;
    int opened = 0;
    const Answer answer = client_.watch(
        "/x", {{"watch", "true"}}, Duration(99),
        [&](const Json& line) { seen.push_back(line.at("a").get<int>()); }, {}, [&] { ++opened; });
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(opened, 1);
    EXPECT_THAT(seen, ElementsAre(1, 2, 3, 4));
    EXPECT_EQ(http_.requests().at(0).timeout, Duration::zero());
    EXPECT_EQ(http_.requests().at(0).idle_timeout, Duration(99));
}

TEST_F(KubeClient, GivesARefusedWatchAsAnAnswer) {
    http_.then(410, status_object(410, "too old resource version")).then(401, Json::object());
    const auto fail = [](const Json&) { FAIL(); };
    EXPECT_EQ(client_.watch("/x", {}, Duration(0), fail, {}).message(), "too old resource version");
    const auto before = client_.credentials();
    EXPECT_EQ(client_.watch("/x", {}, Duration(0), fail, {}).status, 401);
    EXPECT_NE(client_.credentials(), before);
}

TEST_F(KubeClient, RefusesALineThatIsNoJsonOrEndless) {
    http_.then_text(200, "nonsense\n");
    http_.then([](const http::Request&, const FakeHttpClient::Give& give,
                  const std::stop_token&) -> http::Response {
        const std::string piece(1U << 20U, 'x');
        for (int i = 0; i < 100; ++i) give(piece);
        throw std::logic_error("nobody stopped it");
    });
    const auto ignore = [](const Json&) {};
    for (int i = 0; i < 2; ++i) {
        const Error error = error_of([&] { client_.watch("/x", {}, Duration(0), ignore, {}); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        EXPECT_THAT(error.what(), HasSubstr("watching https://127.0.0.1:6443/x"));
    }
}

TEST(Refusal, HasAKindForEachStatus) {
    const auto answer_of = [](int status) {
        Answer answer;
        answer.status = status;
        return answer;
    };
    const auto kind = [&](int status) { return refusal(answer_of(status), "x").kind(); };
    EXPECT_EQ(kind(403), ErrorKind::invalid);
    EXPECT_EQ(kind(404), ErrorKind::invalid);
    EXPECT_EQ(kind(409), ErrorKind::transient);
    EXPECT_EQ(kind(429), ErrorKind::transient);
    EXPECT_EQ(kind(503), ErrorKind::transient);
    EXPECT_EQ(kind(400), ErrorKind::failed);
    EXPECT_EQ(kind(422), ErrorKind::failed);
    EXPECT_STREQ(refusal(answer_of(409), "patching Node a").what(),
                 "patching Node a: 409 conflict");
}

}  // namespace
}  // namespace kua::kube
