// SPDX-License-Identifier: Apache-2.0
// http::Answer of fakes: a response that is there already, read in one piece.
#pragma once

#include <utility>

#include "lib/http/client.hpp"

namespace kua::test {

class WholeAnswer final : public http::Answer {
  public:
    explicit WholeAnswer(http::Response response)
        : head_(std::move(response)), body_(std::exchange(head_.body, {})) {}

    [[nodiscard]] const http::Response& head() const override { return head_; }

    std::string_view read(const std::stop_token& /*stop*/) override {
        piece_ = std::exchange(body_, {});
        return piece_;
    }

  private:
    http::Response head_;
    std::string body_;
    std::string piece_;
};

}  // namespace kua::test
