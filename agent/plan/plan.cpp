// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/plan.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "agent/plan/label.hpp"
#include "agent/plan/version.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/go_duration.hpp"

namespace kua::plan {

namespace {

/// The same image, on Docker Hub and on ghcr.io.
constexpr std::array<std::string_view, 2> kServedImages{"rancher/k3s-upgrade",
                                                        "k3s-io/k3s-upgrade"};
/// More than anybody waits, and no more than every clock can add to its time.
constexpr std::chrono::hours kLongestWait{24 * 365};

/// The image's repository without registry, tag and digest: `docker.io/rancher/k3s-upgrade:v1` →
/// `rancher/k3s-upgrade`. What comes before the first slash is a registry when it has a dot or a
/// colon, or is `localhost` (Docker's rule); a mirror's own path in front of `rancher/` or
/// `k3s-io/` is allowed too.
bool serves(std::string image) {
    image = image.substr(0, image.find('@'));
    const auto slash = image.rfind('/');
    if (const auto colon = image.rfind(':');
        colon != std::string::npos && (slash == std::string::npos || colon > slash)) {
        image.resize(colon);
    }
    return std::any_of(kServedImages.begin(), kServedImages.end(), [&image](auto served) {
        return image == served || image.ends_with(format("/{}", served));
    });
}

std::vector<std::string> texts_at(const Json& object,
                                  std::initializer_list<std::string_view> path) {
    std::vector<std::string> texts;
    if (const auto* list = find(object, path)) {
        for (const auto& item : *list) {
            texts.push_back(item.is_string() ? item.get<std::string>() : item.dump());
        }
    }
    return texts;
}

/// As an int32, which these fields are in Kubernetes, whatever stands there.
int bounded(std::int64_t value) {
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    return static_cast<int>(std::clamp<std::int64_t>(value, 0, kMost));
}

/// A text is a Go duration, an integer a count of nanoseconds (SUC: DrainSpec.Timeout).
std::chrono::nanoseconds exact_drain_timeout(const Json& value) {
    if (value.is_number_integer()) {
        return std::chrono::nanoseconds(value.get<std::int64_t>());
    }
    if (value.is_string()) {
        return with_context("spec.drain.timeout",
                            [&] { return parse_go_duration(value.get<std::string>()); });
    }
    throw Error(
        ErrorKind::invalid,
        format("spec.drain.timeout: must be a duration such as \"5m\", is {}", value.dump()));
}

Duration drain_timeout(const Json& value) {
    const auto timeout = exact_drain_timeout(value);
    if (timeout < std::chrono::nanoseconds(0)) {
        throw Error(ErrorKind::invalid, format("spec.drain.timeout: {} is negative", value.dump()));
    }
    // kubectl would give up before it has asked for the first eviction.
    if (timeout > std::chrono::nanoseconds(0) && timeout < std::chrono::seconds(1)) {
        constexpr std::chrono::nanoseconds kMostSeconds{86'400};
        if (value.is_string()) {
            throw Error(ErrorKind::invalid,
                        format("spec.drain.timeout: {} is less than a second, in which no node is "
                               "drained; write a duration such as \"5m\"",
                               excerpt(value.dump(), 80)));
        }
        const auto meant = timeout <= kMostSeconds ? format("\"{}s\"", timeout.count())
                                                   : "a duration such as \"5m\"";
        throw Error(ErrorKind::invalid,
                    format("spec.drain.timeout: {} is {} nanoseconds to Kubernetes; write {}",
                           timeout.count(), timeout.count(), meant));
    }
    return std::chrono::duration_cast<Duration>(timeout);
}

DrainSpec read_drain(const Json& drain) {
    const auto* emptydir = find(drain, {"deleteEmptydirData"});
    const auto* local = find(drain, {"deleteLocalData"});
    if (emptydir != nullptr && local != nullptr) {
        throw Error(ErrorKind::invalid,
                    "spec.drain cannot specify both deleteEmptydirData and deleteLocalData");
    }
    DrainSpec spec;
    spec.ignore_daemon_sets = bool_at(drain, {"ignoreDaemonSets"}, true);
    spec.delete_emptydir_data =
        bool_at(drain, {"deleteEmptydirData"}, bool_at(drain, {"deleteLocalData"}, true));
    spec.force = bool_at(drain, {"force"}, false);
    spec.disable_eviction = bool_at(drain, {"disableEviction"}, false);
    if (const auto grace = int_at(drain, {"gracePeriod"}); grace && *grace >= 0) {
        spec.grace_period = bounded(*grace);
    }
    spec.skip_wait_for_delete_timeout =
        bounded(int_at(drain, {"skipWaitForDeleteTimeout"}).value_or(0));
    if (const auto* timeout = find(drain, {"timeout"})) {
        spec.timeout = drain_timeout(*timeout);
    }
    if (const auto* selector = find(drain, {"podSelector"})) {
        spec.pod_selector = Selector(*selector, "spec.drain.podSelector");
    }
    return spec;
}

/// A metav1.Duration: always a text.
Duration read_delay(const Json& value) {
    if (!value.is_string()) {
        throw Error(ErrorKind::invalid,
                    format("spec.postCompleteDelay: must be a duration such as \"2m\", is {}",
                           excerpt(value.dump(), 80)));
    }
    const auto delay = with_context("spec.postCompleteDelay",
                                    [&] { return parse_duration(value.get<std::string>()); });
    if (delay < Duration::zero()) {
        throw Error(ErrorKind::invalid,
                    format("spec.postCompleteDelay: {} is negative", value.dump()));
    }
    return std::min<Duration>(delay, kLongestWait);
}

std::map<std::string, std::string> read_labels(const Json& spec) {
    std::map<std::string, std::string> labels;
    const auto* named = find(spec, {"postCompleteLabels"});
    if (named == nullptr) {
        return labels;
    }
    if (!named->is_object()) {
        throw Error(ErrorKind::invalid, format("spec.postCompleteLabels: must be a mapping, is {}",
                                               excerpt(named->dump(), 80)));
    }
    for (const auto& [key, value] : named->items()) {
        if (!value.is_string()) {
            throw Error(ErrorKind::invalid,
                        format("spec.postCompleteLabels: \"{}\": must be a text, is {}",
                               excerpt(key, 80), excerpt(value.dump(), 80)));
        }
        labels.emplace(key, value.get<std::string>());
    }
    return labels;
}

std::string replace_all(std::string text, std::string_view what, std::string_view with) {
    for (auto at = text.find(what); at != std::string::npos;
         at = text.find(what, at + with.size())) {
        text.replace(at, what.size(), with);
    }
    return text;
}

std::optional<std::string> unsupported(const Plan& plan, const Json& spec) {
    if (!serves(plan.image)) {
        return format(
            "spec.upgrade.image \"{}\" is not one that k3s-upgrade-agent serves ({} or {}, with "
            "any "
            "registry before it)",
            plan.image, kServedImages[0], kServedImages[1]);
    }
    if (!texts_at(spec, {"upgrade", "command"}).empty() ||
        !texts_at(spec, {"upgrade", "args"}).empty()) {
        return "spec.upgrade.command and args are the image's own business: k3s-upgrade-agent runs "
               "no container";
    }
    if (find(spec, {"prepare"}) != nullptr && !plan.prepare_plan) {
        return format(
            "spec.prepare: only image {} with args [\"prepare\", \"<plan>\"] is supported",
            kServedImages[0]);
    }
    if (const auto* secrets = find(spec, {"secrets"})) {
        for (const auto& secret : *secrets) {
            if (!bool_at(secret, {"ignoreUpdates"}, false)) {
                return format(
                    "spec.secrets \"{}\": a node's certificate can't read Secrets, so changes "
                    "can't be followed; set ignoreUpdates: true",
                    string_at(secret, {"name"}));
            }
        }
    }
    for (const auto& [key, value] : plan.post_complete_labels) {
        if (!node_may_set(key)) {
            return format(
                "spec.postCompleteLabels \"{}\": Kubernetes (NodeRestriction) lets no node put "
                "this label on itself; use another domain",
                excerpt(key, 80));
        }
    }
    return std::nullopt;
}

/// What can be said of the labels before version and hash are known: with stand-ins of their
/// length.
void check_labels(const Plan& plan) {
    const auto version = parse_version(plan.version);
    complete_labels(plan, version ? version->tag() : "v1.0.0-k3s1", std::string(56, '0'));
}

/// Asked before any node is touched: at the end of an upgrade the label could not be set.
void check_name(const Plan& plan) {
    const auto label = label_of(plan.name);
    const auto problem =
        plan.name.empty() ? std::optional<std::string>() : label_key_problem(label);
    if (problem) {
        throw Error(ErrorKind::invalid,
                    format("metadata.name: a node that is done gets the label {}, and a label's "
                           "key {}: make the Plan again under a shorter name",
                           excerpt(label, 300), *problem));
    }
}

void read_spec(Plan& plan, const Json& spec) {
    plan.version = string_at(spec, {"version"});
    plan.channel = string_at(spec, {"channel"});
    plan.concurrency = std::max<std::int64_t>(int_at(spec, {"concurrency"}).value_or(0), 0);
    plan.service_account_name = string_at(spec, {"serviceAccountName"});
    plan.cordon = bool_at(spec, {"cordon"}, false);
    plan.image = string_at(spec, {"upgrade", "image"});
    plan.exclusive = bool_at(spec, {"exclusive"}, false);
    // SUC's job.New: below 0 is as if it were not there.
    if (const auto seconds = int_at(spec, {"jobActiveDeadlineSecs"}); seconds && *seconds >= 0) {
        plan.deadline =
            std::min<std::chrono::seconds>(std::chrono::seconds(*seconds), kLongestWait);
    }
    const auto prepare_args = texts_at(spec, {"prepare", "args"});
    if (serves(string_at(spec, {"prepare", "image"})) &&
        texts_at(spec, {"prepare", "command"}).empty() && prepare_args.size() == 2 &&
        prepare_args[0] == "prepare") {
        plan.prepare_plan = prepare_args[1];
    }
    plan.post_complete_labels = read_labels(spec);
    if (const auto problem = unsupported(plan, spec)) {
        plan.problem = Problem{"Unsupported", *problem};
        return;
    }
    check_name(plan);
    if (const auto* selector = find(spec, {"nodeSelector"})) {
        plan.node_selector = Selector(*selector, "spec.nodeSelector");
    }
    if (const auto* drain = find(spec, {"drain"})) {
        plan.drain = read_drain(*drain);
    }
    if (const auto* window = find(spec, {"window"})) {
        plan.window = Window(*window, "spec.window");
    }
    if (const auto* delay = find(spec, {"postCompleteDelay"})) {
        plan.post_complete_delay = read_delay(*delay);
    }
    if (!plan.version.empty() && !parse_version(plan.version)) {
        throw Error(ErrorKind::invalid,
                    format("spec.version: \"{}\" is not a k3s version such as v1.30.4+k3s1",
                           excerpt(plan.version, 80)));
    }
    check_labels(plan);
}

}  // namespace

std::string label_of(const std::string& plan) { return "plan.upgrade.cattle.io/" + plan; }

Plan read_plan(const Json& object) {
    Plan plan;
    plan.object = object;
    plan.name = string_at(object, {"metadata", "name"});
    plan.ns = string_at(object, {"metadata", "namespace"});
    plan.uid = string_at(object, {"metadata", "uid"});
    plan.resource_version = string_at(object, {"metadata", "resourceVersion"});
    if (const auto* annotations = find(object, {"metadata", "annotations"})) {
        for (const auto& [key, value] : annotations->items()) {
            plan.annotations[key] = value.is_string() ? value.get<std::string>() : value.dump();
        }
    }
    plan.status_latest_version = string_at(object, {"status", "latestVersion"});
    plan.status_latest_hash = string_at(object, {"status", "latestHash"});
    plan.status_applying = texts_at(object, {"status", "applying"});
    if (const auto* conditions = find(object, {"status", "conditions"})) {
        for (const auto& condition : *conditions) {
            if (string_at(condition, {"type"}) == "Complete") {
                plan.status_complete = string_at(condition, {"status"}) == "True";
            }
        }
    }
    const auto* spec = find(object, {"spec"});
    static const Json empty = Json::object();
    try {
        read_spec(plan, spec != nullptr ? *spec : empty);
    } catch (const Error& error) {
        plan.problem = Problem{"Error", error.what()};
    }
    return plan;
}

bool selects(const Plan& plan, const Labels& labels) {
    // A nil LabelSelector selects nothing in Kubernetes (metav1.LabelSelectorAsSelector), and so in
    // SUC.
    if (!plan.node_selector || !plan.node_selector->matches(labels) ||
        !labels.contains("kubernetes.io/hostname")) {
        return false;
    }
    const auto label = labels.find(label_of(plan.name));
    return label == labels.end() || label->second != "disabled";
}

bool applied(const Plan& plan, const Labels& labels, const std::string& hash) {
    const auto label = labels.find(label_of(plan.name));
    return label != labels.end() && label->second == hash;
}

std::map<std::string, std::string> complete_labels(const Plan& plan,
                                                   const std::string& latest_version,
                                                   const std::string& latest_hash) {
    std::map<std::string, std::string> labels;
    for (const auto& [key, written] : plan.post_complete_labels) {
        const auto where = format("spec.postCompleteLabels: \"{}\"", excerpt(key, 80));
        if (const auto problem = label_key_problem(key)) {
            throw Error(ErrorKind::invalid, format("{}: a label's key {}", where, *problem));
        }
        if (key == label_of(plan.name)) {
            throw Error(ErrorKind::invalid,
                        format("{}: the Plan's own label is kept by the agent", where));
        }
        const auto value = replace_all(replace_all(written, "$(LATEST_VERSION)", latest_version),
                                       "$(LATEST_HASH)", latest_hash);
        if (const auto problem = label_value_problem(value)) {
            throw Error(ErrorKind::invalid, format("{}: \"{}\": a label's value {}", where,
                                                   excerpt(value, 80), *problem));
        }
        labels.emplace(key, value);
    }
    return labels;
}

}  // namespace kua::plan
