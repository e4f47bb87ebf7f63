// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/marks.hpp"

namespace kua::plan {

std::string left_cordoned_by(const std::map<std::string, std::string>& annotations,
                             bool is_cordoned) {
    const auto left = annotations.find(kLeftCordoned);
    return is_cordoned && left != annotations.end() ? left->second : std::string();
}

std::string left_cordoned_in_words(const std::string& node) {
    return "left cordoned: it was cordoned before this upgrade; kubectl uncordon " + node;
}

}  // namespace kua::plan
