// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/watch.hpp"

#include <random>
#include <utility>

#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"

namespace kua::kube {

namespace {

// client-go's reflector: a watch is ended by the server after five to ten minutes, not everywhere
// at once.
constexpr int kLeastWatchSeconds = 300;
constexpr int kMostWatchSeconds = 600;
// Bookmarks come once a minute, but none before something of the kind has changed (seen on 1.20),
// so silence means nothing until the server should have ended the watch. A dead peer is TCP's to
// notice, and that of the other requests on the same connection.
constexpr Duration kGrace = std::chrono::seconds(60);
// Half of kubectl's page: with 64 KB each, which is more than a Node has, they are as much as is
// taken of one answer.
constexpr int kPage = 250;
// A watch that held this long had no part in the trouble that ended it.
constexpr Duration kHeldLong = std::chrono::seconds(5);
// client-go: "very short watch".
constexpr Duration kHeldAtAll = std::chrono::seconds(1);

int random_watch_seconds() {
    thread_local std::minstd_rand generator{std::random_device{}()};
    return std::uniform_int_distribution<int>(kLeastWatchSeconds, kMostWatchSeconds)(generator);
}

// Who changed which field is of no use to us, and often half of the object.
void strip(Json& object) {
    const auto metadata = object.find("metadata");
    if (metadata != object.end() && metadata->is_object()) metadata->erase("managedFields");
}

std::string key_of(const Selection& selection, const Json& object) {
    std::string name = string_at(object, {"metadata", "name"});
    const std::string space = string_at(object, {"metadata", "namespace"});
    const bool over_all = selection.path.find("/namespaces/") == std::string::npos;
    return over_all && !space.empty() ? space + "/" + name : name;
}

// The items of a built-in kind's list do not say what they are; the list does ("NodeList").
void name_kind(Json& item, const Json& list) {
    std::string kind = string_at(list, {"kind"});
    constexpr std::string_view kSuffix = "List";
    if (!kind.ends_with(kSuffix)) return;
    kind.resize(kind.size() - kSuffix.size());
    if (!item.contains("kind")) item["kind"] = kind;
    if (!item.contains("apiVersion")) item["apiVersion"] = string_at(list, {"apiVersion"});
}

}  // namespace

Watch::Watch(Client& client, Selection selection, std::function<void()> on_change, Pace pace)
    : client_(client),
      selection_(std::move(selection)),
      on_change_(std::move(on_change)),
      pace_(pace) {
    thread_ = std::jthread(watched(format("the watch on {}", selection_.path),
                                   [this](const std::stop_token& stop) { run(stop); }));
}

Watch::~Watch() = default;  // thread_ goes first: it is asked to stop, and joined

Snapshot Watch::snapshot() const {
    const std::lock_guard lock(mutex_);
    return snapshot_;
}

std::optional<Json> Watch::get(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = snapshot_.objects.find(name);
    if (found == snapshot_.objects.end()) return std::nullopt;
    return found->second;
}

void Watch::changed() {
    if (on_change_) on_change_();
}

void Watch::set_problem(std::optional<std::string> problem) {
    {
        const std::lock_guard lock(mutex_);
        if (snapshot_.problem == problem) return;
        snapshot_.problem = std::move(problem);
    }
    changed();
}

void Watch::run(const std::stop_token& stop) {
    Backoff broken(pace_.first, pace_.most_broken);
    Backoff refused(pace_.first, pace_.most_refused);
    SystemClock clock;
    int failures = 0;
    while (!stop.stop_requested()) {
        std::string failure;
        is_refused_ = false;
        is_throttled_ = false;
        stood_ = false;
        const Monotonic began = clock.monotonic();
        try {
            turn(stop);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::stopped) return;
            // Whatever can't be mended by trying again may come from the place where we stand:
            // begin anew.
            if (error.kind() == ErrorKind::invalid) resource_version_.clear();
            failure = error.what();
        } catch (const std::exception& error) {
            resource_version_.clear();
            failure = format("watching {}: {}", selection_.path, error.what());
        }
        const auto held = clock.monotonic() - began;
        if (stood_ && held >= kHeldLong) {
            failures = 0;
            broken.reset();
            refused.reset();
        }
        if (failure.empty() && held >= kHeldAtAll) continue;  // the usual end; straight on
        if (!failure.empty()) {
            ++failures;
            // A connection that was standing and broke is back within seconds, or the next try says
            // why not: where a proxy cuts every watch, nobody could decide anything otherwise. An
            // error that the server itself has sent may be a chance once, and means a list anew.
            const bool was_told = resource_version_.empty();
            // A server that was away may have come back with an older data store (a restored
            // snapshot): from a version that it has not reached yet, a watch would be silent until
            // it has. A list is more work than a watch: nothing for a server that has too much.
            if (!stood_ && !is_throttled_) resource_version_.clear();
            if (!stood_ || (was_told && failures > 1)) set_problem(failure);
        }
        clock.wait_for(is_refused_ ? refused.next() : broken.next(), stop);
    }
}

void Watch::turn(const std::stop_token& stop) {
    if (resource_version_.empty()) list(stop);
    follow(stop);
}

Error Watch::refused(const Answer& answer, std::string_view deed) {
    is_throttled_ = answer.status == 429;
    is_refused_ = (answer.status == 403 || answer.status == 404) && !answer.may_pass;
    return refusal_with_remedy(answer, format("{} {}", deed, selection_.path));
}

