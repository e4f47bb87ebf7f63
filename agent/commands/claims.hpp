// SPDX-License-Identifier: Apache-2.0
// One agent per host: two would upgrade the same k3s at the same time.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lib/fs/file_lock.hpp"

namespace kua::commands {

/// The file in an agent's state folder that it holds for its life.
inline constexpr auto kLockFile = "agent.lock";

/// What came of an attempt to have a state folder for this process alone.
struct Claim {
    enum class State {
        ours,      ///< Since now, or since before.
        anothers,  ///< Another agent works with it: nothing may be written.
        failed,    ///< There is no such folder, or it can't be used: by nobody, then.
    };
    State state = State::ours;
    std::string why;  ///< For people; empty for `ours`.
};

/// The state folders that are this process's. Each is held until this goes, also when the
/// configuration names another one by then: whoever begins with the old one may do so when this
/// agent has ended. `kill -9` lets go of them, too.
class Claims {
  public:
    /// Makes the folder if need be. What another agent holds is not touched.
    Claim claim(const std::filesystem::path& state_folder);

  private:
    std::vector<fs::FileLock> locks_;
};

}  // namespace kua::commands
