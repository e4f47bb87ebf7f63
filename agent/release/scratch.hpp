// SPDX-License-Identifier: Apache-2.0
// A folder for a program on trial, gone with all that is in it when the trial is over.
#pragma once

#include <filesystem>
#include <string>

namespace kua::release {

class Scratch {
  public:
    /// Makes it in `folder`, of this user alone, with a name that begins with `prefix` and that
    /// nobody can guess. Throws Error{failed}.
    Scratch(const std::filesystem::path& folder, const std::string& prefix);
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

}  // namespace kua::release
