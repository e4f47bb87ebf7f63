// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/pull.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/fake_clock.hpp"
#include "tests/lib/oci/fake_registries.hpp"

namespace kua::oci {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class PullTest : public ::testing::Test {
  protected:
    static Endpoint endpoint(const std::string& host, const std::string& mirrored = "") {
        Endpoint result;
        result.url = host + "/v2";
        result.repository = "a/b";
        result.mirrored = mirrored;
        return result;
    }

    Pull pull(std::vector<Endpoint> endpoints) {
        return Pull(web_, clock_, std::move(endpoints),
                    {"r.lan/a/b:tag", 0,
                     [this](const std::string& notice) { notices_.push_back(notice); }});
    }

    Descriptor layer(const std::string& bytes) {
        return {"application/vnd.oci.image.layer.v1.tar", test::digest_of(bytes), bytes.size(), {}};
    }

    /// The whole blob, begun anew as often as the pull says.
    std::string read_all(Pull& pull, const Descriptor& descriptor) {
        return pull.small_blob(descriptor, 1U << 20U, {});
    }

    test::FakeRegistries web_;
    test::FakeClock clock_;
    std::vector<std::string> notices_;
    test::Repository repository_;
    const std::string bytes_ = std::string(1000, 'x') + std::string(2000, 'y');
};

TEST_F(PullTest, AsksMirrorsWithTheirNamespaceAndTheRegistryWithout) {
    const auto digest = repository_.add_manifest("v1", {{"layers", Json::array()}});
    web_.hosts["https://own"] = repository_.host();
    auto pull = this->pull({endpoint("https://down", "r.lan"), endpoint("https://own")});
    const auto found = pull.manifest("v1", {});
    ASSERT_TRUE(found);
    EXPECT_EQ(found->digest, digest);
    EXPECT_EQ(found->endpoint, "https://own/v2");
    EXPECT_THAT(web_.urls(), ElementsAre("https://down/v2/a/b/manifests/v1?ns=r.lan",
                                         "https://own/v2/a/b/manifests/v1"));
    EXPECT_THAT(web_.requests.at(1).headers.at("Accept"),
                AllOf(HasSubstr("oci.image.index.v1"), HasSubstr("manifest.list.v2"),
                      HasSubstr("oci.image.manifest.v1"), HasSubstr("manifest.v2")));
    EXPECT_THAT(notices_, ElementsAre(AllOf(HasSubstr("https://down/v2: connection refused"),
                                            HasSubstr("next endpoint"))));
}

TEST_F(PullTest, BelievesNoManifestOfAnotherDigest) {
    const auto digest = repository_.add_manifest("v1", {{"layers", Json::array()}});
    web_.hosts["https://liar"] = [](const http::Request&) {
        return test::Reply{200, R"({"layers":[1]})"};
    };
    web_.hosts["https://confused"] = [&](const http::Request&) {
        return test::Reply{200, "{}", {{"Docker-Content-Digest", digest}}};
    };
    web_.hosts["https://good"] = repository_.host();
    auto good =
        pull({endpoint("https://liar"), endpoint("https://confused"), endpoint("https://good")});
    EXPECT_EQ(good.manifest(digest, {})->endpoint, "https://good/v2");
    auto bad = pull({endpoint("https://liar"), endpoint("https://confused")});
    const auto error = test::thrown_by([&] { bad.manifest(digest, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("r.lan/a/b:tag"), HasSubstr("https://liar/v2: gives"),
                                    HasSubstr("https://confused/v2: gives")));
}

TEST_F(PullTest, IsAbsentOnlyWhereEverybodySaysSo) {
    web_.hosts["https://one"] = repository_.host();
    web_.hosts["https://two"] = repository_.host();
    EXPECT_FALSE(pull({endpoint("https://one"), endpoint("https://two")}).manifest("v1", {}));
    const auto error = test::thrown_by([&] {
        pull({endpoint("https://one"), endpoint("https://down")}).manifest("v1", {});
    });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("https://one/v2: has no such image"),
                                    HasSubstr("https://down/v2: connection refused")));
}

TEST_F(PullTest, RefusesAHugeManifest) {
    web_.hosts["https://one"] = [](const http::Request&) {
        return test::Reply{200, std::string((4U << 20U) + 1, ' ')};
    };
    EXPECT_EQ(test::thrown_by([&] { pull({endpoint("https://one")}).manifest("v1", {}); }).kind(),
              ErrorKind::invalid);
}

