// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "agent/commands/commands.hpp"
#include "deploy/manifests.hpp"

namespace kua::commands {

int manifests() {
    std::cout << deploy::manifests() << std::flush;
    return std::cout ? 0 : 1;
}

}  // namespace kua::commands
