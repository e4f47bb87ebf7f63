// SPDX-License-Identifier: Apache-2.0
// The administrator's own programs around an upgrade: which there are, whether they may run, and
// running them.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.hpp"

namespace kua::node {

struct HookSettings {
    std::filesystem::path folder{};  ///< Empty: there are no hooks.
    Duration timeout{300'000};       ///< Of each.
};

/// Folders of hooks, in the order in which an upgrade comes by. The ways that it may go are in
/// docs/layout.md.
inline constexpr auto kPreDrain = "pre-drain";
inline constexpr auto kPostDrain = "post-drain";
inline constexpr auto kPreRestart = "pre-restart";
inline constexpr auto kPostUpgrade = "post-upgrade";
inline constexpr auto kOnFailure = "on-failure";

/// Whether run-parts (LSB's names) would run a file of this name: not a hidden one, nor what
/// editors and package managers leave (`~`, `.dpkg-*`, `.rpmsave`, …).
bool is_hook_name(std::string_view name);

/// Executables below `folder`/<point>, run one after the other by name.
class Hooks {
  public:
    explicit Hooks(HookSettings settings = {}) : settings_(std::move(settings)) {}

    /// The hooks of a point, in order; empty when its folder is missing. Throws Error{failed}.
    [[nodiscard]] std::vector<std::filesystem::path> at(std::string_view point) const;

    /// Throws Error{invalid} that names the first hook of any point which somebody other than root
    /// (or this process's user) owns or may write, or whose folder is such. A link is followed, and
    /// what holds its target counts, too.
    void check() const;

    /// Runs those of a point. `environment` is what they get besides PATH: `NAME=value`. Where
    /// systemd is the init each is a transient unit, outside the agent's sandbox, with whose end
    /// everything of it ends; elsewhere it is a plain child. Each line that a hook prints is
    /// logged, up to some hundreds. Throws Error{failed} that names the first that fails or runs
    /// longer than `timeout` (or the settings', whichever is sooner), with its last line; the rest
    /// are not run then. Throws Error{invalid} as `check`, Error{stopped}.
    void run(std::string_view point, const std::vector<std::string>& environment, Duration timeout,
             const std::stop_token& stop) const;

  private:
    HookSettings settings_;
};

}  // namespace kua::node
