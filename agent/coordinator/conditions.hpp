// SPDX-License-Identifier: Apache-2.0
// The conditions of a Plan's status, edited in place. No I/O.
#pragma once

#include <string>

#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"

namespace kua::coordinator {

/// Begins with the conditions of `status`, keeps their order and those it is not asked to set.
class Conditions {
  public:
    Conditions(const Json& status, WallTime now);

    /// True when the condition's status, reason or message is different now. lastUpdateTime changes
    /// then, lastTransitionTime when the status does. An empty reason or message is left out.
    bool set(const std::string& type, bool value, const std::string& reason,
             const std::string& message);

    /// A field of the condition; empty when it is not there.
    [[nodiscard]] std::string field(const std::string& type, std::string_view name) const;

    [[nodiscard]] const Json& list() const { return list_; }

  private:
    Json& at(const std::string& type);

    std::string now_;
    Json list_;
};

}  // namespace kua::coordinator
