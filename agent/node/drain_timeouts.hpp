// SPDX-License-Identifier: Apache-2.0
// How often in a row a drain has run into its own timeout, kept on the host: a restart of the agent
// is no new beginning.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

namespace kua::node {

/// `drain-timeouts.json` in the state folder. By the Plan's name and hash, as Candidate::key has
/// them: a changed Plan begins anew. What can't be read is removed and counts as nothing, and what
/// can't be written is logged: no upgrade fails for it.
class DrainTimeouts {
  public:
    explicit DrainTimeouts(const std::filesystem::path& folder)
        : path_(folder / "drain-timeouts.json") {}

    /// One more, durable; returns how many there are now.
    int add(const std::string& key) const;

    /// The row has ended.
    void forget(const std::string& key) const;

    /// Forgets all keys that `history` is true of.
    void forget_if(const std::function<bool(const std::string& key)>& history) const;

  private:
    [[nodiscard]] std::map<std::string, int> read() const;
    void write(const std::map<std::string, int>& counts) const;

    std::filesystem::path path_;
};

}  // namespace kua::node
