// SPDX-License-Identifier: Apache-2.0
#include "agent/lock/lease.hpp"

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/crypto/digest.hpp"

namespace kua::lock {

namespace {

constexpr std::size_t kMaxKey = 253;  // Kubernetes: a ConfigMap key is a DNS subdomain at most.

std::optional<Json> parse_object(const std::string& text) {
    auto value = Json::parse(text, nullptr, false);
    if (!value.is_object()) {
        return std::nullopt;
    }
    return value;
}

/// What stands there may be anybody's: a lease without a sensible time to live counts for
/// `otherwise`, rather than not at all.
int ttl_of(const Json& value, int otherwise) {
    constexpr std::int64_t kMost = 7L * 24 * 3600;
    const auto ttl = int_at(value, {"ttlSeconds"}).value_or(0);
    return ttl > 0 && ttl <= kMost ? static_cast<int>(ttl) : otherwise;
}

constexpr int kSlotTtl = 900;
constexpr int kCoordinatorTtl = 60;

}  // namespace

std::string slot_key(const std::string& plan, const std::string& node) {
    // Both names may have dots; an underscore is in neither of them, so that no two slots share a
    // key.
    auto key = plan;
    std::replace(key.begin(), key.end(), '.', '_');
    key += "." + node;
    if (key.size() > kMaxKey) {
        const auto digest = crypto::hex_digest(crypto::Algorithm::sha256, key);
        key = key.substr(0, kMaxKey - digest.size() - 1) + "." + digest;
    }
    return key;
}

Json to_json(const Slot& slot) {
    Json value = {{"plan", slot.plan},       {"node", slot.node},
                  {"phase", slot.phase},     {"hash", slot.hash},
                  {"version", slot.version}, {"acquired", slot.acquired},
                  {"renewed", slot.renewed}, {"ttlSeconds", slot.ttl_seconds},
                  {"detail", slot.detail}};
    // What is not so is left out: all nodes share a megabyte.
    for (const auto& [key, holds] : {std::pair{"exclusive", slot.exclusive},
                                     {"server", slot.server},
                                     {"etcd", slot.etcd},
                                     {"late", slot.late},
                                     {"waits", slot.waits}}) {
        if (holds) {
            value[key] = true;
        }
    }
    for (const auto& [key, text] :
         {std::pair{"rank", slot.rank}, std::pair{"intent", slot.intent.spec},
          std::pair{"labels", slot.intent.labels}}) {
        if (!text.empty()) {
            value[key] = text;
        }
    }
    if (slot.retried) {
        value["retried"] = {{"detail", slot.retried->detail},
                            {"intent", slot.retried->intent.spec},
                            {"labels", slot.retried->intent.labels}};
    }
    return value;
}

std::optional<Slot> read_slot(const std::string& text) {
    const auto value = parse_object(text);
    if (!value) {
        return std::nullopt;
    }
    Slot slot;
    slot.plan = string_at(*value, {"plan"});
    slot.node = string_at(*value, {"node"});
    slot.phase = string_at(*value, {"phase"});
    slot.hash = string_at(*value, {"hash"});
    slot.version = string_at(*value, {"version"});
    slot.acquired = string_at(*value, {"acquired"});
    slot.renewed = string_at(*value, {"renewed"});
    slot.ttl_seconds = ttl_of(*value, kSlotTtl);
    slot.detail = string_at(*value, {"detail"});
    slot.exclusive = bool_at(*value, {"exclusive"}, false);
    slot.server = bool_at(*value, {"server"}, false);
    slot.etcd = bool_at(*value, {"etcd"}, false);
    slot.late = bool_at(*value, {"late"}, false);
    slot.waits = bool_at(*value, {"waits"}, false);
    slot.rank = string_at(*value, {"rank"});
    slot.intent = {string_at(*value, {"intent"}), string_at(*value, {"labels"})};
    if (find(*value, {"retried"}) != nullptr) {
        slot.retried = Failure{
            string_at(*value, {"retried", "detail"}),
            {string_at(*value, {"retried", "intent"}), string_at(*value, {"retried", "labels"})}};
    }
    if (slot.plan.empty() || slot.node.empty() || slot.phase.empty()) {
        return std::nullopt;
    }
    return slot;
}

Json to_json(const CoordinatorLease& lease) {
    return {{"holder", lease.holder},
            {"acquired", lease.acquired},
            {"renewed", lease.renewed},
            {"ttlSeconds", lease.ttl_seconds},
            {"nodes", lease.nodes}};
}

std::optional<CoordinatorLease> read_coordinator(const std::string& text) {
    const auto value = parse_object(text);
    if (!value || string_at(*value, {"holder"}).empty()) {
        return std::nullopt;
    }
    return CoordinatorLease{string_at(*value, {"holder"}), string_at(*value, {"acquired"}),
                            string_at(*value, {"renewed"}), ttl_of(*value, kCoordinatorTtl),
                            std::max<std::int64_t>(int_at(*value, {"nodes"}).value_or(0), 0)};
}

void Observer::see(const std::map<std::string, std::string>& renewed_by_key, Monotonic now) {
    std::erase_if(seen_, [&](const auto& entry) { return !renewed_by_key.contains(entry.first); });
    for (const auto& [key, renewed] : renewed_by_key) {
        const auto [entry, is_new] = seen_.try_emplace(key, Seen{renewed, now});
        if (!is_new && entry->second.renewed != renewed) {
            entry->second = {renewed, now};
        }
    }
}

bool Observer::run_out(const std::string& key, Duration ttl, Monotonic now) const {
    const auto seen = seen_.find(key);
    return seen != seen_.end() && now - seen->second.since >= ttl;
}

Duration Observer::remaining(const std::string& key, Duration ttl, Monotonic now) const {
    const auto seen = seen_.find(key);
    if (seen == seen_.end() || now - seen->second.since >= ttl) {
        return Duration::zero();
    }
    return std::chrono::ceil<Duration>(ttl - (now - seen->second.since));
}

Lock read_lock(const Json& config_map) {
    Lock lock;
    lock.resource_version = string_at(config_map, {"metadata", "resourceVersion"});
    const auto* data = find(config_map, {"data"});
    if (data == nullptr) {
        return lock;
    }
    for (const auto& [key, value] : data->items()) {
        const auto text = value.is_string() ? value.get<std::string>() : value.dump();
        lock.texts.emplace(key, text);
        if (key == kCoordinatorKey) {
            lock.coordinator = read_coordinator(text);
        } else if (auto slot = read_slot(text)) {
            lock.slots.emplace(key, std::move(*slot));
        } else {
            lock.unreadable.push_back(key);
        }
    }
    return lock;
}

std::map<std::string, std::string> renewals(const Lock& lock) {
    std::map<std::string, std::string> renewed;
    for (const auto& [key, slot] : lock.slots) {
        renewed[key] = slot.renewed;
    }
    if (lock.coordinator) {
        // Another holder with the same text is another lease.
        renewed[kCoordinatorKey] = lock.coordinator->holder + " " + lock.coordinator->renewed;
    }
    return renewed;
}

Duration fence_of(Duration ttl) { return ttl * 2 / 3; }

bool is_present(const Slot& slot, const std::string& hash, const plan::Intent& intent) {
    return slot.hash == hash || (!slot.intent.spec.empty() && slot.intent.spec == intent.spec);
}

bool has_failed(const Slot& slot, const std::string& hash, const plan::Intent& intent) {
    // An agent that knew no intents has failed for the hash.
    return slot.phase == kFailed && is_present(slot, hash, intent) &&
           (slot.intent.spec.empty() || slot.intent == intent);
}

bool is_lost_retry(const Slot& slot, bool run_out) {
    return run_out && slot.retried && slot.phase != kFailed && slot.phase != kBlocked;
}

bool occupies(const Slot& slot, const std::string& hash, const plan::Intent& intent, bool run_out) {
    if (slot.phase == kBlocked) {
        return false;
    }
    if (slot.phase == kFailed) {
        return is_present(slot, hash, intent);
    }
    return !run_out || (is_lost_retry(slot, run_out) && is_present(slot, hash, intent));
}

namespace {

std::string in_words(const Slot& slot) {
    return format("{} ({}{}{})", slot.node, slot.phase, slot.detail.empty() ? "" : ", ",
                  slot.detail);
}

/// Gathers what is in the way of a request, one line a kind.
class Obstacles {
  public:
    Obstacles(const Request& request, const Observer& observer, Monotonic now)
        : request_(request), observer_(observer), now_(now), down_(request.etcd_not_ready) {
        down_.erase(request.node);
    }