TEST_F(PullTest, WaitsAsLongAsItIsToldButNotForEver) {
    int asked = 0;
    repository_.add_manifest("v1", {{"layers", Json::array()}});
    web_.hosts["https://busy"] = [&](const http::Request& request) {
        return ++asked < 3 ? test::Reply{429, "", {{"Retry-After", "7"}}}
                           : repository_.answer(request);
    };
    const auto before = clock_.monotonic();
    EXPECT_TRUE(pull({endpoint("https://busy")}).manifest("v1", {}));
    EXPECT_EQ(clock_.monotonic() - before, std::chrono::seconds(14));
    for (const std::string wait : {"0", "3600", ""}) {
        web_.hosts["https://busy"] = [&](const http::Request&) {
            return test::Reply{429, "", {{"Retry-After", wait}}};
        };
        const auto error =
            test::thrown_by([&] { pull({endpoint("https://busy")}).manifest("v1", {}); });
        EXPECT_EQ(error.kind(), ErrorKind::transient) << wait;
        EXPECT_THAT(error.what(), HasSubstr("429"));
    }
}

TEST_F(PullTest, GoesOnWithABlobWhereItBroke) {
    repository_.add_blob(bytes_);
    int asked = 0;
    web_.hosts["https://one"] = [&](const http::Request& request) {
        auto reply = repository_.answer(request);
        if (++asked < 6) reply.breaks_after = 600;
        return reply;
    };
    auto one = pull({endpoint("https://one")});
    EXPECT_EQ(read_all(one, layer(bytes_)), bytes_);
    ASSERT_EQ(web_.requests.size(), 5U);
    EXPECT_FALSE(web_.requests[0].headers.contains("Range"));
    EXPECT_EQ(web_.requests[1].headers.at("Range"), "bytes=600-");
    EXPECT_EQ(web_.requests[4].headers.at("Range"), "bytes=2400-");
    EXPECT_EQ(web_.requests[0].timeout, Duration::zero()) << "only silence ends it";
    EXPECT_GT(web_.requests[0].idle_timeout, Duration::zero());
}

TEST_F(PullTest, GivesUpOnARegistryThatDripsForEver) {
    repository_.add_blob(bytes_);
    web_.hosts["https://one"] = [&](const http::Request& request) {
        clock_.advance(std::chrono::hours(1));
        auto reply = repository_.answer(request);
        reply.breaks_after = 1;
        return reply;
    };
    auto one = pull({endpoint("https://one")});
    const auto error = test::thrown_by([&] { read_all(one, layer(bytes_)); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("https://one/v2"), HasSubstr("too slow")));
    EXPECT_LT(web_.requests.size(), 10U);
}

TEST_F(PullTest, SkipsWhatItHasWhenAServerIgnoresRanges) {
    const auto digest = repository_.add_blob(bytes_);
    int asked = 0;
    web_.hosts["https://one"] = [&](const http::Request&) {
        return test::Reply{200, bytes_, {}, ++asked == 1 ? 1400 : std::string::npos};
    };
    auto one = pull({endpoint("https://one")});
    EXPECT_EQ(read_all(one, layer(bytes_)), bytes_);
    EXPECT_EQ(asked, 2);
}

TEST_F(PullTest, GoesOnWithABlobAtTheNextEndpoint) {
    repository_.add_blob(bytes_);
    web_.hosts["https://dies"] = [&](const http::Request& request) {
        if (request.headers.contains("Range")) throw Error(ErrorKind::transient, "refused");
        auto reply = repository_.answer(request);
        reply.breaks_after = 1300;
        return reply;
    };
    web_.hosts["https://good"] = repository_.host();
    auto both = pull({endpoint("https://dies"), endpoint("https://good")});
    EXPECT_EQ(read_all(both, layer(bytes_)), bytes_);
    EXPECT_EQ(web_.requests.back().headers.at("Range"), "bytes=1300-");
    EXPECT_THAT(notices_,
                ElementsAre(HasSubstr("https://dies/v2: connection reset; going on after"),
                            HasSubstr("https://dies/v2: refused; going on after")));
}

TEST_F(PullTest, BeginsAnewElsewhereWhenAnEndpointLies) {
    repository_.add_blob(bytes_);
    std::string flipped = bytes_;
    flipped[17] = 'z';
    struct Case {
        std::string body;
        std::string said;
    };
    for (const auto& [body, said] :
         std::vector<Case>{{flipped, "gives bytes whose digest is"},
                           {bytes_ + "x", "too long an answer"},
                           {bytes_.substr(0, 2000), "ends after 2000 of 3000 bytes"},
                           {"", "ends after 0 of 3000 bytes"}}) {
        web_.hosts["https://liar"] = [&, &text = body](const http::Request&) {
            return test::Reply{200, text};
        };
        web_.hosts["https://good"] = repository_.host();
        notices_.clear();
        auto both = pull({endpoint("https://liar"), endpoint("https://good")});
        EXPECT_EQ(read_all(both, layer(bytes_)), bytes_);
        ASSERT_FALSE(notices_.empty());
        EXPECT_THAT(notices_[0], AllOf(HasSubstr("https://liar/v2"), HasSubstr(said)));
        auto alone = pull({endpoint("https://liar"), endpoint("https://down")});
        const auto error = test::thrown_by([&] { read_all(alone, layer(bytes_)); });
        EXPECT_EQ(error.kind(), ErrorKind::transient) << "the other may come back";
        EXPECT_THAT(error.what(), AllOf(HasSubstr(said), HasSubstr("connection refused")));
        auto only = pull({endpoint("https://liar")});
        EXPECT_EQ(test::thrown_by([&] { read_all(only, layer(bytes_)); }).kind(),
                  ErrorKind::invalid);
    }
}

