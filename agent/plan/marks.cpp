// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/marks.hpp"

namespace kua::plan {

std::string left_cordoned_in_words(const std::string& node) {
    return "left cordoned: it was cordoned before this upgrade; kubectl uncordon " + node;
}

}  // namespace kua::plan
