// SPDX-License-Identifier: Apache-2.0
// Has a new k3s unpack itself where it will run, before it does.
#pragma once

#include <filesystem>
#include <stop_token>

#include "lib/base/clock.hpp"

namespace kua::node {

/// Runs `<k3s> --data-dir <data_dir> kubectl version --client`, for which k3s unpacks its payload
/// into `<data_dir>/data/<hash>`, and makes that last (syncfs). k3s does so itself when it starts,
/// but syncs nothing, and takes what it finds there for whole: a power cut soon after its first
/// start would leave programs of no length, and a k3s that never starts again. Safe to repeat.
/// Throws Error{failed} with k3s's last line, or for the disk; Error{stopped}.
void unpack_k3s(const std::filesystem::path& k3s, const std::filesystem::path& data_dir,
                Duration timeout, const std::stop_token& stop);

}  // namespace kua::node