TEST_F(PullTest, FindsOutWhoLiedWhenTwoGaveABlobTogether) {
    repository_.add_blob(bytes_);
    web_.hosts["https://liar"] = [](const http::Request& request) {
        if (request.headers.contains("Range")) throw Error(ErrorKind::transient, "refused");
        return test::Reply{200, std::string(3000, 'q'), {}, 1000};
    };
    web_.hosts["https://good"] = repository_.host();
    auto both = pull({endpoint("https://liar"), endpoint("https://good")});
    std::string whole;
    int blobs = 0;
    while (whole.size() < bytes_.size() && ++blobs < 5) {
        const auto blob = both.blob(layer(bytes_));
        whole.clear();
        try {
            for (auto piece = blob->read({}); !piece.empty(); piece = blob->read({})) {
                whole += piece;
            }
        } catch (const Error&) {
            whole.clear();
            ASSERT_TRUE(blob->may_go_elsewhere());
        }
    }
    EXPECT_EQ(whole, bytes_);
}

TEST_F(PullTest, GivesUpABlobThatBreaksAgainAndAgain) {
    web_.hosts["https://one"] = [&](const http::Request&) {
        return test::Reply{200, bytes_, {}, 0};
    };
    auto one = pull({endpoint("https://one")});
    const auto error = test::thrown_by([&] { read_all(one, layer(bytes_)); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), HasSubstr("connection reset"));
    EXPECT_EQ(web_.requests.size(), 3U);
}

TEST_F(PullTest, StopsWhenTold) {
    repository_.add_blob(bytes_);
    web_.hosts["https://one"] = repository_.host();
    std::stop_source stop;
    auto one = pull({endpoint("https://one")});
    const auto blob = one.blob(layer(bytes_));
    EXPECT_FALSE(blob->read(stop.get_token()).empty());
    stop.request_stop();
    EXPECT_EQ(test::thrown_by([&] { blob->read(stop.get_token()); }).kind(), ErrorKind::stopped);
}

// A registry with a token server: what it wants is in `wanted_`.
class LoginTest : public PullTest {
  protected:
    void SetUp() override {
        repository_.add_manifest("v1", {{"layers", Json::array()}});
        repository_.add_blob(bytes_);
        web_.hosts["https://own"] = [this](const http::Request& request) {
            const auto given = request.headers.find("Authorization");
            if (given != request.headers.end() && given->second == wanted_) {
                return repository_.answer(request);
            }
            return test::Reply{401,
                               R"({"errors":[{"code":"UNAUTHORIZED","message":"no"}]})",
                               {{"WWW-Authenticate", challenge_}}};
        };
        web_.hosts["https://auth"] = [this](const http::Request& request) {
            tokens_.push_back(request);
            return test::Reply{200, R"({"token":"T1","expires_in":60})"};
        };
    }

    Endpoint own(const Credentials& credentials = {}) {
        auto result = endpoint("https://own");
        result.credentials = credentials;
        return result;
    }

    Error refused(const Credentials& credentials = {}) {
        return test::thrown_by([&] { pull({own(credentials)}).manifest("v1", {}); });
    }

    std::string wanted_ = "Bearer T1";
    std::string challenge_ = R"(Bearer realm="https://auth/token?x=1",service="S s",)"
                             R"(scope="repository:a/b:pull")";
    std::vector<http::Request> tokens_;
};

TEST_F(LoginTest, FetchesOneTokenForAWholePull) {
    auto one = pull({own({"user", "pass", ""})});
    EXPECT_TRUE(one.manifest("v1", {}));
    EXPECT_EQ(read_all(one, layer(bytes_)), bytes_);
    ASSERT_EQ(tokens_.size(), 1U);
    EXPECT_EQ(tokens_[0].method, "GET");
    EXPECT_EQ(tokens_[0].url,
              "https://auth/token?x=1&service=S%20s&scope=repository%3Aa%2Fb%3Apull");
    EXPECT_EQ(tokens_[0].headers.at("Authorization"), "Basic dXNlcjpwYXNz");
}

