// SPDX-License-Identifier: Apache-2.0
// A host with everything an upgrade touches: its Node and the lock in a fake API, k3s's unit in a
// fake systemd, and the binary and the journal on a real file system.
#pragma once

#include <gmock/gmock.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/release/install.hpp"
#include "agent/upgrade/upgrade.hpp"
#include "lib/base/format.hpp"
#include "lib/crypto/digest.hpp"
#include "lib/kube/objects.hpp"
#include "tests/agent/support.hpp"
#include "tests/fakes/fake_api.hpp"
#include "tests/fakes/fake_clock.hpp"
#include "tests/fakes/fake_units.hpp"

namespace kua::test {

class Host : public ::testing::Test {
  protected:
    static constexpr auto kNode = "/api/v1/nodes/server-1";
    static constexpr auto kLock = "/api/v1/namespaces/system-upgrade/configmaps/k3s-upgrade-agent";
    static constexpr auto kPod = "/api/v1/namespaces/default/pods/web";
    static constexpr auto kOldVersion = "v1.30.4+k3s1";
    static constexpr auto kNewVersion = "v1.31.4+k3s1";
    static constexpr auto kLabel = "plan.upgrade.cattle.io/server-plan";
    static constexpr auto kHash = "hash";
    static constexpr auto kOld = "#!/bin/sh\necho 'k3s version v1.30.4+k3s1 (old)'\n";
    static constexpr auto kNew = "#!/bin/sh\necho 'k3s version v1.31.4+k3s1 (new)'\n";

    Host() {
        limits_.health = std::chrono::seconds(30);
        // nobody has to reach what is staged in it.
        std::filesystem::permissions(folder_.path(), std::filesystem::perms(0711));
        write_text(folder_ / "k3s", kOld);
        std::filesystem::permissions(folder_ / "k3s", std::filesystem::perms(0755));
        write_text(folder_ / "staged", kNew);
        std::filesystem::permissions(folder_ / "staged", std::filesystem::perms(0755));
        std::filesystem::create_directory(folder_ / "data");
        api_.put(kNode, {{"metadata", {{"name", "server-1"}}}});
        report_kubelet(kOldVersion, true);
        api_.put(kLock, {{"metadata", {{"name", "k3s-upgrade-agent"}}}});
        units_.add("k3s.service", {(folder_ / "k3s").string(), "server"});
        units_.on_restart = [this](const std::string& name) { return start_k3s(name); };
        api_.before([this](const FakeApi::Seen& request) {
            note(request);
            return on_request_ ? on_request_(request) : std::nullopt;
        });
    }

    void add_pod(bool managed = true) {
        Json pod = {{"metadata", {{"name", "web"}, {"namespace", "default"}, {"uid", "u"}}},
                    {"spec", {{"nodeName", "server-1"}}},
                    {"status", {{"phase", "Running"}}}};
        if (managed) {
            pod["metadata"]["ownerReferences"] =
                Json::array({{{"kind", "ReplicaSet"}, {"name", "r"}, {"controller", true}}});
        }
        api_.put(kPod, pod);
    }

    /// What a kubelet writes into its Node.
    void report_kubelet(const std::string& version, bool ready) {
        clock_.advance(std::chrono::seconds(1));
        api_.edit(kNode, {{"status",
                           {{"nodeInfo", {{"kubeletVersion", version}}},
                            {"conditions",
                             Json::array({{{"type", "Ready"},
                                           {"status", ready ? "True" : "False"},
                                           {"lastHeartbeatTime", to_rfc3339(clock_.wall())}}})}}}});
    }

    /// systemd starts whatever lies in k3s's place.
    systemd::JobResult start_k3s(const std::string& name) {
        note_effect("restart " + name);
        if (on_start_) {
            on_start_();
        }
        const bool is_new = read_text(folder_ / "k3s") == kNew;
        if (is_new && new_does_not_start_) {
            return {"failed"};
        }
        report_kubelet(is_new ? kNewVersion : kOldVersion, !(is_new && new_is_not_ready_));
        return {"done"};
    }

