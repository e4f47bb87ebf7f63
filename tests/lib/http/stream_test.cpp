// SPDX-License-Identifier: Apache-2.0
// Streamed answers: in order, held back, ended by whoever wants to.
#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <stdexcept>

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

using Stream = test::CurlClientTest;

TEST_F(Stream, HandsDataOverWhileItComes) {
    std::promise<void> first_arrived;
    TlsServer server(identity_, [&](Connection& connection) {
        connection.receive();
        connection.send(kChunked + chunk("first"));
        // The second is not sent before the first has arrived.
        first_arrived.get_future().wait();
        connection.send(chunk("second") + "0\r\n\r\n");
        connection.wait_for_close();
    });
    std::string seen;
    Consumer consumer;
    consumer.on_head = [&](const Response& head) {
        seen += format("{}:", head.status);
        return true;
    };
    consumer.on_data = [&](std::string_view data) {
        if (seen == "200:") first_arrived.set_value();
        seen += data;
    };
    const Response response = client_.stream(request(server.url("/")), consumer, {});
    EXPECT_EQ(seen, "200:firstsecond");
    EXPECT_EQ(response.body, "");
}

TEST_F(Stream, HoldsTheServerBackWhileTheConsumerIsBusy) {
    constexpr std::size_t kBlocks = 1024;
    constexpr std::size_t kBlock = 64U << 10U;
    std::atomic<std::size_t> sent = 0;
    std::promise<void> held_back;
    TlsServer server(identity_, [&](Connection& connection) {
        connection.receive();
        connection.send(format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", kBlocks * kBlock));
        bool told = false;
        for (std::size_t i = 0; i < kBlocks; ++i) {
            const std::string block(kBlock, static_cast<char>('a' + i % 26));
            connection.send(block, [&] {
                if (!std::exchange(told, true)) held_back.set_value();
            });
            ++sent;
        }
        connection.wait_for_close();
    });
    std::size_t total = 0;
    std::size_t wrong = 0;
    std::size_t sent_meanwhile = 0;
    Consumer consumer;
    consumer.on_data = [&](std::string_view data) {
        if (total == 0) {
            held_back.get_future().wait();
            sent_meanwhile = sent;
        }
        for (const char letter : data) {
            if (letter != static_cast<char>('a' + (total / kBlock) % 26)) ++wrong;
            ++total;
        }
    };
    client_.stream(request(server.url("/")), consumer, {});
    EXPECT_EQ(total, kBlocks * kBlock);
    EXPECT_EQ(wrong, 0U);
    // A quarter of a MiB with us and a few in the kernel's socket buffers.
    EXPECT_LT(sent_meanwhile * kBlock, 24U << 20U);
}

TEST_F(Stream, PassesAnExceptionOfTheConsumerOn) {
    std::promise<void> hung_up;
    TlsServer server(identity_, [&](Connection& connection) {
        const auto received = connection.receive();
        if (received->target == "/fine") {
            connection.send(answer(200, "fine"));
            return;
        }
        connection.send(kChunked + chunk("data"));
        connection.wait_for_close();
        hung_up.set_value();
    });
    Consumer consumer;
    consumer.on_data = [](std::string_view) { throw std::runtime_error("full"); };
    EXPECT_THROW(client_.stream(request(server.url("/")), consumer, {}), std::runtime_error);
    hung_up.get_future().wait();
    EXPECT_EQ(client_.send(request(server.url("/fine")), {}).body, "fine");

    consumer.on_head = [](const Response&) -> bool { throw std::runtime_error("no"); };
    EXPECT_THROW(client_.stream(request(server.url("/fine")), consumer, {}), std::runtime_error);
}

TEST_F(Stream, IsEndedByAStopInTheMiddle) {
    TlsServer server(identity_, [](Connection& connection) {
        connection.receive();
        connection.send(kChunked + chunk("data"));
        connection.wait_for_close();
    });
    std::stop_source stop;
    Consumer consumer;
    consumer.on_data = [&](std::string_view) { stop.request_stop(); };
    Request sent = request(server.url("/"));
    sent.timeout = Duration::zero();
    const Error error = error_of([&] { client_.stream(sent, consumer, stop.get_token()); });
    EXPECT_EQ(error.kind(), ErrorKind::stopped);
}

TEST_F(Stream, FailsWhenTheServerFallsSilent) {
    TlsServer server(identity_, [](Connection& connection) {
        const auto received = connection.receive();
        if (received->target == "/begun") connection.send(kChunked + chunk("data"));
        connection.wait_for_close();
    });
    for (const char* path : {"/begun", "/not-begun"}) {
        std::string seen;
        Consumer consumer;
        consumer.on_data = [&](std::string_view data) { seen += data; };
        Request sent = request(server.url(path));
        sent.timeout = Duration::zero();
        sent.idle_timeout = std::chrono::seconds(1);
        const Error error = error_of([&] { client_.stream(sent, consumer, {}); });
        EXPECT_EQ(error.kind(), ErrorKind::transient);
        EXPECT_THAT(error.what(), HasSubstr("the server was silent for 1s"));
        EXPECT_EQ(seen, std::string(path) == "/begun" ? "data" : "");
    }
}

TEST_F(Stream, GoesOnAsLongAsSomethingComesWithinTheIdleTimeout) {
    // Five pieces, each asked for by the piece before: together longer than the limit is impossible
    // to promise without a clock, so the limit is generous and only the bookkeeping is looked at.
    TlsServer server(identity_, [](Connection& connection) {
        connection.receive();
        connection.send(kChunked);
        for (int i = 0; i < 5; ++i) connection.send(chunk("x"));
        connection.send("0\r\n\r\n");
        connection.wait_for_close();
    });
    Request sent = request(server.url("/"));
    sent.idle_timeout = std::chrono::seconds(20);
    std::string seen;
    Consumer consumer;
    consumer.on_data = [&](std::string_view data) { seen += data; };
    client_.stream(sent, consumer, {});
    EXPECT_EQ(seen, "xxxxx");
}

TEST_F(Stream, CollectsTheTextOfAnError) {
    TlsServer server(identity_, replying([](const Received& received) {
                         return answer(404, received.target == "/short"
                                                ? "no such version"
                                                : std::string(2U << 20U, 'x'));
                     }));
    Consumer consumer;
    consumer.on_head = [](const Response& head) { return head.status == 200; };
    consumer.on_data = [](std::string_view) { FAIL() << "data of an error"; };
    const Response response = client_.stream(request(server.url("/short")), consumer, {});
    EXPECT_EQ(response.status, 404);
    EXPECT_EQ(response.body, "no such version");
    const Error error =
        error_of([&] { client_.stream(request(server.url("/long")), consumer, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
}

TEST_F(Stream, GivesWhatCameBeforeTheConnectionBroke) {
    TlsServer server(identity_, [](Connection& connection) {
        connection.receive();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin");
    });
    std::string seen;
    Consumer consumer;
    consumer.on_data = [&](std::string_view data) { seen += data; };
    const Error error = error_of([&] { client_.stream(request(server.url("/")), consumer, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_EQ(seen, "begin");
}

TEST_F(Stream, IsBoundedInWhatItHandsOver) {
    TlsServer server(identity_, [](Connection& connection) {
        connection.receive();
        connection.send(kChunked);
        while (connection.send(chunk(std::string(10'000, 'x')))) {
        }
    });
    Request sent = request(server.url("/"));
    sent.most_body = 1'000'000;
    std::size_t seen = 0;
    Consumer consumer;
    consumer.on_data = [&](std::string_view data) { seen += data.size(); };
    const Error error = error_of([&] { client_.stream(sent, consumer, {}); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_LE(seen, 1'000'000U);
}

}  // namespace
}  // namespace kua::http