    void see(const std::string& key, const Slot& slot) {
        const auto ttl = std::chrono::seconds(slot.ttl_seconds);
        const bool run_out = observer_.run_out(key, ttl, now_);
        const bool failed = slot.phase == kFailed || is_lost_retry(slot, run_out);
        const bool live = slot.phase != kBlocked && !failed && !run_out;
        bool in_the_way = false;
        if (slot.plan == request_.plan) {
            if (occupies(slot, request_.hash, request_.intent, run_out)) {
                holders_.push_back(in_words(slot));
                in_the_way = true;
            }
        } else if (request_.exclusive && slot.exclusive && live) {
            exclusive_.push_back(format("{}: {}", slot.plan, in_words(slot)));
            in_the_way = true;
        }
        if (request_.server && slot.server && live) {
            servers_.push_back(in_words(slot));
            in_the_way = true;
        }
        if (request_.etcd && slot.etcd && live) {
            down_.insert(slot.node);
        }
        if (in_the_way && !failed) {
            again_ =
                std::min(again_.value_or(Duration::max()), observer_.remaining(key, ttl, now_));
        }
    }

    [[nodiscard]] Choice choice() const {
        Choice choice;
        choice.decided = now_;
        choice.again = again_;
        choice.why_not = why_not();
        choice.take = choice.why_not.empty();
        if (choice.take) {
            choice.again.reset();
        }
        choice.stuck = !choice.take && holders_.empty() && exclusive_.empty() && servers_.empty() &&
                       request_.concurrency > 0;
        return choice;
    }

