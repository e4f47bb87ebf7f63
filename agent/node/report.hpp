// SPDX-License-Identifier: Apache-2.0
// What the agent says of itself: systemd's STATUS line, and the file that `k3s-upgrade-agent
// status` reads.
#pragma once

#include <filesystem>
#include <mutex>
#include <optional>
#include <string>

#include "agent/plan/intent.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/json.hpp"

namespace kua::node {

/// One moment. Empty texts are unknown or do not apply.
struct Status {
    std::string node;
    std::string unit;
    std::string version;  ///< What the node runs.
    std::string phase = "Starting";
    std::string plan;
    std::string target;  ///< The Plan's version.
    std::optional<int> percent;
    std::string message;  ///< Why it waits, what is wrong, what is left.
    bool coordinator = false;
};

/// How the last upgrade on this host ended; survives restarts and reboots.
struct LastResult {
    std::string plan;
    std::string version;
    std::string from_version;
    std::string hash;
    plan::Intent intent;
    std::string result;  ///< `Succeeded`, `Failed`, `Undone`
    std::string message;
    std::string finished;  ///< RFC 3339.
    double seconds = 0;    ///< From slot to release.
    Json timings;          ///< Seconds per step.
};

Json to_json(const Status& status);
Json to_json(const LastResult& result);

/// The line for systemd: `Draining v1.31.4+k3s1 for server-plan: 2 pods left`.
std::string status_line(const Status& status);

/// Publishes. May be used by several threads.
class Report {
  public:
    /// `run_folder` holds status.json (gone at boot), `state_folder` last-result.json.
    Report(Clock& clock, const std::filesystem::path& run_folder,
           const std::filesystem::path& state_folder);

    /// Changes the status by `change` and publishes it if anything is different now. A file that
    /// can't be written is logged, not thrown: reporting never stops an upgrade.
    template <typename Change>
    void update(Change&& change) {
        const std::lock_guard guard(mutex_);
        change(status_);
        publish();
    }

    /// Records how an upgrade ended.
    void finished(const LastResult& result);

    /// What was recorded last, also by an earlier process; absent when nothing was, or it can't be
    /// read. The steps' timings are left out.
    [[nodiscard]] std::optional<LastResult> last() const;

  private:
    void publish();

    Clock& clock_;
    std::filesystem::path status_path_;
    std::filesystem::path result_path_;
    std::mutex mutex_;
    Status status_;
    std::string published_;
    std::string line_;
};

}  // namespace kua::node
