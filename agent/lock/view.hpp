// SPDX-License-Identifier: Apache-2.0
// The three watches of every agent: the Plans, its own Node, the lock.
#pragma once

#include <string>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/base/wakeup.hpp"
#include "lib/kube/objects.hpp"
#include "lib/kube/watch.hpp"

namespace kua::lock {

/// How far a watch may be behind what was written here. What it shows later than this is no old
/// copy: somebody has brought back the data store, or written the same again.
inline constexpr Duration kWatchIsBehind{30'000};

/// Kept up to date from construction to destruction; rings every bell when anything changed.
class View {
  public:
    View(kube::Client& client, const std::string& ns, const std::string& config_map,
         const std::string& node_name, std::vector<Wakeup*> bells)
        : bells_(std::move(bells)),
          plans(client, kube::plans_in(ns), [this] { ring(); }),
          node(client, kube::one_node(node_name), [this] { ring(); }),
          lock(client, kube::one_config_map(ns, config_map), [this] { ring(); }) {}

  private:
    void ring() const {
        for (auto* bell : bells_) {
            bell->ring();
        }
    }

    std::vector<Wakeup*> bells_;

  public:
    const kube::Watch plans;
    const kube::Watch node;
    const kube::Watch lock;
};

}  // namespace kua::lock