// Without a resourceVersion: a consistent read, which never goes back behind what was seen before.
// One object is one key for etcd; whoever selects many (kubectl drain does the same) does it
// seldom.
void Watch::list(const std::stop_token& stop) {
    std::map<std::string, Json> objects;
    std::string version;
    std::string next;
    do {
        Call call;
        call.path = selection_.path;
        call.query = selection_.query;
        call.query["limit"] = std::to_string(kPage);
        if (!next.empty()) call.query["continue"] = next;
        Answer answer = client_.call(call, stop);
        if (!answer.ok()) throw refused(answer, "listing");

        version = string_at(answer.body, {"metadata", "resourceVersion"});
        next = string_at(answer.body, {"metadata", "continue"});
        const auto items = answer.body.find("items");
        if (items == answer.body.end() || !items->is_array()) continue;  // null when empty
        for (Json& item : *items) {
            name_kind(item, answer.body);
            strip(item);
            std::string key = key_of(selection_, item);
            objects.insert_or_assign(std::move(key), std::move(item));
        }
    } while (!next.empty());
    if (version.empty()) {
        throw Error(ErrorKind::invalid,
                    format("listing {}: the answer is no list", selection_.path));
    }

    resource_version_ = version;
    {
        const std::lock_guard lock(mutex_);
        snapshot_.objects = std::move(objects);
        snapshot_.synced = true;
    }
    changed();
}

void Watch::follow(const std::stop_token& stop) {
    Query query = selection_.query;
    query["watch"] = "true";
    query["allowWatchBookmarks"] = "true";
    query["resourceVersion"] = resource_version_;
    const std::chrono::seconds length(random_watch_seconds());
    query["timeoutSeconds"] = std::to_string(length.count());

    bool gone = false;
    const auto on_line = [&](const Json& event) {
        if (string_at(event, {"type"}) != "ERROR") {
            apply(event);
            return;
        }
        resource_version_.clear();
        gone = int_at(event, {"object", "code"}).value_or(0) == 410;
        throw Error(ErrorKind::transient,
                    format("watching {}: {}", selection_.path,
                           excerpt(string_at(event, {"object", "message"}), 300)));
    };
    const auto on_open = [&] {
        stood_ = true;
        set_problem(std::nullopt);
    };
    const Monotonic began = std::chrono::steady_clock::now();
    try {
        const Answer answer =
            client_.watch(selection_.path, query, length + kGrace, on_line, stop, on_open);
        gone = answer.status == 410;
        if (gone) resource_version_.clear();
        // A server that is shut down in order ends its watches so; another may answer from now on.
        const bool is_early = std::chrono::steady_clock::now() - began < length - kGrace;
        if (answer.ok() && is_early) client_.server_may_have_started();
        if (!gone && !answer.ok()) throw refused(answer, "watching");
    } catch (const Error&) {
        if (!gone) throw;
    }
}

void Watch::apply(const Json& event) {
    const Json* object = find(event, {"object"});
    if (object == nullptr) return;
    const std::string version = string_at(*object, {"metadata", "resourceVersion"});
    if (!version.empty()) resource_version_ = version;
    const std::string type = string_at(event, {"type"});
    if (type == "BOOKMARK") return;
    const std::string key = key_of(selection_, *object);
    {
        const std::lock_guard lock(mutex_);
        if (type == "DELETED") {
            snapshot_.objects.erase(key);
        } else {
            Json& place = snapshot_.objects[key];
            place = *object;
            strip(place);
        }
    }
    changed();
}

std::optional<Json> wait_for(Client& client, const Selection& selection, const std::string& name,
                             Duration timeout,
                             const std::function<bool(const std::optional<Json>&)>& condition,
                             std::stop_token stop, std::string* problem) {
    // Somebody waits, and not for long: tries follow closer on each other than a standing watch's.
    constexpr Pace kPace{Duration(100), Duration(2'000), Duration(5'000)};
    const Monotonic deadline = std::chrono::steady_clock::now() + timeout;
    std::mutex mutex;
    std::condition_variable_any news_came;
    bool news = false;
    Watch watch(
        client, selection,
        [&] {
            const std::lock_guard lock(mutex);
            news = true;
            news_came.notify_all();
        },
        kPace);
    for (;;) {
        {
            std::unique_lock lock(mutex);
            const auto left =
                std::chrono::ceil<Duration>(deadline - std::chrono::steady_clock::now());
            const bool in_time = wait_in_pieces(left, stop, [&](Duration piece) {
                return news_came.wait_for(lock, stop, piece, [&] { return news; });
            });
            if (stop.stop_requested()) {
                throw Error(ErrorKind::stopped, format("waiting for {}: stopped", name));
            }
            if (!in_time) return std::nullopt;
            news = false;
        }
        const Snapshot now = watch.snapshot();
        if (problem != nullptr) *problem = now.problem.value_or("");
        if (!now.synced) continue;
        const auto found = now.objects.find(name);
        const std::optional<Json> object =
            found == now.objects.end() ? std::nullopt : std::optional<Json>(found->second);
        if (condition(object)) return object ? object : Json(nullptr);
    }
}

}  // namespace kua::kube
