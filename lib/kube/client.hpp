// SPDX-License-Identifier: Apache-2.0
// Requests to the Kubernetes API with a kubeconfig's credentials, read again when they may have
// changed.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "lib/base/clock.hpp"
#include "lib/base/error.hpp"
#include "lib/base/json.hpp"
#include "lib/http/client.hpp"
#include "lib/kube/kubeconfig.hpp"
#include "lib/kube/refusals.hpp"
#include "lib/kube/warnings.hpp"

namespace kua::kube {

using Query = std::map<std::string, std::string>;

/// An answer of the API server; `body` is the object, the list, or the Status of a refusal.
struct Answer {
    int status = 0;
    Json body;
    std::optional<Duration> retry_after;
    /// A 403, or a 404 for a kind, that is new: the server may have just started (Refusals).
    bool may_pass = false;

    [[nodiscard]] bool ok() const { return status >= 200 && status < 300; }
    /// The Status's message ("plans.upgrade.cattle.io is forbidden: …"), or the status code in
    /// words.
    [[nodiscard]] std::string message() const;
};

/// What a request is: everything but the credentials.
struct Call {
    std::string method = "GET";
    std::string path;  ///< `/api/v1/nodes/server-1`
    Query query{};
    std::string content_type = "application/json";
    Json body = nullptr;  ///< Null: no body.
    Duration timeout{30'000};
};

inline constexpr std::string_view kMergePatch = "application/merge-patch+json";
inline constexpr std::string_view kJsonPatch = "application/json-patch+json";
inline constexpr std::string_view kStrategicPatch = "application/strategic-merge-patch+json";

/// May be used from several threads at once. What a server warns of (deprecated versions, unknown
/// fields) is logged once, as client-go does it.
class Client {
  public:
    /// Reads the kubeconfig on the first request, and again after `forget_credentials`, a 401, or a
    /// connection that failed.
    Client(http::Client& http, std::filesystem::path kubeconfig,
           std::function<Monotonic()> now = std::chrono::steady_clock::now);

    /// Any status is an answer except: 401 throws Error{transient} (credentials are read again for
    /// the next try), and so do a 403, and a 404 for a kind, that a server which has just started
    /// gives (Refusals; an outage is a failed connection, credentials that can't be read, 401, 5xx,
    /// or `server_may_have_started`; `is_passing` tells it by the message), 429 (the message says
    /// so; see Answer::retry_after for evictions: pass `keep_429`) and 500 to 599. Throws what
    /// http::Client and read_kubeconfig throw.
    Answer call(const Call& call, std::stop_token stop, bool keep_429 = false);

    /// `call`, for an answer that must be a success: throws `refusal` otherwise.
    Json must(const Call& call, std::stop_token stop);

    /// GET of what is text (`/readyz`): any status is an answer, but 401 and 403 as in `call`. A
    /// 404 is as good as any other.
    http::Response get_text(const std::string& path, const Query& query, std::stop_token stop);

    /// GET; absent on 404. Throws `refusal` for other answers.
    std::optional<Json> get(const std::string& path, std::stop_token stop);

    /// One request whose answer is a stream of JSON values, a line each: `on_line` gets them in the
    /// caller's thread. Returns when the server ends the stream. `idle` bounds the silence. Any
    /// status but 200 comes back as an Answer without `on_line` being called (a 401 makes the
    /// credentials be read again; 403 as in `call`). `on_open`, where given, is called when the
    /// server has accepted. `on_line` must not wait for another request to the same server: they
    /// share a connection, which a stream that nobody reads may hold up.
    Answer watch(const std::string& path, const Query& query, Duration idle,
                 const std::function<void(const Json&)>& on_line, std::stop_token stop,
                 const std::function<void()>& on_open = {});

    /// k3s was restarted: the kubeconfig and its certificates are read again for the next request.
    void forget_credentials();

    /// For what only the caller knows: that this host has just started, or that the server has
    /// ended a watch before its time.
    void server_may_have_started();

    /// The credentials in use. Throws what read_kubeconfig throws; Error{transient} for what was
    /// written within the last seconds: k3s writes these files in place when it starts, one after
    /// the other.
    std::shared_ptr<const Kubeconfig> credentials();

  private:
    template <typename Action>
    auto with_fresh_credentials_after_failure(Action&& action);
    /// Counts the answer to `request`, which `what` names for people. Throws for a refusal of a
    /// server that has just started; true for one that may pass by itself.
    bool may_pass(const std::string& request, const Answer& answer, const std::string& what);
    void hear(const http::Response& response, std::string_view method, const std::string& path);

    http::Client& http_;
    std::filesystem::path path_;
    std::function<Monotonic()> now_;
    Refusals refusals_;
    Warnings warnings_;
    std::mutex mutex_;
    std::shared_ptr<const Kubeconfig> config_;
};

/// What to do where our Roles, our CRD or our ConfigMap are missing.
inline constexpr std::string_view kApplyDeploy =
    "apply deploy/ (k3s-upgrade-agent manifests | kubectl apply -f -)";

/// An Error for an answer that is no success: 403 and 404 → invalid, 409 and 5xx and 429 →
/// transient, other 4xx → failed. `what` is the deed ("patching Node server-1").
Error refusal(const Answer& answer, std::string_view what);

/// The same for what the objects of deploy/ grant or define. A 403, or a 404 for a kind: while it
/// may pass by itself it is transient, and says that an API server that has just started answers so
/// (`is_passing`); when it lasts it ends in `kApplyDeploy`.
Error refusal_with_remedy(const Answer& answer, std::string_view what);

/// Whether a problem's words are those of a refusal that may pass by itself: nothing to alarm
/// anybody with.
bool is_passing(std::string_view problem);

}  // namespace kua::kube
