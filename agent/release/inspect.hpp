// SPDX-License-Identifier: Apache-2.0
// What a k3s binary says of itself when it is run, which is done as if it were hostile.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>

#include "agent/plan/version.hpp"
#include "agent/release/sandbox.hpp"

namespace kua::release {

/// What a binary that unpacked itself and ran a command of its own has shown.
struct TriedOut {
    std::string build_date;      ///< clientVersion.buildDate; empty when it does not say.
    std::uint64_t unpacked = 0;  ///< Bytes that it has unpacked.
};

/// Asks binaries. What makes a host's inspector can be replaced where the binaries are scripts.
class Inspector {
  public:
    /// Throws Error{invalid} for what may not be run here at all.
    using Check = std::function<void(const std::filesystem::path&)>;
    using Run = std::function<fs::Finished(const Trial&, std::stop_token)>;

    /// For hosts: `check_elf`, then `run_in_sandbox`.
    Inspector();
    /// For the k3s that is installed: `check_elf`, then as this user, as its unit runs it. Its file
    /// may be closed to everybody else.
    static Inspector of_installed();

    Inspector(Check check, Run run) : check_(std::move(check)), run_(std::move(run)) {}

    /// What `<binary> --version` says, which k3s prints without looking at its payload. Throws
    /// Error{invalid} when it can't be run on this machine, fails, does not end, or says no
    /// version; Error{failed} when nothing can be run now, Error{stopped}.
    [[nodiscard]] plan::Version version(const std::filesystem::path& binary,
                                        std::stop_token stop) const;

    /// Runs `<binary> kubectl version --client -o yaml`, for which k3s unpacks its whole payload,
    /// in a folder of its own in `folder` that goes with it; every user must be able to reach
    /// `folder`. Throws Error{invalid} when the program can't be run or does not succeed,
    /// Error{failed} when there is no room for it or nothing can be run now, Error{stopped}.
    [[nodiscard]] TriedOut try_out(const std::filesystem::path& binary,
                                   const std::filesystem::path& folder, std::stop_token stop) const;

    /// Removes what a process that was killed has left of its trials in `folder`. What fails is
    /// left to the next one.
    static void remove_leftovers(const std::filesystem::path& folder);

  private:
    Check check_;
    Run run_;
};

}  // namespace kua::release
