// SPDX-License-Identifier: Apache-2.0
#include "agent/lock/slots.hpp"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "agent/lock/view.hpp"
#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::lock {

namespace {

constexpr int kConflict = 409;
constexpr int kNotFound = 404;
constexpr int kUnprocessable = 422;
constexpr Duration kFirstPause{20};
constexpr Duration kLongestPause{2'000};
constexpr Duration kBetweenWrites{3'000};
/// What follows a failure's own words, and why.
constexpr auto kTriedAgain = "; tried again, which came to nothing: ";
constexpr auto kNotYet = "; can't be tried again yet: ";

std::string text_of(const Json& value) {
    // A detail may be what some program printed; what is no UTF-8 in it must not stop anything.
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// A JSON Patch (RFC 6902) of keys that exist: each is tested for what it was decided on.
Json patch_of_keys(const Lock& lock, const std::map<std::string, std::optional<Json>>& changes) {
    auto operations = Json::array();
    for (const auto& [key, value] : changes) {
        // A ConfigMap's key has nothing in it that a JSON Pointer would want escaped.
        const auto path = "/data/" + key;
        operations.push_back({{"op", "test"}, {"path", path}, {"value", lock.texts.at(key)}});
        if (value) {
            operations.push_back({{"op", "replace"}, {"path", path}, {"value", text_of(*value)}});
        } else {
            operations.push_back({{"op", "remove"}, {"path", path}});
        }
    }
    return operations;
}

/// The slots of a Plan as they were taken.
std::set<std::string> holders_of(const Lock& lock, const std::string& plan) {
    std::set<std::string> holders;
    for (const auto& [key, slot] : lock.slots) {
        if (slot.plan == plan && slot.phase != kBlocked) {
            holders.insert(key + " " + slot.acquired);
        }
    }
    return holders;
}

/// A failure's own words, without what new tries of it have come to.
std::string first_failure(const std::string& detail) {
    return detail.substr(0, std::min(detail.find(kTriedAgain), detail.find(kNotYet)));
}

/// The failure that is tried again in a slot, which it is once more.
Slot failed_again(Slot slot) {
    slot.phase = kFailed;
    slot.detail = first_failure(slot.retried->detail);
    slot.intent = slot.retried->intent;
    slot.retried.reset();
    slot.waits = false;
    return slot;
}

/// What a slot that is taken for `request` tries again.
std::optional<Failure> failure_in(const Lock& lock, const std::string& key,
                                  const Request& request) {
    const auto own = lock.slots.find(key);
    if (own == lock.slots.end() || !is_present(own->second, request.hash, request.intent)) {
        return std::nullopt;
    }
    const auto& slot = own->second;
    return slot.phase == kFailed ? Failure{slot.detail, slot.intent} : slot.retried;
}

/// The values of the keys that are to be changed.
std::map<std::string, std::string> texts_of(
    const Lock& lock, const std::map<std::string, std::optional<Json>>& changes) {
    std::map<std::string, std::string> texts;
    for (const auto& [key, value] : changes) {
        texts[key] = lock.texts.at(key);
    }
    return texts;
}

bool all_exist(const Lock& lock, const std::map<std::string, std::optional<Json>>& changes) {
    return std::all_of(changes.begin(), changes.end(),
                       [&](const auto& change) { return lock.texts.contains(change.first); });
}

std::uint64_t number_of(const std::string& resource_version) {
    std::uint64_t number = 0;
    std::from_chars(resource_version.data(), resource_version.data() + resource_version.size(),
                    number);
    return number;
}

Json patch_body(const Lock& lock, const std::map<std::string, std::optional<Json>>& changes) {
    Json data = Json::object();
    for (const auto& [key, value] : changes) {
        data[key] = value ? Json(text_of(*value)) : Json(nullptr);
    }
    return {{"metadata", {{"resourceVersion", lock.resource_version}}}, {"data", std::move(data)}};
}

}  // namespace

std::string missing(const LockSettings& settings) {
    return format("the lock, ConfigMap {}/{}, does not exist; {}", settings.ns, settings.config_map,
                  kube::kApplyDeploy);
}

Slots::Slots(kube::Client& client, Clock& clock, LockSettings settings)
    : client_(client), clock_(clock), settings_(std::move(settings)) {}

Lock Slots::read(std::stop_token stop) {
    const auto object =
        client_.get(kube::config_map_path(settings_.ns, settings_.config_map), std::move(stop));
    if (!object) {
        throw Error(ErrorKind::invalid, missing(settings_));
    }
    auto lock = read_lock(*object);
    observe(lock);
    return lock;
}

void Slots::observe(const Lock& lock) {
    const std::lock_guard guard(mutex_);
    observer_.see(renewals(lock), clock_.monotonic());
    // A watch may be behind what was written here. Versions grow (Kubernetes, KEP-5504); were they
    // not to, an old copy would cost a conflict and nothing else.
    const auto version = number_of(lock.resource_version);
    if (version >= newest_version_) {
        newest_version_ = version;
        newest_ = lock;
    }
}

std::optional<Lock> Slots::take_newest() {
    const std::lock_guard guard(mutex_);
    return std::exchange(newest_, std::nullopt);
}

bool Slots::run_out(const std::string& key, Duration ttl) {
    const std::lock_guard guard(mutex_);
    return observer_.run_out(key, ttl, clock_.monotonic());
}

Duration Slots::remaining(const std::string& key, Duration ttl) {
    const std::lock_guard guard(mutex_);
    return observer_.remaining(key, ttl, clock_.monotonic());
}

Lock Slots::change(
    const std::function<std::map<std::string, std::optional<Json>>(const Lock&)>& decide,
    std::stop_token stop, Compare compare) {
    Backoff pause(kFirstPause, kLongestPause);
    // What the watch has brought costs no read, and if it is old the write is refused. That nothing
    // is to be done can't be refused.
    auto known = take_newest();
    std::map<std::string, std::string> refused;  // What the last write was refused on.
    while (true) {
        const bool fresh = !known;
        auto lock = fresh ? read(stop) : *std::exchange(known, std::nullopt);
        const auto changes = decide(lock);
        if (changes.empty()) {
            if (fresh) {
                return lock;
            }
            continue;
        }
        kube::Call call;
        call.method = "PATCH";
        call.path = kube::config_map_path(settings_.ns, settings_.config_map);
        const bool by_keys = compare == Compare::own_keys && all_exist(lock, changes);
        call.content_type = by_keys ? kube::kJsonPatch : kube::kMergePatch;
        call.body = by_keys ? patch_of_keys(lock, changes) : patch_body(lock, changes);
        const auto answer = client_.call(call, stop);
        if (answer.ok()) {
            observe(read_lock(answer.body));
            return lock;
        }
        // A test that fails, or finds no such key, is answered with 422; and so is what the server
        // takes in no case, such as more than a megabyte.
        const bool may_have_changed = by_keys && answer.status == kUnprocessable;
        auto tested =
            may_have_changed ? texts_of(lock, changes) : std::map<std::string, std::string>();
        const bool changed_meanwhile = answer.status == kConflict || answer.status == kNotFound ||
                                       (may_have_changed && !(fresh && tested == refused));
        if (!changed_meanwhile) {
            throw kube::refusal(answer, "writing the lock");
        }
        refused = std::move(tested);
        if (!fresh) {
            continue;
        }
        if (!clock_.wait_for(pause.next(), stop)) {
            throw Error(ErrorKind::stopped, "stopped while writing the lock");
        }
    }
}

Choice Slots::look(const Lock& lock, const Request& request) {
    const std::lock_guard guard(mutex_);
    return choose(lock, request, observer_, clock_.monotonic());
}

Choice Slots::take(const Request& request, const std::string& version, std::stop_token stop) {
    Choice choice;
    std::optional<std::set<std::string>> seen;
    change(
        [&](const Lock& lock) -> std::map<std::string, std::optional<Json>> {
            choice = look(lock, request);
            const auto holders = holders_of(lock, request.plan);
            if (choice.take && seen &&
                !std::includes(seen->begin(), seen->end(), holders.begin(), holders.end())) {
                choice.take = false;
                choice.why_not = "another node was faster";
                choice.again = Duration::zero();
            }
            seen = holders;
            if (!choice.take) {
                return {};
            }
            const auto key = slot_key(request.plan, settings_.node);
            Slot slot;
            slot.plan = request.plan;
            slot.node = settings_.node;
            slot.phase = "Acquired";
            slot.hash = request.hash;
            slot.version = version;
            slot.acquired = now_text();
            slot.renewed = slot.acquired;
            slot.ttl_seconds = static_cast<int>(
                std::chrono::duration_cast<std::chrono::seconds>(settings_.ttl).count());
            slot.exclusive = request.exclusive;
            slot.server = request.server;
            slot.etcd = request.etcd;
            slot.rank = request.rank;
            slot.intent = request.intent;
            slot.retried = failure_in(lock, key, request);
            return {{key, to_json(slot)}};
        },
        std::move(stop));
    return choice;
}

bool Slots::give_back(const std::string& plan, std::stop_token stop) {
    const auto key = slot_key(plan, settings_.node);
    std::optional<Slot> there;
    change(
        [&](const Lock& lock) -> std::map<std::string, std::optional<Json>> {
            const auto present = lock.slots.find(key);
            if (present == lock.slots.end()) {
                there.reset();
                return {};
            }
            there = present->second;
            return {{key, std::nullopt}};
        },
        std::move(stop), Compare::own_keys);
    if (there) {
        note_removed(*there);
    }
    return there.has_value();
}

bool Slots::step_back(const std::string& plan, const std::string& why, std::stop_token stop) {
    const auto key = slot_key(plan, settings_.node);
    bool failed = false;
    change(
        [&](const Lock& lock) -> std::map<std::string, std::optional<Json>> {
            const auto present = lock.slots.find(key);
            failed = present != lock.slots.end() &&
                     (present->second.retried || present->second.phase == kFailed);
            // One that has failed by now was stepped back from before: by a request whose answer
            // was lost, or by an agent that died behind it.
            if (!failed || !present->second.retried) {
                return {};
            }
            auto slot = failed_again(present->second);
            slot.detail += kTriedAgain + why;
            slot.acquired = now_text();
            slot.renewed = slot.acquired;
            return {{key, to_json(slot)}};
        },
        stop, Compare::own_keys);
    return failed || give_back(plan, std::move(stop));
}

void Slots::note_removed(const Slot& slot) {
    const std::lock_guard guard(mutex_);
    removed_[slot.plan] = {slot.acquired, clock_.monotonic()};
}

bool Slots::was_removed(const Slot& slot) {
    const std::lock_guard guard(mutex_);
    const auto removed = removed_.find(slot.plan);
    return removed != removed_.end() && removed->second.acquired == slot.acquired &&
           clock_.monotonic() - removed->second.at < kWatchIsBehind;
}

bool Slots::give_back_seen(const Slot& seen, std::stop_token stop) {
    if (was_removed(seen)) {
        return false;
    }
    const auto key = slot_key(seen.plan, settings_.node);
    bool is_the_same = false;
    change(
        [&](const Lock& lock) -> std::map<std::string, std::optional<Json>> {
            const auto present = lock.slots.find(key);
            is_the_same = present != lock.slots.end() && present->second.phase == seen.phase &&
                          present->second.hash == seen.hash &&
                          present->second.acquired == seen.acquired;
            if (!is_the_same) {
                return {};
            }
            return {{key, std::nullopt}};
        },
        std::move(stop), Compare::own_keys);
    if (is_the_same) {
        note_removed(seen);
    }
    return is_the_same;
}

void Slots::report(const Subject& about, std::string_view phase, const std::string& detail,
                   std::stop_token stop) {
    const auto key = slot_key(about.plan, settings_.node);
    change(
        [&](const Lock& lock) -> std::map<std::string, std::optional<Json>> {
            const auto present = lock.slots.find(key);
            auto slot = present != lock.slots.end() ? present->second : Slot{};
            // Others would go on with what has failed here.
            const bool again = slot.retried.has_value();
            const bool stays = phase == kBlocked && (again || slot.phase == kFailed) &&
                               is_present(slot, about.hash, about.intent);
            if (stays && again) {
                slot = failed_again(slot);
            }
            const auto text = stays ? first_failure(slot.detail) + kNotYet + detail : detail;
            if (!again && (stays || slot.phase == phase) && slot.detail == text &&
                slot.hash == about.hash && (stays || slot.intent == about.intent)) {
                return {};
            }
            slot.plan = about.plan;
            slot.node = settings_.node;
            slot.hash = about.hash;
            slot.version = about.version;
            slot.acquired = now_text();
            slot.renewed = slot.acquired;
            slot.detail = text;
            if (!stays) {
                slot.phase = phase;
                slot.intent = about.intent;
                slot.retried.reset();
                slot.waits = false;
            }
            return {{key, to_json(slot)}};
        },
        std::move(stop), Compare::own_keys);
}

std::string Slots::now_text() const { return to_rfc3339_micro(clock_.wall()); }

HeldSlot::HeldSlot(Slots& slots, Clock& clock, std::string plan, std::string hash,
                   std::string version, Monotonic since)
    : slots_(slots),
      clock_(clock),
      plan_(std::move(plan)),
      hash_(std::move(hash)),
      version_(std::move(version)),
      renewed_(since),
      written_(clock.monotonic()),
      thread_(watched("the slot's renewal", [this](const std::stop_token& stop) { run(stop); })) {}

HeldSlot::~HeldSlot() {
    thread_.request_stop();
    changed_.notify_all();
}

void HeldSlot::show(std::string_view phase, const std::string& detail, bool waits) {
    {
        const std::lock_guard guard(mutex_);
        if (phase_ == phase && detail_ == detail && waits_ == waits) {
            return;
        }
        phase_ = phase;
        detail_ = detail;
        waits_ = waits;
        dirty_ = true;
    }
    changed_.notify_all();
}

void HeldSlot::ensure_held() const {
    const std::lock_guard guard(mutex_);
    if (late_) {
        throw Error(ErrorKind::lost_lease,
                    "the slot was renewed too late: another agent may have taken it meanwhile");
    }
    if (lost_) {
        throw Error(
            ErrorKind::lost_lease,
            "the slot is no longer in the lock: another agent or an administrator removed it");
    }
    const auto age = std::chrono::duration_cast<Duration>(clock_.monotonic() - renewed_);
    if (age > fence_of(slots_.settings().ttl)) {
        throw Error(ErrorKind::lost_lease,
                    format("the slot could not be renewed for {}", to_text(age)));
    }
}

Monotonic HeldSlot::since() const {
    const std::lock_guard guard(mutex_);
    return renewed_;
}

void HeldSlot::run(const std::stop_token& stop) {
    // A third of the time to live between renewals: two may fail before the fence comes down.
    const auto interval = slots_.settings().ttl / 3;
    Backoff pause(Duration(500), std::min(interval, Duration(10'000)));
    auto wait = interval;
    while (!stop.stop_requested()) {
        {
            std::unique_lock guard(mutex_);
            const bool is_dirty = wait_in_pieces(wait, stop, [&](Duration piece) {
                return changed_.wait_for(guard, stop, piece, [this] { return dirty_; });
            });
            if (is_dirty) {
                const auto next = written_ + kBetweenWrites - clock_.monotonic();
                changed_.wait_for(guard, stop, next, [] { return false; });
            }
        }
        if (stop.stop_requested()) {
            return;
        }
        try {
            renew(stop);
            pause.reset();
            wait = interval;
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::stopped) {
                return;
            }
            wait = pause.next();
            renewal_failed(error, wait);
        } catch (const std::exception& error) {
            wait = pause.next();
            renewal_failed(error, wait);
        }
    }
}

void HeldSlot::renewal_failed(const std::exception& error, Duration wait) {
    log::debug(format("renewing the slot failed, next try in {}: {}", to_text(wait), error.what()),
               {{"plan", plan_}});
    const std::lock_guard guard(mutex_);
    dirty_ = false;
}

bool HeldSlot::past_fence() const {
    const std::lock_guard guard(mutex_);
    return late_ || clock_.monotonic() - renewed_ > fence_of(slots_.settings().ttl);
}

void HeldSlot::renew(const std::stop_token& stop) {
    std::string phase;
    std::string detail;
    bool waits = false;
    {
        const std::lock_guard guard(mutex_);
        phase = phase_;
        detail = detail_;
        waits = waits_;
        dirty_ = false;
    }
    const auto key = slot_key(plan_, slots_.settings().node);
    // The lease runs from when the renewal was sent, not from when its answer came.
    const auto sent = clock_.monotonic();
    bool gone = false;
    bool late = false;
    slots_.change(
        [&](const Lock& lock) -> std::map<std::string, std::optional<Json>> {
            const auto present = lock.slots.find(key);
            gone = present == lock.slots.end() || present->second.hash != hash_;
            if (gone) {
                return {};
            }
            // By an observer's clock the lease may run out just before this is written, and another
            // begin. The slot is renewed all the same, for those who count, and marked, for an
            // agent that is started again here.
            late = past_fence();
            auto slot = present->second;
            slot.late = slot.late || late;
            slot.phase = phase;
            slot.detail = detail;
            slot.waits = waits;
            slot.version = version_;
            slot.renewed = slots_.now_text();
            return {{key, to_json(slot)}};
        },
        stop, Slots::Compare::own_keys);
    const std::lock_guard guard(mutex_);
    lost_ = lost_ || gone;
    late_ = late_ || late;
    if (!gone) {
        renewed_ = sent;
        written_ = clock_.monotonic();
    }
}

}  // namespace kua::lock
