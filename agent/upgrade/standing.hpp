// SPDX-License-Identifier: Apache-2.0
// What became of a Plan in one turn of the node's loop.
#pragma once

#include <string>

#include "lib/base/clock.hpp"

namespace kua::upgrade {

struct Standing {
    bool done = false;    ///< Something was changed: look again at once.
    std::string phase{};  ///< `Waiting`, `Blocked`, `Failed`, `Paused`
    std::string reason{};
    Duration again{3'600'000};  ///< When to look again without being woken.
    std::string topic{};        ///< The log gets one line per topic; empty: `reason` is the topic.
};

}  // namespace kua::upgrade
