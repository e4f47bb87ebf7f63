// SPDX-License-Identifier: Apache-2.0
// Stands in for the Kubernetes API behind http::Client: objects in memory, one resourceVersion that
// every change raises, optimistic locking, list, watch, merge patch, eviction. Different from it:
// no schema, no admission, no RBAC, no pages, field selectors only for metadata.name and
// spec.nodeName, label selectors only `key=value` and `key`, pods are gone the moment they are
// evicted, a watch can go back to the beginning of time, and every answer comes at once.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/http/client.hpp"
#include "tests/fakes/whole_answer.hpp"

namespace kua::test {

class FakeApi final : public http::Client {
  public:
    static constexpr auto kServer = "https://127.0.0.1:6443";

    /// A request as the fake understood it.
    struct Seen {
        std::string method;
        std::string path;
        std::map<std::string, std::string> query;
        Json body;

        /// `PATCH /api/v1/nodes/server-1`
        [[nodiscard]] std::string text() const { return method + " " + path; }
    };
    /// Looks at every request before it is served; what it returns is the answer. May throw.
    using Hook = std::function<std::optional<http::Response>(const Seen& request)>;

    static http::Response answer(int status, const Json& body = Json::object(),
                                 const http::Headers& headers = {}) {
        return {status, headers, body.dump(), kServer};
    }

    static http::Response refuse(int status, const std::string& message) {
        return answer(status, {{"kind", "Status"}, {"code", status}, {"message", message}});
    }

    /// Creates or replaces an object at its path, `/api/v1/nodes/server-1`.
    void put(const std::string& path, Json object) {
        const std::lock_guard guard(mutex_);
        store(path, std::move(object));
    }

    /// Changes an object in place, as another client would.
    void edit(const std::string& path, const Json& merge_patch) {
        const std::lock_guard guard(mutex_);
        auto object = objects_.at(path);
        object.merge_patch(merge_patch);
        store(path, std::move(object));
    }

    void remove(const std::string& path) {
        const std::lock_guard guard(mutex_);
        erase(path);
    }

    /// The object; null when there is none.
    [[nodiscard]] Json get(const std::string& path) const {
        const std::lock_guard guard(mutex_);
        const auto found = objects_.find(path);
        return found == objects_.end() ? Json() : found->second;
    }

    void before(Hook hook) {
        const std::lock_guard guard(mutex_);
        before_ = std::move(hook);
    }

    /// Looks at every request after it was served. May throw: the change was made then, and its
    /// client does not hear of it.
    void after(std::function<void(const Seen& request)> hook) {
        const std::lock_guard guard(mutex_);
        after_ = std::move(hook);
    }

    /// While it is down every request fails and every watch breaks.
    void set_down(bool down) {
        {
            const std::lock_guard guard(mutex_);
            down_ = down;
        }
        changed_.notify_all();
    }

    /// How many requests and watches failed because it was down.
    [[nodiscard]] int refused() const {
        const std::lock_guard guard(mutex_);
        return refused_;
    }

    /// All requests so far but watches.
    [[nodiscard]] std::vector<Seen> requests() const {
        const std::lock_guard guard(mutex_);
        return requests_;
    }

    /// Those that changed something or tried to.
    [[nodiscard]] std::vector<Seen> writes() const {
        auto seen = requests();
        std::erase_if(seen, [](const Seen& request) { return request.method == "GET"; });
        return seen;
    }

    /// Waits until `condition`, which is looked at after every change and request, and now and then
    /// besides, for what no request tells of.
    bool wait_until(const std::function<bool()>& condition,
                    std::chrono::seconds limit = std::chrono::seconds(60)) {
        const auto end = std::chrono::steady_clock::now() + limit;
        while (true) {
            std::uint64_t seen = 0;
            {
                const std::lock_guard guard(mutex_);
                seen = happenings_;
            }
            if (condition()) {
                return true;
            }
            std::unique_lock guard(mutex_);
            changed_.wait_for(guard, std::chrono::milliseconds(20),
                              [&] { return happenings_ != seen; });
            if (std::chrono::steady_clock::now() >= end) {
                return false;
            }
        }
    }

