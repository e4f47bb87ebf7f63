// SPDX-License-Identifier: Apache-2.0
#include "lib/http/curl_client.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <future>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "lib/base/format.hpp"
#include "lib/base/unique_fd.hpp"
#include "tests/lib/base/shows_progress.hpp"
#include "tests/lib/http/fixture.hpp"

namespace kua::http {
namespace {

using test::answer;
using test::Connection;
using test::error_of;
using test::Received;
using test::replying;
using test::TlsServer;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using CurlClient = test::CurlClientTest;

// A TCP socket on 127.0.0.1 that is bound, and listens when asked to; nobody ever accepts.
struct Port {
    UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    int number = 0;
    explicit Port(bool listening) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof(address);
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        EXPECT_EQ(::bind(fd.get(), generic, size), 0);
        EXPECT_EQ(::getsockname(fd.get(), generic, &size), 0);
        if (listening) {
            EXPECT_EQ(::listen(fd.get(), 8), 0);
        }
        number = ntohs(address.sin_port);
    }
};

TEST_F(CurlClient, GivesStatusHeadersAndBody) {
    TlsServer server(identity_, replying([](const Received&) {
                         return answer(200, "hello",
                                       "X-One: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\n");
                     }));
    const Response response = client_.send(request(server.url("/x")), {});
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "hello");
    EXPECT_EQ(response.header("x-one"), "1");
    EXPECT_EQ(response.header("Set-Cookie"), "a, b");
    EXPECT_EQ(response.url, server.url("/x"));
}

TEST_F(CurlClient, SendsMethodTargetHeadersAndBodyAndNothingMadeUp) {
    Received got;
    TlsServer server(identity_, replying([&](const Received& received) {
                         got = received;
                         return answer(201, "");
                     }));
    Request sent = request(server.url("/a%2Bb/../c?d=e+f"));
    sent.method = "PATCH";
    sent.headers = {{"Content-Type", "application/merge-patch+json"}, {"X-Empty", ""}};
    sent.body = std::string(100'000, 'x');
    EXPECT_EQ(client_.send(sent, {}).status, 201);
    EXPECT_EQ(got.method, "PATCH");
    EXPECT_EQ(got.target, "/a%2Bb/../c?d=e+f");
    EXPECT_EQ(got.body, sent.body);
    EXPECT_EQ(got.headers["Content-Type"], "application/merge-patch+json");
    EXPECT_EQ(got.headers.count("X-Empty"), 1U);
    EXPECT_EQ(got.headers["User-Agent"], "k3s-upgrade-agent");
    EXPECT_EQ(got.headers.count("Expect"), 0U);

    for (const char* method : {"GET", "POST", "PUT", "DELETE"}) {
        sent = request(server.url("/"));
        sent.method = method;
        EXPECT_EQ(client_.send(sent, {}).status, 201);
        EXPECT_EQ(got.method, method);
        EXPECT_EQ(got.headers.count("Content-Type"), 0U) << method;
    }
}

TEST_F(CurlClient, TakesAnErrorStatusForAnAnswer) {
    TlsServer server(identity_, replying([](const Received&) { return answer(503, "busy"); }));
    const Response response = client_.send(request(server.url("/")), {});
    EXPECT_EQ(response.status, 503);
    EXPECT_EQ(response.body, "busy");
}

TEST_F(CurlClient, SkipsInterimAnswersAndIgnoresTrailers) {
    TlsServer server(identity_, replying([](const Received&) {
                         return "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
                                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "2\r\nok\r\n0\r\nX-Trailer: late\r\n\r\n";
                     }));
    const Response response = client_.send(request(server.url("/")), {});
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "ok");
    EXPECT_EQ(response.header("Link"), "");
    EXPECT_EQ(response.header("X-Trailer"), "");
}

