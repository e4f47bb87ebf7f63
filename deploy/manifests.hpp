// SPDX-License-Identifier: Apache-2.0
// The manifests of this folder, built into the program, so that `k3s-upgrade-agent manifests` needs
// no file.
#pragma once

#include <string_view>

namespace kua::deploy {

/// All manifests, in the order to apply them in, with `---` between them; ends in a line break.
/// What `kubectl apply -f -` takes.
std::string_view manifests();

}  // namespace kua::deploy
