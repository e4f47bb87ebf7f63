// SPDX-License-Identifier: Apache-2.0
// From a version to files on this host that are known to be that version: fetched, hashed on the
// way, asked for their version.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/plan/version.hpp"
#include "agent/release/download.hpp"
#include "agent/release/inspect.hpp"
#include "agent/release/signatures.hpp"
#include "agent/release/source.hpp"

namespace kua::release {

struct StagedImages {
    std::filesystem::path path;
    std::string name;  ///< The file's own, without a folder.
    std::string sha256;
};

struct Staged {
    std::filesystem::path path;
    std::string sha256;
    TriedOut tried{};
    std::optional<StagedImages> images{};
};

/// `<state>/staging/<version>/`: at most one release per version, each whole and verified or not
/// there. Beside it only what a fetch that broke can go on with.
class Staging {
  public:
    /// `signatures` must live as long.
    Staging(std::filesystem::path folder, std::vector<std::unique_ptr<Source>> sources,
            const Signatures& signatures, Inspector inspector = {});

    /// Whether the file at `binary` is the release, byte for byte. Where no source can tell without
    /// reading all of it, the release is staged for that. Throws as `stage` does.
    bool is_release(const Wanted& wanted, const std::filesystem::path& binary,
                    const Destinations& destinations, std::stop_token stop);

    /// What is here already and verified again (it must be what its source still says, where that
    /// can be asked); otherwise it is fetched and verified. Sources are tried in order; those that
    /// can't serve what the Plan's image is pinned to are skipped, in `is_release`, too. Throws
    /// what the last source threw, with every source's name and reason in the message; the kind is
    /// transient when any of them was; nothing unverified can be taken for a release then.
    /// Error{failed} for the disk.
    Staged stage(const Wanted& wanted, const Destinations& destinations, const Progress& progress,
                 std::stop_token stop);

    /// Whether `stage` may find it here; it looks more closely.
    [[nodiscard]] bool has(const plan::Version& version) const;

    /// Removes everything but the release of `keep`.
    void clean(const std::optional<plan::Version>& keep = {}) const;

    /// When the installed k3s at `binary` was built, as it says itself in a trial
    /// (Inspector::try_out); empty when it does not. It is tried once, until the file changes.
    /// Throws Error{failed}, Error{stopped}.
    std::string build_date_of(const std::filesystem::path& binary, const std::stop_token& stop);

  private:
    template <typename Result>
    Result first_of(const Wanted& wanted, const std::function<Result(Source&)>& attempt);
    Staged fetch(Source& source, const Wanted& wanted, const Destinations& destinations,
                 const Progress& progress, const std::stop_token& stop);
    std::optional<Staged> here(const Wanted& wanted, const std::stop_token& stop);
    Source* source_of(const std::string& origin, const Wanted& wanted) const;

    std::filesystem::path folder_;
    std::vector<std::unique_ptr<Source>> sources_;
    const Signatures& signatures_;
    Inspector inspector_;
    std::string dated_;  ///< Which file `date_` is of.
    std::string date_;
};

}  // namespace kua::release
