// SPDX-License-Identifier: Apache-2.0
// http::Client that plays a script: one reply after another; when it is over, requests hang until
// they are stopped.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/json.hpp"
#include "lib/http/client.hpp"
#include "tests/fakes/whole_answer.hpp"

namespace kua::test {

class FakeHttpClient final : public http::Client {
  public:
    /// Hands `data` to the consumer, where there is one.
    using Give = std::function<void(const std::string& data)>;
    using Reply =
        std::function<http::Response(const http::Request&, const Give&, const std::stop_token&)>;

    FakeHttpClient& then(Reply reply) {
        const std::lock_guard lock(mutex_);
        script_.push_back(std::move(reply));
        return *this;
    }

    FakeHttpClient& then(int status, const Json& body, const http::Headers& headers = {}) {
        return then_text(status, body.dump(), headers);
    }

    FakeHttpClient& then_text(int status, const std::string& body,
                              const http::Headers& headers = {}) {
        return then([=](const http::Request& request, const Give&, const std::stop_token&) {
            return http::Response{status, headers, body, request.url};
        });
    }

    FakeHttpClient& then_fail(ErrorKind kind = ErrorKind::transient,
                              const std::string& message = "connection refused") {
        return then([=](const http::Request&, const Give&,
                        const std::stop_token&) -> http::Response { throw Error(kind, message); });
    }

    /// A watch that gives these events and is ended by the server.
    FakeHttpClient& then_events(const std::vector<Json>& events) {
        return then([=](const http::Request& request, const Give& give, const std::stop_token&) {
            for (const Json& event : events) give(event.dump() + "\n");
            return http::Response{200, {}, "", request.url};
        });
    }

    /// A watch that gives these events and then breaks.
    FakeHttpClient& then_break_after(const std::vector<Json>& events) {
        return then(
            [=](const http::Request&, const Give& give, const std::stop_token&) -> http::Response {
                for (const Json& event : events) give(event.dump() + "\n");
                if (events.empty()) give("");
                throw Error(ErrorKind::transient, "connection reset");
            });
    }

    /// A watch that gives these events and stays.
    FakeHttpClient& then_hang_after(const std::vector<Json>& events) {
        return then([=](const http::Request&, const Give& give, const std::stop_token& stop) {
            for (const Json& event : events) give(event.dump() + "\n");
            if (events.empty()) give("");
            return hang(stop);
        });
    }

    http::Response send(const http::Request& request, std::stop_token stop) override {
        return next(request)(
            request, [](const std::string&) {}, stop);
    }

    http::Response stream(const http::Request& request, const http::Consumer& consumer,
                          std::stop_token stop) override {
        bool headed = false;
        const Give give = [&](const std::string& data) {
            if (!std::exchange(headed, true)) {
                EXPECT_TRUE(consumer.on_head({200, {}, "", request.url}));
            }
            if (!data.empty()) consumer.on_data(data);
        };
        http::Response response = next(request)(request, give, stop);
        if (!headed && consumer.on_head(response)) consumer.on_data(response.body);
        return response;
    }

    std::unique_ptr<http::Answer> open(const http::Request& request,
                                       std::stop_token stop) override {
        return std::make_unique<WholeAnswer>(send(request, std::move(stop)));
    }

    /// What was asked so far.
    std::vector<http::Request> requests() {
        const std::lock_guard lock(mutex_);
        return requests_;
    }

  private:
    static http::Response hang(const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any never;
        std::unique_lock lock(mutex);
        never.wait(lock, stop, [] { return false; });
        throw Error(ErrorKind::stopped, "stopped");
    }

    Reply next(const http::Request& request) {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
        if (script_.empty()) {
            return [](const http::Request&, const Give&, const std::stop_token& stop) {
                return hang(stop);
            };
        }
        Reply reply = std::move(script_.front());
        script_.pop_front();
        return reply;
    }

    std::mutex mutex_;
    std::deque<Reply> script_;
    std::vector<http::Request> requests_;
};

}  // namespace kua::test
