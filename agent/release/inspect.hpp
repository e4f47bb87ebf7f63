// SPDX-License-Identifier: Apache-2.0
// What a k3s binary says of itself when it is run, which is done as if it were hostile.
#pragma once

#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>

#include "agent/plan/version.hpp"
#include "agent/release/sandbox.hpp"

namespace kua::release {

/// Asks binaries. What makes a host's inspector can be replaced where the binaries are scripts.
class Inspector {
  public:
    /// Throws Error{invalid} for what may not be run here at all.
    using Check = std::function<void(const std::filesystem::path&)>;
    using Run = std::function<fs::Finished(const Trial&, std::stop_token)>;

    /// For hosts: `check_elf`, then `run_in_sandbox`.
    Inspector();
    Inspector(Check check, Run run) : check_(std::move(check)), run_(std::move(run)) {}

    /// What `<binary> --version` says. Throws Error{invalid} when it can't be run on this machine,
    /// fails, does not end, or says no version; Error{failed} when nothing can be run now,
    /// Error{stopped}.
    [[nodiscard]] plan::Version version(const std::filesystem::path& binary,
                                        std::stop_token stop) const;

    /// clientVersion.buildDate of `<binary> kubectl version --client -o yaml`; empty when it does
    /// not say. Throws Error{stopped} alone.
    [[nodiscard]] std::string build_date(const std::filesystem::path& binary,
                                         std::stop_token stop) const;

  private:
    Check check_;
    Run run_;
};

}  // namespace kua::release
