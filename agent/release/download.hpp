// SPDX-License-Identifier: Apache-2.0
// One release on its way to this host: files that are not to be believed yet, hashed while they are
// written, and what of them the next attempt can go on with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "agent/release/source.hpp"
#include "lib/fs/files.hpp"

namespace kua::release {

/// Bytes so far, and of how many (absent when the source does not say).
using Progress = std::function<void(std::uint64_t done, std::optional<std::uint64_t> total)>;

/// Where the parts of a release will go in the end; they need room there, too.
struct Destinations {
    std::filesystem::path binary;  ///< The folder of the installed k3s; empty: none.
    std::filesystem::path images;  ///< k3s's folder for images; empty: none, images are refused.
};

/// The sink of one fetch from one source into `folder`. What it wrote is removed when it goes,
/// unless it was committed, or suspended for the next one to go on with.
class Download final : public Sink {
  public:
    /// `source`: who it comes from; what another left behind is not gone on with.
    Download(std::filesystem::path folder, std::string source, Destinations destinations,
             Progress progress);
    ~Download() override;
    Download(const Download&) = delete;
    Download& operator=(const Download&) = delete;

    [[nodiscard]] std::optional<Kept> kept(Part part) const override;
    void begin(Part part, const Beginning& beginning) override;
    void write(std::string_view data) override;
    std::string finish() override;

    /// What was written of a part, once it is finished.
    struct Written {
        std::filesystem::path path;
        std::string name;
        std::string sha256;
        std::uint64_t size = 0;
    };
    [[nodiscard]] const Written* written(Part part) const;

    /// Makes the bytes last (fsync). Throws Error{failed}.
    void sync();
    /// Keeps what the next attempt can go on with.
    void suspend() { suspended_ = true; }

  private:
    struct Current;

    std::filesystem::path folder_;
    std::string source_;
    Destinations destinations_;
    Progress progress_;
    std::unique_ptr<Current> current_;
    std::map<Part, Written> written_;
    std::map<Part, std::unique_ptr<fs::Writer>> writers_;  ///< Of what is written, until `sync`.
    bool suspended_ = false;
};

}  // namespace kua::release