  private:
    [[nodiscard]] std::string why_not() const {
        if (request_.concurrency <= 0) {
            return "paused: spec.concurrency is 0";
        }
        if (static_cast<std::int64_t>(holders_.size()) >= request_.concurrency) {
            return format("{} of {} slots held: {}", holders_.size(), request_.concurrency,
                          join(holders_, ", "));
        }
        if (!exclusive_.empty()) {
            return "another exclusive Plan is being applied: " + join(exclusive_, ", ");
        }
        if (!servers_.empty() && request_.concurrency == 1) {
            return "another server is being upgraded: " + join(servers_, ", ");
        }
        return quorum();
    }

    [[nodiscard]] std::string quorum() const {
        if (!request_.etcd) {
            return {};
        }
        const auto members = std::max<std::size_t>(request_.etcd_members.size(), 1);
        const auto majority = members / 2 + 1;
        const auto spare = std::max<std::size_t>(members - majority, 1);
        if (down_.size() + 1 <= spare) {
            return {};
        }
        return format("etcd would lose its majority: of {} members {} must stay up, and {} {} not",
                      members, majority, join({down_.begin(), down_.end()}, ", "),
                      down_.size() == 1 ? "is" : "are");
    }

    const Request& request_;
    const Observer& observer_;
    Monotonic now_;
    std::set<std::string> down_;  ///< Other etcd members that are not up, or about to go down.
    std::vector<std::string> holders_;
    std::vector<std::string> exclusive_;
    std::vector<std::string> servers_;
    std::optional<Duration> again_;
};

}  // namespace

Choice choose(const Lock& lock, const Request& request, const Observer& observer, Monotonic now) {
    Obstacles obstacles(request, observer, now);
    for (const auto& [key, slot] : lock.slots) {
        if (slot.node != request.node) {
            obstacles.see(key, slot);
            continue;
        }
        if (slot.plan == request.plan && has_failed(slot, request.hash, request.intent)) {
            return {false, "failed here before: " + slot.detail, now, std::nullopt};
        }
    }
    return obstacles.choice();
}

}  // namespace kua::lock
