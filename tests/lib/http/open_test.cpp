// SPDX-License-Identifier: Apache-2.0
// Answers that the caller reads at its own pace, and leaves when it likes.
#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <utility>
#include <vector>

#include "lib/base/format.hpp"
#include "tests/lib/http/fixture.hpp"

namespace kua::http {
namespace {

using test::answer;
using test::chunk;
using test::Connection;
using test::error_of;
using test::kChunked;
using test::Received;
using test::replying;
using test::TlsServer;
using ::testing::HasSubstr;

using Open = test::CurlClientTest;

std::string rest_of(Answer& answer) {
    std::string all;
    for (auto data = answer.read({}); !data.empty(); data = answer.read({})) all += data;
    return all;
}

TEST_F(Open, GivesTheHeadBeforeTheBodyIsThere) {
    std::promise<void> head_seen;
    TlsServer server(identity_, [&](Connection& connection) {
        connection.receive();
        connection.send(kChunked);
        head_seen.get_future().wait();
        connection.send(chunk("body") + "0\r\n\r\n");
        connection.wait_for_close();
    });
    const auto opened = client_.open(request(server.url("/x?secret")), {});
    EXPECT_EQ(opened->head().status, 200);
    EXPECT_EQ(opened->head().url, server.url("/x?secret"));
    EXPECT_EQ(opened->head().body, "");
    head_seen.set_value();
    EXPECT_EQ(rest_of(*opened), "body");
    EXPECT_EQ(opened->read({}), "") << "the end stays the end";
}

TEST_F(Open, FollowsRedirects) {
    TlsServer server(identity_, replying([](const Received& received) {
                         return received.target == "/1"
                                    ? answer(302, "elsewhere", "Location: /2\r\n")
                                    : answer(200, "here");
                     }));
    Request sent = request(server.url("/1"));
    sent.most_redirects = 1;
    const auto opened = client_.open(sent, {});
    EXPECT_EQ(opened->head().url, server.url("/2"));
    EXPECT_EQ(rest_of(*opened), "here");
}

TEST_F(Open, HoldsTheServerBackWhileNobodyReads) {
    constexpr std::size_t kBlocks = 1024;
    constexpr std::size_t kBlock = 64U << 10U;
    std::atomic<std::size_t> sent = 0;
    std::promise<void> held_back;
    TlsServer server(identity_, [&](Connection& connection) {
        connection.receive();
        connection.send(format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", kBlocks * kBlock));
        bool told = false;
        for (std::size_t i = 0; i < kBlocks; ++i) {
            connection.send(std::string(kBlock, static_cast<char>('a' + i % 26)), [&] {
                if (!std::exchange(told, true)) held_back.set_value();
            });
            ++sent;
        }
        connection.wait_for_close();
    });
    const auto opened = client_.open(request(server.url("/")), {});
    held_back.get_future().wait();
    EXPECT_LT(sent * kBlock, 24U << 20U)
        << "a quarter of a MiB with us, a few in the kernel's socket buffers";
    std::size_t total = 0;
    std::size_t wrong = 0;
    for (auto data = opened->read({}); !data.empty(); data = opened->read({})) {
        for (const char letter : data) {
            if (letter != static_cast<char>('a' + (total / kBlock) % 26)) ++wrong;
            ++total;
        }
    }
    EXPECT_EQ(total, kBlocks * kBlock);
    EXPECT_EQ(wrong, 0U);
}

TEST_F(Open, IsEndedByAStopWhileItReads) {
    TlsServer server(identity_, [](Connection& connection) {
        connection.receive();
        connection.send(kChunked + chunk("data"));
        connection.wait_for_close();
    });
    Request sent = request(server.url("/"));
    sent.timeout = Duration::zero();
    std::stop_source stop;
    const auto opened = client_.open(sent, stop.get_token());
    EXPECT_EQ(opened->read(stop.get_token()), "data");
    stop.request_stop();
    const Error error = error_of([&] { opened->read(stop.get_token()); });
    EXPECT_EQ(error.kind(), ErrorKind::stopped);
}

TEST_F(Open, RefusesWhatIsTooLong) {
    TlsServer server(identity_, [](Connection& connection) {
        const auto received = connection.receive();
        if (received->target == "/told") {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n");
        } else {
            connection.send(kChunked);
            while (connection.send(chunk(std::string(10'000, 'x')))) {
            }
        }
        connection.wait_for_close();
    });
    Request sent = request(server.url("/told"));
    sent.most_body = 1'000'000;
    Error error = error_of([&] { client_.open(sent, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("longer than 1.0 MB"));

    sent.url = server.url("/untold");
    const auto opened = client_.open(sent, {});
    std::size_t seen = 0;
    error = error_of([&] {
        for (auto data = opened->read({}); !data.empty(); data = opened->read({})) {
            seen += data.size();
        }
    });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_LE(seen, 1'000'000U);
}

TEST_F(Open, GivesWhatCameBeforeTheConnectionBroke) {
    TlsServer server(identity_, [](Connection& connection) {
        connection.receive();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin");
    });
    const auto opened = client_.open(request(server.url("/")), {});
    std::string seen;
    const Error error = error_of([&] {
        for (auto data = opened->read({}); !data.empty(); data = opened->read({})) seen += data;
    });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_EQ(seen, "begin");
}

TEST_F(Open, CanBeLeftHalfwayAndTheClientGoesOn) {
    std::atomic<int> hung_up = 0;
    std::promise<void> all_hung_up;
    constexpr int kTimes = 20;
    TlsServer server(identity_, [&](Connection& connection) {
        const auto received = connection.receive();
        if (!received) return;
        if (received->target == "/fine") {
            connection.send(answer(200, "fine"));
            connection.wait_for_close();
            return;
        }
        connection.send(kChunked);
        while (connection.send(chunk(std::string(10'000, 'x')))) {
        }
        if (++hung_up == kTimes) all_hung_up.set_value();
    });
    for (int i = 0; i < kTimes; ++i) {
        const auto opened = client_.open(request(server.url("/endless")), {});
        if (i % 2 == 0) {
            EXPECT_FALSE(opened->read({}).empty());
        }
    }
    // The server sees every one of them go: no connection is left behind.
    all_hung_up.get_future().wait();
    EXPECT_EQ(client_.send(request(server.url("/fine")), {}).body, "fine");
}

TEST_F(Open, SeveralAreReadSideBySide) {
    TlsServer server(identity_, replying([](const Received& received) {
                         return answer(200, std::string(3U << 20U, received.target.back()));
                     }));
    std::vector<std::unique_ptr<Answer>> opened;
    for (const char* path : {"/a", "/b", "/c"}) {
        opened.push_back(client_.open(request(server.url(path)), {}));
    }
    // The last first: one that waits holds up nobody else.
    EXPECT_EQ(rest_of(*opened[2]), std::string(3U << 20U, 'c'));
    EXPECT_EQ(rest_of(*opened[0]), std::string(3U << 20U, 'a'));
    EXPECT_EQ(rest_of(*opened[1]), std::string(3U << 20U, 'b'));
}

TEST_F(Open, ComesNoFasterThanAllowed) {
    constexpr std::size_t kSize = 800'000;
    TlsServer server(
        identity_, replying([](const Received&) { return answer(200, std::string(kSize, 'x')); }));
    Request sent = request(server.url("/"));
    sent.most_rate = 800'000;
    sent.idle_timeout = std::chrono::milliseconds(100);  // of the server, not of us
    const auto begun = std::chrono::steady_clock::now();
    EXPECT_EQ(client_.send(sent, {}).body.size(), kSize);
    // Only a lower bound can be promised.
    EXPECT_GT(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(900));
}

TEST_F(Open, IsEndedByAStopWhileItComesSlowly) {
    TlsServer server(identity_, replying([](const Received&) {
                         return answer(200, std::string(100'000, 'x'));
                     }));
    Request sent = request(server.url("/"));
    sent.most_rate = 1;
    std::stop_source stop;
    const auto opened = client_.open(sent, {});
    EXPECT_FALSE(opened->read({}).empty());
    auto ended = std::async(std::launch::async, [&] {
        return error_of([&] { opened->read(stop.get_token()); }).kind();
    });
    stop.request_stop();
    EXPECT_EQ(ended.get(), ErrorKind::stopped);
}

}  // namespace
}  // namespace kua::http
