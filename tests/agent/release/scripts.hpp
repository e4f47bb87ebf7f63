// SPDX-License-Identifier: Apache-2.0
// An Inspector for tests, whose k3s binaries are shell scripts: whatever they are, they are run, as
// on a host without systemd.
#pragma once

#include "agent/release/inspect.hpp"

namespace kua::test {

inline release::Inspector inspector_of_scripts() {
    return {[](const std::filesystem::path&) {}, release::run_as_nobody};
}

}  // namespace kua::test