    /// What a write of the lock leaves under its key: a slot's text, or null when it is removed.
    static Json left_in_lock(const FakeApi::Seen& request) {
        if (!request.body.is_array()) {
            return *request.body.at("data").begin();
        }
        const auto& last = request.body.back();
        return last.at("op") == "remove" ? Json() : last.at("value");
    }

    static bool is_renewal(const FakeApi::Seen& request) {
        if (request.method != "PATCH" || request.path != kLock) {
            return false;
        }
        const auto left = left_in_lock(request);
        return !left.is_null() && Json::parse(left.get<std::string>()).at("phase") != "Failed";
    }

    /// What a request does to the world, in words; empty when it does nothing to it.
    static std::string effect_of(const FakeApi::Seen& request) {
        if (request.method == "GET" || request.query.contains("dryRun") || is_renewal(request)) {
            return {};
        }
        if (request.path.ends_with("/events")) {
            return "tell";
        }
        if (request.path == kLock) {
            return left_in_lock(request).is_null() ? "give back" : "report failure";
        }
        if (request.path == kNode) {
            const auto* spec = find(request.body, {"spec"});
            if (spec == nullptr) {
                return find(request.body, {"metadata", "labels"}) != nullptr ? "label" : "annotate";
            }
            return spec->at("unschedulable").is_null() ? "uncordon" : "cordon";
        }
        return "evict";
    }

    /// The messages of the Events with this reason that this node has made.
    [[nodiscard]] std::vector<std::string> events(const std::string& reason) const {
        std::vector<std::string> messages;
        for (const auto& request : api_.writes()) {
            if (request.path.ends_with("/events") && request.body.at("reason") == reason) {
                messages.push_back(request.body.at("message"));
            }
        }
        return messages;
    }

    void note(const FakeApi::Seen& request) {
        if (const auto effect = effect_of(request); !effect.empty()) {
            note_effect(effect);
        }
    }

    /// Notes an effect with the step that the journal holds at that moment.
    void note_effect(const std::string& effect) {
        const auto record = journal_.read();
        effects_.push_back((record ? record->step : "-") + ": " + effect);
    }

    [[nodiscard]] node::Record new_record() const {
        node::Record record;
        record.plan = "server-plan";
        record.hash = kHash;
        record.version = kNewVersion;
        record.from_version = kOldVersion;
        record.cordon = true;
        record.unit = "k3s.service";
        record.binary = places_.binary;
        record.next = places_.next;
        record.previous = places_.previous;
        record.staged = folder_ / "staged";
        record.sha256 = kSum;
        record.labels = {{kLabel, kHash}};
        record.datastore = datastore_;
        record.data_dir = folder_ / "data";
        record.copies = folder_ / "datastore";
        return record;
    }

    void take_slot() { slots_.take({"server-plan", "server-1", kHash, 1}, kNewVersion, {}); }

    void prepare() {
        take_slot();
        release::prepare(places_, folder_ / "staged", kSum);
    }

    /// A hook that notes its point and what it was told; its end is `status`.
    void add_hook(const std::string& point, int status = 0) {
        std::filesystem::create_directories(folder_ / "hooks.d" / point);
        const auto hook = folder_ / "hooks.d" / point / "10-note";
        write_text(hook, format("#!/bin/sh\necho \"$K3S_UPGRADE_HOOK $K3S_UPGRADE_REASON\" >>{}\n"
                                "echo not today >&2\nexit {}\n",
                                (folder_ / "hooks-ran").string(), status));
        std::filesystem::permissions(hook, std::filesystem::perms(0755));
    }

    /// What hooks have noted, without the folder's file.
    [[nodiscard]] std::string hooks_ran() const { return read_text(folder_ / "hooks-ran"); }

    upgrade::Outcome run(std::optional<plan::DrainSpec> drain = std::nullopt) {
        return run(new_record(), std::move(drain));
    }

    upgrade::Outcome run(node::Record record, std::optional<plan::DrainSpec> drain = std::nullopt,
                         upgrade::Meanwhile meanwhile = {}) {
        upgrade::Upgrade upgrade(tools_, limits_, "server-1", std::move(record), std::move(drain),
                                 clock_.monotonic(), std::move(meanwhile));
        return upgrade.run(stop_.get_token());
    }

