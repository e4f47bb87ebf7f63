// SPDX-License-Identifier: Apache-2.0
#include "agent/upgrade/steps.hpp"

#include <iostream>

#include "agent/commands/commands.hpp"
#include "lib/base/json.hpp"

namespace kua::commands {

int steps(bool json) {
    Json all = Json::array();
    for (const auto& step : upgrade::steps()) {
        if (json) {
            all.push_back({{"name", step.name},
                           {"way", upgrade::name_of(step.way)},
                           {"phase", step.phase},
                           {"disruptive", step.disruptive},
                           {"undoneBy", step.undone_by.empty() ? Json() : Json(step.undone_by)}});
        } else {
            std::cout << step.name << "\n";
        }
    }
    if (json) {
        std::cout << all.dump(2) << "\n";
    }
    std::cout << std::flush;
    return std::cout ? 0 : 1;
}

}  // namespace kua::commands