    http::Response send(const http::Request& request, std::stop_token stop) override {
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped, "stopped");
        }
        const auto seen = understand(request);
        Hook hook;
        {
            const std::lock_guard guard(mutex_);
            requests_.push_back(seen);
            hook = before_;
        }
        auto response = hook ? hook(seen) : std::nullopt;
        std::function<void(const Seen&)> served;
        {
            const std::lock_guard guard(mutex_);
            if (!response) {
                response = serve(seen);
            }
            ++happenings_;
            served = after_;
        }
        changed_.notify_all();
        if (served) {
            served(seen);
        }
        return *response;
    }

    http::Response stream(const http::Request& request, const http::Consumer& consumer,
                          std::stop_token stop) override {
        const auto seen = understand(request);
        {
            const std::lock_guard guard(mutex_);
            check_up();
        }
        if (!consumer.on_head(answer(200))) {
            throw Error(ErrorKind::failed, "the watch was not wanted");
        }
        auto last = std::stoull(seen.query.at("resourceVersion"));
        while (true) {
            std::vector<std::string> lines;
            {
                std::unique_lock guard(mutex_);
                changed_.wait(guard, stop, [&] { return down_ || newest() > last; });
                if (stop.stop_requested()) {
                    throw Error(ErrorKind::stopped, "stopped");
                }
                check_up();
                for (const auto& event : events_) {
                    if (event.version > last && in_collection(event.path, seen) &&
                        matches(event.object, seen)) {
                        lines.push_back(
                            Json{{"type", event.type}, {"object", event.object}}.dump() + "\n");
                    }
                }
                last = newest();
            }
            for (const auto& line : lines) {
                consumer.on_data(line);
            }
        }
    }

    std::unique_ptr<http::Answer> open(const http::Request& request,
                                       std::stop_token stop) override {
        return std::make_unique<WholeAnswer>(send(request, std::move(stop)));
    }

  private:
    struct Event {
        std::uint64_t version = 0;
        std::string path;
        std::string type;
        Json object;
    };

    static Seen understand(const http::Request& request) {
        Seen seen;
        seen.method = request.method;
        auto url = request.url.substr(std::string(kServer).size());
        const auto mark = url.find('?');
        seen.path = decode(url.substr(0, mark));
        if (mark != std::string::npos) {
            for (const auto& pair : split(url.substr(mark + 1), '&')) {
                const auto equals = pair.find('=');
                seen.query[decode(pair.substr(0, equals))] = decode(pair.substr(equals + 1));
            }
        }
        if (!request.body.empty()) {
            seen.body = Json::parse(request.body);
        }
        return seen;
    }

    static std::string decode(const std::string& text) {
        std::string decoded;
        for (std::size_t at = 0; at < text.size(); ++at) {
            if (text[at] == '%') {
                decoded += static_cast<char>(std::stoi(text.substr(at + 1, 2), nullptr, 16));
                at += 2;
            } else {
                decoded += text[at];
            }
        }
        return decoded;
    }

    [[nodiscard]] std::uint64_t newest() const { return version_; }

    void check_up() {
        if (down_) {
            ++refused_;
            ++happenings_;
            changed_.notify_all();
            throw Error(ErrorKind::transient, "connection refused");
        }
    }

    void store(const std::string& path, Json object) {
        const bool is_new = !objects_.contains(path);
        object["metadata"]["resourceVersion"] = std::to_string(++version_);
        events_.push_back({version_, path, is_new ? "ADDED" : "MODIFIED", object});
        objects_[path] = std::move(object);
        ++happenings_;
        changed_.notify_all();
    }

    void erase(const std::string& path) {
        auto object = objects_.at(path);
        object["metadata"]["resourceVersion"] = std::to_string(++version_);
        events_.push_back({version_, path, "DELETED", object});
        objects_.erase(path);
        ++happenings_;
        changed_.notify_all();
    }

    static bool in_collection(const std::string& path, const Seen& request) {
        const auto slash = path.rfind('/');
        if (path.substr(0, slash) == request.path) {
            return true;
        }
        return request.path == "/api/v1/pods" && path.starts_with("/api/v1/namespaces/") &&
               path.substr(0, slash).ends_with("/pods");
    }

    static bool matches(const Json& object, const Seen& request) {
        const auto fields = request.query.find("fieldSelector");
        if (fields != request.query.end()) {
            const auto equals = fields->second.find('=');
            const auto field = fields->second.substr(0, equals);
            const auto wanted = fields->second.substr(equals + 1);
            const auto value = field == "metadata.name" ? string_at(object, {"metadata", "name"})
                                                        : string_at(object, {"spec", "nodeName"});
            if (value != wanted) {
                return false;
            }
        }
        const auto labels = request.query.find("labelSelector");
        if (labels == request.query.end()) {
            return true;
        }
        const auto equals = labels->second.find('=');
        if (equals == std::string::npos) {
            return find(object, {"metadata", "labels", labels->second}) != nullptr;
        }
        return string_at(object, {"metadata", "labels", labels->second.substr(0, equals)}) ==
               labels->second.substr(equals + 1);
    }

    http::Response serve(const Seen& request) {
        check_up();
        if (request.method == "GET") {
            return request.path == "/api/v1" ? discovery() : read(request);
        }
        if (request.method == "PATCH") {
            return patch(request);
        }
        if (request.method == "DELETE") {
            return drop(request.path, request.body);
        }
        if (request.path.ends_with("/eviction")) {
            if (request.query.contains("dryRun")) {
                return objects_.contains(request.path.substr(0, request.path.rfind('/')))
                           ? answer(201)
                           : refuse(404, request.path + " not found");
            }
            return drop(request.path.substr(0, request.path.rfind('/')),
                        request.body.value("deleteOptions", Json::object()));
        }
        const auto name =
            string_at(request.body, {"metadata", "generateName"}) + std::to_string(version_ + 1);
        auto object = request.body;
        object["metadata"]["name"] = name;
        store(request.path + "/" + name, object);
        return answer(201, object);
    }

    static http::Response discovery() {
        return answer(200, {{"resources", Json::array({{{"name", "pods/eviction"},
                                                        {"group", "policy"},
                                                        {"version", "v1"},
                                                        {"kind", "Eviction"}}})}});
    }

    http::Response read(const Seen& request) {
        const auto found = objects_.find(request.path);
        if (found != objects_.end()) {
            return answer(200, found->second);
        }
        const auto last = request.path.substr(request.path.rfind('/') + 1);
        const bool is_list =
            last == "nodes" || last == "configmaps" || last == "plans" || last == "pods";
        if (!is_list) {
            return refuse(404, request.path + " not found");
        }
        Json items = Json::array();
        for (const auto& [path, object] : objects_) {
            if (in_collection(path, request) && matches(object, request)) {
                items.push_back(object);
            }
        }
        return answer(200, {{"kind", "List"},
                            {"metadata", {{"resourceVersion", std::to_string(version_)}}},
                            {"items", items}});
    }

    http::Response patch(const Seen& request) {
        auto path = request.path;
        const bool status_only = path.ends_with("/status");
        if (status_only) {
            path.resize(path.rfind('/'));
        }
        const auto found = objects_.find(path);
        if (found == objects_.end()) {
            return refuse(404, path + " not found");
        }
        const auto wanted = request.body.is_array()
                                ? std::string()
                                : string_at(request.body, {"metadata", "resourceVersion"});
        if (!wanted.empty() &&
            wanted != string_at(found->second, {"metadata", "resourceVersion"})) {
            return refuse(409, "the object has been modified");
        }
        auto changed = found->second;
        if (request.body.is_array()) {
            try {
                changed = changed.patch(request.body);
            } catch (const Json::exception& error) {
                return refuse(422, error.what());
            }
        } else if (status_only) {
            changed["status"].merge_patch(request.body.value("status", Json::object()));
        } else {
            changed.merge_patch(request.body);
        }
        if (changed != found->second && !request.query.contains("dryRun")) {
            store(path, changed);
        }
        return answer(200, objects_.at(path));
    }

    http::Response drop(const std::string& path, const Json& options) {
        const auto found = objects_.find(path);
        if (found == objects_.end()) {
            return refuse(404, path + " not found");
        }
        const auto uid = string_at(options, {"preconditions", "uid"});
        if (!uid.empty() && uid != string_at(found->second, {"metadata", "uid"})) {
            return refuse(409, "the UID in the precondition does not match");
        }
        erase(path);
        return answer(201);
    }

    mutable std::mutex mutex_;
    std::condition_variable_any changed_;
    std::map<std::string, Json> objects_;  ///< By path.
    std::vector<Event> events_;
    std::vector<Seen> requests_;
    std::uint64_t version_ = 100;
    std::uint64_t happenings_ = 0;
    bool down_ = false;
    int refused_ = 0;
    Hook before_;
    std::function<void(const Seen&)> after_;
};

}  // namespace kua::test