TEST_F(LoginTest, AsksForATokenWithoutCredentialsToo) {
    EXPECT_TRUE(pull({own()}).manifest("v1", {}));
    EXPECT_FALSE(tokens_.at(0).headers.contains("Authorization"));
}

TEST_F(LoginTest, ExchangesAnIdentityToken) {
    EXPECT_TRUE(pull({own({"", "", "id+entity"})}).manifest("v1", {}));
    EXPECT_EQ(tokens_.at(0).method, "POST");
    EXPECT_THAT(tokens_.at(0).body,
                AllOf(HasSubstr("grant_type=refresh_token"), HasSubstr("refresh_token=id%2Bentity"),
                      HasSubstr("scope=repository%3Aa%2Fb%3Apull"), HasSubstr("service=S%20s")));
}

TEST_F(LoginTest, GetsANewTokenWhenTheOldOneHasRunOut) {
    auto one = pull({own()});
    EXPECT_TRUE(one.manifest("v1", {}));
    wanted_ = "Bearer T2";
    web_.hosts["https://auth"] = [](const http::Request&) {
        return test::Reply{200, R"({"access_token":"T2"})"};
    };
    EXPECT_EQ(read_all(one, layer(bytes_)), bytes_);
}

TEST_F(LoginTest, EndsWhenItIsRefusedForEver) {
    wanted_ = "nothing will do";
    const auto error = refused({"user", "secret", ""});
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("https://own/v2: answers 401 (UNAUTHORIZED)"),
                      HasSubstr("auth in registries.yaml"), Not(HasSubstr("secret"))));
    EXPECT_EQ(web_.requests.size(), 3U) << "asked, logged in, asked";
}

TEST_F(LoginTest, UsesBasicWhereThatIsAsked) {
    challenge_ = R"(Basic realm="registry")";
    wanted_ = "Basic dXNlcjpwYXNz";
    EXPECT_TRUE(pull({own({"user", "pass", ""})}).manifest("v1", {}));
    EXPECT_THAT(refused().what(), HasSubstr("wants a user name and password"));
    EXPECT_THAT(refused({"", "", "token"}).what(), HasSubstr("wants a user name and password"));
}

TEST_F(LoginTest, SendsNoCredentialsToARealmWithoutTls) {
    challenge_ = R"(Bearer realm="http://auth/token")";
    web_.hosts["http://auth"] = web_.hosts["https://auth"];
    EXPECT_THAT(refused({"user", "secret", ""}).what(),
                HasSubstr("http://auth/token is not https"));
    EXPECT_TRUE(tokens_.empty());
    web_.hosts["http://own"] = web_.hosts["https://own"];
    auto plain = endpoint("http://own");
    EXPECT_TRUE(pull({plain}).manifest("v1", {})) << "the administrator wrote http://";
}

TEST_F(LoginTest, SendsNothingToALinkLocalRealm) {
    challenge_ = R"(Bearer realm="https://169.254.169.254/token")";
    web_.hosts["https://169.254.169.254"] = web_.hosts["https://auth"];
    EXPECT_THAT(refused({"user", "secret", ""}).what(), HasSubstr("is a link-local address"));
    EXPECT_TRUE(tokens_.empty());
}

TEST_F(LoginTest, SendsNoCredentialsToWhereItWasRedirected) {
    web_.hosts["https://own"] = [this](const http::Request&) {
        return test::Reply{
            401, "", {{"WWW-Authenticate", challenge_}}, std::string::npos, "https://blobs/x"};
    };
    EXPECT_THAT(refused({"user", "secret", ""}).what(), HasSubstr("answers 401"));
    EXPECT_TRUE(tokens_.empty());
}

TEST_F(LoginTest, TakesNothingForATokenThatIsNone) {
    for (const std::string answer : {"", "{", "[]", "{}", R"({"token":7})", R"({"token":""})",
                                     R"({"token":"a b"})", "{\"token\":\"a\\r\\nX: y\"}"}) {
        web_.hosts["https://auth"] = [&](const http::Request&) { return test::Reply{200, answer}; };
        EXPECT_EQ(refused().kind(), ErrorKind::invalid) << answer;
    }
    web_.hosts["https://auth"] = [](const http::Request&) { return test::Reply{503}; };
    EXPECT_EQ(refused().kind(), ErrorKind::transient);
    web_.hosts["https://auth"] = [](const http::Request&) { return test::Reply{401}; };
    EXPECT_THAT(refused().what(), HasSubstr("https://auth/token answers 401"));
    for (const std::string challenge : {"", "Negotiate", "Bearer realm=\"not a url\"", "Bearer"}) {
        challenge_ = challenge;
        EXPECT_EQ(refused().kind(), ErrorKind::invalid) << challenge;
    }
}

}  // namespace
}  // namespace kua::oci
