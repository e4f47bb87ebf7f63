// SPDX-License-Identifier: Apache-2.0
// Kubernetes label selectors (metav1.LabelSelector), matched against labels.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/base/json.hpp"

namespace kua::plan {

using Labels = std::map<std::string, std::string>;

/// A selector that was understood. An empty one matches everything
/// (metav1.LabelSelectorAsSelector); an absent one is the caller's to judge (in Kubernetes it
/// matches nothing).
class Selector {
  public:
    Selector() = default;

    /// Reads a LabelSelector object (matchLabels, matchExpressions with In, NotIn, Exists,
    /// DoesNotExist). `field` stands in messages
    /// ("spec.nodeSelector"). Throws Error{invalid} that names field, value and what is allowed.
    Selector(const Json& selector, const std::string& field);

    [[nodiscard]] bool matches(const Labels& labels) const;
    [[nodiscard]] bool empty() const { return requirements_.empty(); }

  private:
    enum class Operator { in, not_in, exists, does_not_exist };
    struct Requirement {
        std::string key;
        Operator op = Operator::in;
        std::vector<std::string> values;
    };
    std::vector<Requirement> requirements_;
};

}  // namespace kua::plan
