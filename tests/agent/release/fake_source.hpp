// SPDX-License-Identifier: Apache-2.0
// Stands in for a place that releases come from: one file, or an Error. Different from the real
// ones: it is all there at once.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "agent/release/source.hpp"
#include "lib/crypto/digest.hpp"

namespace kua::test {

class FakeSource final : public release::Source {
  public:
    explicit FakeSource(std::string binary) : content(std::move(binary)) {}

    [[nodiscard]] std::string name() const override { return called; }

    [[nodiscard]] std::string origin(const release::Wanted& wanted) const override {
        return by_image ? called + " " + wanted.image : called;
    }

    [[nodiscard]] bool serves_pins() const override { return by_image; }

    std::optional<std::string> checksum(const release::Wanted& /*wanted*/,
                                        std::stop_token /*stop*/) override {
        ++checksums;
        if (on_checksum) {
            on_checksum();
        }
        return tells ? std::optional(promised()) : std::nullopt;
    }

    release::Fetched fetch(const release::Wanted& /*wanted*/, release::Sink& sink,
                           std::stop_token /*stop*/) override {
        ++fetches;
        if (on_checksum) {
            on_checksum();
        }
        const auto kept = sink.kept(release::Part::binary);
        offset = kept && kept->validator == validator ? kept->bytes : 0;
        sink.begin(release::Part::binary,
                   {"k3s", offset, total.value_or(content.size()), validator});
        const auto half = std::max<std::size_t>(content.size() / 2, offset);
        sink.write(content.substr(offset, half - offset));
        if (on_half) {
            on_half();
        }
        sink.write(content.substr(half));
        sink.finish();
        release::Fetched fetched{promised()};
        if (!images.empty()) {
            sink.begin(release::Part::images,
                       {"k3s-airgap-images-amd64.tar.zst", 0, images.size()});
            sink.write(images);
            fetched.images = sink.finish();
        }
        return fetched;
    }

    std::string content;
    std::string called = "fake";
    std::string said;       ///< The checksum, when it is not the content's.
    bool by_image = false;  ///< Has other bytes for another image, as a registry may.
    bool tells = true;      ///< Knows the checksum beforehand.
    std::string images;
    std::string validator;
    std::optional<std::uint64_t> total;
    std::function<void()> on_checksum;
    std::function<void()> on_half;  ///< Called in the middle of the transfer.
    std::uint64_t offset = 0;       ///< Where the last fetch began.
    int checksums = 0;
    int fetches = 0;

  private:
    [[nodiscard]] std::string promised() const {
        return said.empty() ? crypto::hex_digest(crypto::Algorithm::sha256, content) : said;
    }
};

}  // namespace kua::test
