// SPDX-License-Identifier: Apache-2.0
// Says when something appears in a folder.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <thread>

#include "lib/base/clock.hpp"
#include "lib/base/unique_fd.hpp"

namespace kua::fs {

/// Watches a folder and the folders in it (one level): a file that was written and closed, or moved
/// there, and a folder that appears. The folder need not exist yet, and may go and come again. Not
/// noticed: what a network file system's other hosts do, and what exceeds the kernel's limits; so
/// whoever needs to be sure looks by himself now and then, too.
class FolderWatch {
  public:
    /// Watches until it goes. `changed` is called in a thread of its own, once for all that
    /// happened before there was silence for `quiet` (ten times that at most), and must not throw.
    /// Throws Error{failed} when the kernel gives no watch.
    FolderWatch(const std::filesystem::path& folder, std::function<void()> changed,
                Duration quiet = Duration(200));
    ~FolderWatch();
    FolderWatch(const FolderWatch&) = delete;
    FolderWatch& operator=(const FolderWatch&) = delete;

  private:
    void run();
    /// Puts the watches where they belong now; true when the folder, or one in it, is new among
    /// them: something may have been put there before the watch was.
    bool place();
    /// The kernel's number for the watch; -1 for none.
    int watch(const std::filesystem::path& path, bool content);
    /// Takes all events that are there; true when one means a change.
    bool take_events();
    /// False when it is time to end.
    bool wait(Duration longest, bool& more) const;

    std::filesystem::path folder_;
    std::function<void()> changed_;
    Duration quiet_;
    UniqueFd inotify_;
    UniqueFd stop_;
    std::set<int> content_;    ///< Watches of the folder and those in it.
    std::set<int> ancestors_;  ///< Of the nearest folder above that exists.
    std::thread thread_;
};

}  // namespace kua::fs