TEST_F(CurlClient, DoesNotWaitForTheBodyOfAHead) {
    TlsServer server(identity_, replying([](const Received&) {
                         return "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n";
                     }));
    Request head = request(server.url("/"));
    head.method = "HEAD";
    EXPECT_EQ(client_.send(head, {}).header("Content-Length"), "999999999999");
}

TEST_F(CurlClient, KeepsAConnectionForTheNextRequest) {
    TlsServer server(identity_, replying([](const Received&) { return answer(200, "x"); }));
    for (int i = 0; i < 3; ++i) client_.send(request(server.url("/")), {});
    EXPECT_EQ(server.connections(), 1);
}

TEST_F(CurlClient, ServesManyThreadsAtOnce) {
    TlsServer server(
        identity_, replying([](const Received& received) { return answer(200, received.target); }));
    std::vector<std::jthread> callers;
    callers.reserve(12);
    std::atomic<int> right = 0;
    for (int i = 0; i < 12; ++i) {
        callers.emplace_back([&, path = "/" + std::to_string(i)] {
            for (int round = 0; round < 5; ++round) {
                if (client_.send(request(server.url(path)), {}).body == path) ++right;
            }
        });
    }
    callers.clear();
    EXPECT_EQ(right, 60);
}

TEST_F(CurlClient, SaysThatTheConnectionWasRefused) {
    const Port closed(false);
    const std::string url = format("https://127.0.0.1:{}/api", closed.number);
    const Error error = error_of([&] { client_.send(request(url + "?token=secret"), {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_EQ(error.what(), "GET " + url + ": connection refused");
}

TEST_F(CurlClient, GivesUpOnAServerThatDoesNotTakeTheConnection) {
    const Port deaf(true);
    Request sent = request(format("https://127.0.0.1:{}/", deaf.number));
    sent.connect_timeout = Duration(50);
    const Error error = error_of([&] { client_.send(sent, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), HasSubstr("no connection within"));
}

TEST_F(CurlClient, SaysThatANameCannotBeResolved) {
    const Error error = error_of([&] { client_.send(request("https://nowhere.invalid/"), {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), StartsWith("GET https://nowhere.invalid/: "));
    EXPECT_THAT(error.what(), HasSubstr("resolve host"));
}

TEST_F(CurlClient, GivesUpWhenTheAnswerTakesTooLong) {
    TlsServer server(identity_, [](Connection& connection) {
        connection.receive();
        connection.wait_for_close();
    });
    Request sent = request(server.url("/slow"));
    sent.timeout = std::chrono::seconds(1);
    const Error error = error_of([&] { client_.send(sent, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_EQ(error.what(), "GET " + server.url("/slow") + ": not finished within 1s");
}

TEST_F(CurlClient, StopsWaitingAtOnceWhenTold) {
    std::promise<void> received;
    TlsServer server(identity_, [&](Connection& connection) {
        connection.receive();
        received.set_value();
        connection.wait_for_close();  // and by that proves that the client hangs up
    });
    std::stop_source stop;
    Request sent = request(server.url("/"));
    sent.timeout = Duration::zero();
    auto outcome = std::async(std::launch::async, [&] {
        return error_of([&] { client_.send(sent, stop.get_token()); }).kind();
    });
    received.get_future().wait();
    stop.request_stop();
    EXPECT_EQ(outcome.get(), ErrorKind::stopped);
}

TEST_F(CurlClient, ShowsProgressWhileTheServerIsSilent) {
    TlsServer server(identity_, [](Connection& connection) {
        connection.receive();
        connection.wait_for_close();
    });
    Request sent = request(server.url("/"));
    sent.timeout = Duration::zero();
    test::expect_progress([&](const std::stop_token& stop) {
        EXPECT_EQ(error_of([&] { client_.send(sent, stop); }).kind(), ErrorKind::stopped);
    });
}

TEST_F(CurlClient, ShowsProgressWhileThereIsNothingToDo) {
    test::expect_progress([](const std::stop_token& stop) {
        const http::CurlClient idle(CurlOptions{"", false});
        test::wait_for_stop(stop);
    });
}

TEST_F(CurlClient, DoesNothingWhenToldToStopBefore) {
    std::stop_source stop;
    stop.request_stop();
    const Error error =
        error_of([&] { client_.send(request("https://127.0.0.1:1/"), stop.get_token()); });
    EXPECT_EQ(error.kind(), ErrorKind::stopped);
}

TEST_F(CurlClient, EndsWhatIsUnderWayWhenItGoes) {
    std::latch received(3);
    TlsServer server(identity_, [&](Connection& connection) {
        connection.receive();
        received.count_down();
        connection.wait_for_close();
    });
    auto client = std::make_unique<http::CurlClient>(CurlOptions{"", false});
    std::vector<std::future<ErrorKind>> outcomes;
    outcomes.reserve(3);
    for (int i = 0; i < 3; ++i) {
        outcomes.push_back(std::async(std::launch::async, [&] {
            return error_of([&] { client->send(request(server.url("/")), {}); }).kind();
        }));
    }
    received.wait();
    client.reset();
    for (auto& outcome : outcomes) EXPECT_EQ(outcome.get(), ErrorKind::stopped);
}

TEST_F(CurlClient, RefusesAnAnswerThatIsTooLong) {
    TlsServer server(identity_, replying([](const Received& received) {
                         if (received.target == "/length") return answer(200, std::string(11, 'x'));
                         return std::string(
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "b\r\nxxxxxxxxxxx\r\n0\r\n\r\n");
                     }));
    for (const char* path : {"/length", "/chunked"}) {
        Request sent = request(server.url(path));
        sent.most_body = 10;
        const Error error = error_of([&] { client_.send(sent, {}); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << path;
        EXPECT_THAT(error.what(), HasSubstr("longer than 10 B")) << path;
        sent.most_body = 11;
        EXPECT_EQ(client_.send(sent, {}).body.size(), 11U) << path;
    }
}

TEST_F(CurlClient, RefusesEndlessHeaders) {
    TlsServer server(identity_, [](Connection& connection) {
        connection.receive();
        const std::string line = "X-Filler: " + std::string(10'000, 'x') + "\r\n";
        bool reading = connection.send("HTTP/1.1 200 OK\r\n");
        for (int i = 0; reading && i < 1000; ++i) reading = connection.send(line);
    });
    const Error error = error_of([&] { client_.send(request(server.url("/")), {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("headers are too long"));
}

TEST_F(CurlClient, TakesABrokenAnswerForATransientError) {
    TlsServer server(identity_, [](Connection& connection) {
        const auto received = connection.receive();
        if (!received) return;
        if (received->target == "/length")
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxxx");
        if (received->target == "/chunked") {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nxxx");
        }
        if (received->target == "/header") connection.send("HTTP/1.1 200 OK\r\nX-One: ");
        if (received->target == "/nonsense") connection.send("SSH-2.0-OpenSSH_9.2\r\n\r\n");
        if (received->target == "/reset") connection.reset();
    });
    for (const char* path : {"/length", "/chunked", "/header", "/nonsense", "/reset", "/nothing"}) {
        const Error error = error_of([&] { client_.send(request(server.url(path)), {}); });
        EXPECT_EQ(error.kind(), ErrorKind::transient) << path;
        EXPECT_THAT(error.what(), StartsWith("GET " + server.url(path) + ": ")) << path;
        EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    }
}

TEST_F(CurlClient, RefusesAHeaderThatWouldBecomeTwo) {
    Request sent = request("https://127.0.0.1:1/");
    sent.headers.emplace("X-SUC-Latest-Version", "v1\r\nAuthorization: x");
    const Error error = error_of([&] { client_.send(sent, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("X-SUC-Latest-Version"));
}

TEST_F(CurlClient, RefusesOtherProtocols) {
    const Error error = error_of([&] { client_.send(request("file:///etc/hostname"), {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
}

}  // namespace
}  // namespace kua::http
