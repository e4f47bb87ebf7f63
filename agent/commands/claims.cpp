// SPDX-License-Identifier: Apache-2.0
#include "agent/commands/claims.hpp"

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"

namespace kua::commands {

Claim Claims::claim(const std::filesystem::path& state_folder) {
    const auto path = state_folder / kLockFile;
    try {
        // By the file, not by its name: the same folder may be written differently, and a folder
        // that was removed and made again has a new file.
        if (std::ranges::any_of(locks_,
                                [&path](const fs::FileLock& lock) { return lock.is_of(path); })) {
            return {};
        }
        fs::make_folders(state_folder);
        auto lock = fs::FileLock::take(path);
        if (!lock) {
            const auto pid = fs::lock_holder(path);
            return {Claim::State::anothers,
                    format("another k3s-upgrade-agent runs on this host ({}{} is locked): see "
                           "`systemctl status k3s-upgrade-agent`",
                           pid ? format("process {}, ", *pid) : "", path.string())};
        }
        locks_.push_back(std::move(*lock));
        return {};
    } catch (const Error& error) {
        return {Claim::State::failed, error.what()};
    }
}

}  // namespace kua::commands
