// SPDX-License-Identifier: Apache-2.0
// Stands in for the files that a release is written to: texts in memory. Different from the real
// ones: there is always room.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/release/source.hpp"
#include "lib/crypto/digest.hpp"

namespace kua::test {

class FakeSink final : public release::Sink {
  public:
    [[nodiscard]] std::optional<Kept> kept(release::Part part) const override {
        const auto found = left.find(part);
        return found == left.end() ? std::nullopt : std::optional(found->second);
    }

    void begin(release::Part part, const Beginning& beginning) override {
        begun.push_back(beginning);
        current_ = part;
        content[part].resize(beginning.offset);
    }

    void write(std::string_view data) override { content[current_] += data; }

    std::string finish() override {
        return crypto::hex_digest(crypto::Algorithm::sha256, content[current_]);
    }

    std::map<release::Part, std::string> content;
    std::map<release::Part, Kept> left;  ///< Set `content` to match.
    std::vector<Beginning> begun;

  private:
    release::Part current_ = release::Part::binary;
};

}  // namespace kua::test
