// SPDX-License-Identifier: Apache-2.0
// A collection of objects kept up to date by list and watch, as Kubernetes' own clients do it.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "lib/base/clock.hpp"
#include "lib/base/error.hpp"
#include "lib/kube/client.hpp"

namespace kua::kube {

struct Selection {
    std::string path;  ///< The collection: `/api/v1/nodes`,
                       ///< `/apis/upgrade.cattle.io/v1/namespaces/system-upgrade/plans`
    Query query;       ///< fieldSelector, labelSelector.
};

/// What is known at one moment. `objects` is by metadata.name (namespace/name for a collection over
/// all namespaces).
struct Snapshot {
    std::map<std::string, Json> objects;
    bool synced = false;  ///< A first list has come in since the start.
    std::optional<std::string>
        problem;  ///< Why it is not up to date now; absent when the watch stands.
};

/// How long to wait before trying again, jittered and doubling from `first`.
struct Pace {
    Duration first{200};
    Duration most_broken{
        10'000};  ///< While there is no connection, or the server fails: it may be back any moment.
    Duration most_refused{
        60'000};  ///< While the server says no (403, 404): a person has to do something.
};

/// List, then watch from the list's resourceVersion with bookmarks; on 410 Gone, and after the
/// server was away, list again; after a broken connection go on from the last resourceVersion, with
/// jittered back-off. Never polls: a list that is refused for good (403, or 404 while the CRD is
/// missing; see Refusals) is tried again with a back-off of up to one minute, and only then the
/// problem names the remedy. Runs in a thread of its own from construction to destruction. Rules:
/// Kubernetes API Concepts, "Efficient detection of changes", "Watch bookmarks".
class Watch {
  public:
    /// `on_change` is called after every change of the snapshot, from the watch's thread; it must
    /// be quick and may not throw.
    Watch(Client& client, Selection selection, std::function<void()> on_change, Pace pace = {});
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    /// A copy of what is known.
    [[nodiscard]] Snapshot snapshot() const;
    /// One object; absent when it is not (known to be) there.
    [[nodiscard]] std::optional<Json> get(const std::string& name) const;

  private:
    void run(const std::stop_token& stop);
    void turn(const std::stop_token& stop);
    void list(const std::stop_token& stop);
    void follow(const std::stop_token& stop);
    void apply(const Json& event);
    void set_problem(std::optional<std::string> problem);
    void changed();
    Error refused(const Answer& answer, std::string_view deed);

    Client& client_;
    Selection selection_;
    std::function<void()> on_change_;
    Pace pace_;
    mutable std::mutex mutex_;
    Snapshot snapshot_;
    // Only in the watch's thread:
    std::string resource_version_;  // Empty: list first.
    bool is_refused_ = false;       // By a status that only a person can change.
    bool is_throttled_ = false;     // The server has too much to do (429).
    bool stood_ = false;            // The last attempt had been accepted before it ended.
    std::jthread thread_;
};

/// Waits until `condition` (given the collection's current object, or absent) is true, by watch,
/// within `timeout`; a broken connection or an error status is survived and tried again. Returns
/// the object that satisfied it (a null value when its absence did); absent when the time is over.
/// Throws Error{stopped} on `stop`. `problem`, where given, gets what stood in the way last.
std::optional<Json> wait_for(Client& client, const Selection& selection, const std::string& name,
                             Duration timeout,
                             const std::function<bool(const std::optional<Json>&)>& condition,
                             std::stop_token stop, std::string* problem = nullptr);

}  // namespace kua::kube