    /// What the agent does when it is started again.
    std::optional<upgrade::Outcome> resume() {
        auto record = journal_.read();
        if (!record) {
            return std::nullopt;
        }
        upgrade::Upgrade upgrade(tools_, limits_, "server-1", std::move(*record), std::nullopt,
                                 std::nullopt);
        return upgrade.resume(stop_.get_token());
    }

    [[nodiscard]] bool cordoned() const { return kube::is_unschedulable(api_.get(kNode)); }
    [[nodiscard]] std::string label() const {
        return string_at(api_.get(kNode), {"metadata", "labels", kLabel});
    }
    [[nodiscard]] std::string kubelet() const { return kube::kubelet_version(api_.get(kNode)); }
    [[nodiscard]] std::optional<lock::Slot> slot() const {
        return lock::read_slot(string_at(api_.get(kLock), {"data", "server-plan.server-1"}));
    }
    /// For while others write the lock: what is asked twice may be gone the second time.
    [[nodiscard]] bool slot_is(const std::function<bool(const lock::Slot&)>& condition) const {
        const auto own = slot();
        return own && condition(*own);
    }
    [[nodiscard]] std::string binary() const { return read_text(folder_ / "k3s"); }
    [[nodiscard]] std::string result() const {
        const auto text = read_text(folder_ / "last-result.json");
        return text.empty() ? text : string_at(Json::parse(text), {"result"});
    }

    void expect_upgraded() const {
        EXPECT_EQ(binary(), kNew);
        EXPECT_EQ(kubelet(), kNewVersion);
        EXPECT_EQ(label(), kHash);
        EXPECT_FALSE(cordoned());
        EXPECT_FALSE(slot());
        expect_at_rest();
    }

    void expect_as_it_was() const {
        EXPECT_EQ(binary(), kOld);
        EXPECT_EQ(kubelet(), kOldVersion);
        EXPECT_EQ(label(), "");
        EXPECT_FALSE(cordoned());
        EXPECT_FALSE(slot());
        expect_at_rest();
    }

    void expect_rolled_back() const {
        EXPECT_EQ(binary(), kOld);
        EXPECT_EQ(kubelet(), kOldVersion);
        EXPECT_EQ(label(), "");
        EXPECT_FALSE(cordoned());
        EXPECT_TRUE(slot() && slot()->phase == "Failed");
        expect_at_rest();
    }

    void expect_at_rest() const {
        EXPECT_FALSE(std::filesystem::exists(folder_ / "journal.json"));
        EXPECT_FALSE(std::filesystem::exists(places_.next));
        EXPECT_FALSE(kube::annotations_of(api_.get(kNode)).contains(plan::kCordonedBy));
    }

    const std::string kSum = crypto::hex_digest(crypto::Algorithm::sha256, kNew);
    TempFolder folder_;
    FakeApi api_;
    FakeClock clock_;
    FakeUnits units_;
    std::vector<std::string> effects_;
    std::function<std::optional<http::Response>(const FakeApi::Seen&)> on_request_;
    std::function<void()> on_start_;
    std::string datastore_;  ///< As in a Record.
    bool new_does_not_start_ = false;
    bool new_is_not_ready_ = false;
    kube::Client client_{api_, write_kubeconfig(folder_), [this] { return clock_.monotonic(); }};
    lock::Slots slots_{client_, clock_, {"system-upgrade", "k3s-upgrade-agent", "server-1"}};
    lock::Rival rival_{client_, clock_, "system-upgrade"};
    node::Journal journal_{folder_.path()};
    node::Report report_{clock_, folder_.path(), folder_.path()};
    release::Places places_ = release::places(folder_ / "k3s");
    node::Hooks hooks_{{folder_ / "hooks.d", std::chrono::seconds(60)}};
    upgrade::Tools tools_{client_,  clock_,  units_,  slots_, rival_,
                          journal_, report_, nullptr, &hooks_};
    upgrade::Limits limits_;
    std::stop_source stop_;
};

}  // namespace kua::test
