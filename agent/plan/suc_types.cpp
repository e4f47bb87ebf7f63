// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/suc_types.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/go_duration.hpp"

namespace kua::plan {

namespace {

enum class Kind {
    text,
    flag,
    number,
    quantity,
    duration,
    labels,     ///< A map of texts.
    structure,  ///< Of the fields that `Field::of` names.
    any,        ///< Written as it was read.
};

enum class Written {
    always,        ///< No omitempty: the zero value, too.
    unless_empty,  ///< omitempty: not "", false, 0, and no list or map without an entry.
    when_set,      ///< omitempty of a pointer: what it points to may be empty.
};

struct Structure;

struct Field {
    std::string_view name;
    Kind kind;
    Written written;
    bool is_list = false;
    const Structure* of = nullptr;
};

struct Structure {
    std::span<const Field> fields;
};

constexpr Field required(std::string_view name) { return {name, Kind::text, Written::always}; }
constexpr Field text(std::string_view name) { return {name, Kind::text, Written::unless_empty}; }
constexpr Field texts(std::string_view name) {
    return {name, Kind::text, Written::unless_empty, true};
}
constexpr Field flag(std::string_view name) { return {name, Kind::flag, Written::unless_empty}; }
constexpr Field number(std::string_view name) {
    return {name, Kind::number, Written::unless_empty};
}
constexpr Field labels(std::string_view name) {
    return {name, Kind::labels, Written::unless_empty};
}
/// A pointer to what is no structure: which type it is makes no difference.
constexpr Field pointer(std::string_view name) { return {name, Kind::any, Written::when_set}; }
constexpr Field part(std::string_view name, const Structure& of) {
    return {name, Kind::structure, Written::when_set, false, &of};
}
constexpr Field parts(std::string_view name, const Structure& of) {
    return {name, Kind::structure, Written::unless_empty, true, &of};
}

// k8s.io/apimachinery/pkg/apis/meta/v1

constexpr std::array kRequirementFields{required("key"), required("operator"), texts("values")};
constexpr Structure kRequirement{kRequirementFields};

constexpr std::array kLabelSelectorFields{labels("matchLabels"),
                                          parts("matchExpressions", kRequirement)};
constexpr Structure kLabelSelector{kLabelSelectorFields};

constexpr std::array kOwnerFields{required("apiVersion"), required("kind"),
                                  required("name"),       required("uid"),
                                  pointer("controller"),  pointer("blockOwnerDeletion")};
constexpr Structure kOwner{kOwnerFields};

constexpr std::array kManagedFields{text("manager"),    text("operation"),  text("apiVersion"),
                                    pointer("time"),    text("fieldsType"), pointer("fieldsV1"),
                                    text("subresource")};
constexpr Structure kManaged{kManagedFields};

constexpr std::array kMetadataFields{text("name"),
                                     text("generateName"),
                                     text("namespace"),
                                     text("selfLink"),
                                     text("uid"),
                                     text("resourceVersion"),
                                     number("generation"),
                                     text("creationTimestamp"),
                                     pointer("deletionTimestamp"),
                                     pointer("deletionGracePeriodSeconds"),
                                     labels("labels"),
                                     labels("annotations"),
                                     parts("ownerReferences", kOwner),
                                     texts("finalizers"),
                                     parts("managedFields", kManaged)};
constexpr Structure kMetadata{kMetadataFields};

// k8s.io/api/core/v1

constexpr std::array kFieldRefFields{text("apiVersion"), required("fieldPath")};
constexpr Structure kFieldRef{kFieldRefFields};

constexpr std::array kResourceRefFields{text("containerName"), required("resource"),
                                        Field{"divisor", Kind::quantity, Written::always}};
constexpr Structure kResourceRef{kResourceRefFields};

/// ConfigMapKeySelector and SecretKeySelector.
constexpr std::array kKeyRefFields{text("name"), required("key"), pointer("optional")};
constexpr Structure kKeyRef{kKeyRefFields};

constexpr std::array kFileKeyRefFields{required("volumeName"), required("path"), required("key"),
                                       pointer("optional")};
constexpr Structure kFileKeyRef{kFileKeyRefFields};

constexpr std::array kValueFromFields{
    part("fieldRef", kFieldRef), part("resourceFieldRef", kResourceRef),
    part("configMapKeyRef", kKeyRef), part("secretKeyRef", kKeyRef),
    part("fileKeyRef", kFileKeyRef)};
constexpr Structure kValueFrom{kValueFromFields};

constexpr std::array kVariableFields{required("name"), text("value"),
                                     part("valueFrom", kValueFrom)};
constexpr Structure kVariable{kVariableFields};

/// ConfigMapEnvSource and SecretEnvSource.
constexpr std::array kEnvSourceFields{text("name"), pointer("optional")};
constexpr Structure kEnvSource{kEnvSourceFields};

constexpr std::array kEnvFromFields{text("prefix"), part("configMapRef", kEnvSource),
                                    part("secretRef", kEnvSource)};
constexpr Structure kEnvFrom{kEnvFromFields};

constexpr std::array kCapabilitiesFields{texts("add"), texts("drop")};
constexpr Structure kCapabilities{kCapabilitiesFields};

constexpr std::array kSeLinuxFields{text("user"), text("role"), text("type"), text("level")};
constexpr Structure kSeLinux{kSeLinuxFields};

constexpr std::array kWindowsFields{pointer("gmsaCredentialSpecName"),
                                    pointer("gmsaCredentialSpec"), pointer("runAsUserName"),
                                    pointer("hostProcess")};
constexpr Structure kWindows{kWindowsFields};

/// SeccompProfile and AppArmorProfile.
constexpr std::array kProfileFields{required("type"), pointer("localhostProfile")};
constexpr Structure kProfile{kProfileFields};

constexpr std::array kSecurityFields{part("capabilities", kCapabilities),
                                     pointer("privileged"),
                                     part("seLinuxOptions", kSeLinux),
                                     part("windowsOptions", kWindows),
                                     pointer("runAsUser"),
                                     pointer("runAsGroup"),
                                     pointer("runAsNonRoot"),
                                     pointer("readOnlyRootFilesystem"),
                                     pointer("allowPrivilegeEscalation"),
                                     pointer("procMount"),
                                     part("seccompProfile", kProfile),
                                     part("appArmorProfile", kProfile)};
constexpr Structure kSecurity{kSecurityFields};

constexpr std::array kTolerationFields{text("key"), text("operator"), text("value"), text("effect"),
                                       pointer("tolerationSeconds")};
constexpr Structure kToleration{kTolerationFields};

constexpr std::array kReferenceFields{text("name")};
constexpr Structure kReference{kReferenceFields};

// github.com/rancher/system-upgrade-controller/pkg/apis/upgrade.cattle.io/v1

constexpr std::array kVolumeFields{required("name"), required("source"), required("destination")};
constexpr Structure kVolume{kVolumeFields};

constexpr std::array kContainerFields{required("image"),
                                      texts("command"),
                                      texts("args"),
                                      parts("envs", kVariable),
                                      parts("envFrom", kEnvFrom),
                                      parts("volumes", kVolume),
                                      part("securityContext", kSecurity)};
constexpr Structure kContainer{kContainerFields};

constexpr std::array kDrainFields{pointer("timeout"),
                                  pointer("gracePeriod"),
                                  pointer("deleteLocalData"),
                                  pointer("deleteEmptydirData"),
                                  pointer("ignoreDaemonSets"),
                                  flag("force"),
                                  flag("disableEviction"),
                                  number("skipWaitForDeleteTimeout"),
                                  part("podSelector", kLabelSelector)};
constexpr Structure kDrain{kDrainFields};

constexpr std::array kSecretFields{required("name"), required("path"), flag("ignoreUpdates"),
                                   pointer("defaultMode")};
constexpr Structure kSecret{kSecretFields};

constexpr std::array kWindowFields{texts("days"), text("startTime"), text("endTime"),
                                   text("timeZone")};
constexpr Structure kWindow{kWindowFields};

constexpr std::array kSpecFields{
    number("concurrency"),
    pointer("jobActiveDeadlineSecs"),
    part("nodeSelector", kLabelSelector),
    text("serviceAccountName"),
    text("channel"),
    text("version"),
    parts("secrets", kSecret),
    parts("tolerations", kToleration),
    flag("exclusive"),
    part("window", kWindow),
    part("prepare", kContainer),
    Field{"upgrade", Kind::structure, Written::always, false, &kContainer},
    flag("cordon"),
    part("drain", kDrain),
    parts("imagePullSecrets", kReference),
    Field{"postCompleteDelay", Kind::duration, Written::when_set},
    text("priorityClassName"),
    labels("postCompleteLabels")};
constexpr Structure kSpec{kSpecFields};

constexpr std::array kConditionFields{required("type"),       required("status"),
                                      text("lastUpdateTime"), text("lastTransitionTime"),
                                      text("reason"),         text("message")};
constexpr Structure kCondition{kConditionFields};

constexpr std::array kStatusFields{parts("conditions", kCondition), text("latestVersion"),
                                   text("latestHash"), texts("applying")};
constexpr Structure kStatus{kStatusFields};

Json write(const Structure& structure, const Json& value);

/// What Go has for a field that the Plan does not set, or for an item that is null.
Json zero(const Field& field, bool is_item) {
    switch (field.kind) {
        case Kind::text:
            return "";
        case Kind::quantity:
            return "0";
        case Kind::structure:
            // As a field it is a pointer.
            return is_item ? write(*field.of, Json::object()) : Json();
        default:
            return {};
    }
}

bool is_empty(const Json& value) {
    switch (value.type()) {
        case Json::value_t::string:
            return value.get_ref<const std::string&>().empty();
        case Json::value_t::boolean:
            return value == false;
        case Json::value_t::array:
        case Json::value_t::object:
            return value.empty();
        default:
            return value.is_null() || value == 0;
    }
}

Json write_duration(const Json& value) {
    try {
        return value.is_string() ? Json(go_duration(parse_go_duration(value.get<std::string>())))
                                 : value;
    } catch (const Error&) {
        return value;  // A Plan that SUC can't read.
    }
}

Json write_labels(const Json& value) {
    auto written = value;
    if (written.is_object()) {
        for (auto& [key, text] : written.items()) {
            if (text.is_null()) {
                text = "";
            }
        }
    }
    return written;
}

Json write_one(const Field& field, const Json& value) {
    switch (field.kind) {
        case Kind::structure:
            return write(*field.of, value);
        case Kind::labels:
            return write_labels(value);
        case Kind::duration:
            return write_duration(value);
        default:
            return value;
    }
}

Json write_list(const Field& field, const Json& list) {
    Json written = Json::array();
    for (const auto& item : list) {
        written.push_back(item.is_null() ? zero(field, true) : write_one(field, item));
    }
    return written;
}

Json write(const Structure& structure, const Json& value) {
    if (!value.is_object()) {
        return value;
    }
    Json written = Json::object();
    for (const auto& field : structure.fields) {
        const auto found = value.find(field.name);
        const bool is_set = found != value.end() && !found->is_null();
        if (!is_set && field.written != Written::always) {
            continue;
        }
        auto content = zero(field, false);
        if (is_set) {
            content = field.is_list && found->is_array() ? write_list(field, *found)
                                                         : write_one(field, *found);
        }
        if (field.written != Written::unless_empty || !is_empty(content)) {
            written[std::string(field.name)] = std::move(content);
        }
    }
    return written;
}

}  // namespace

Json as_suc_writes(const Json& plan) {
    if (!plan.is_object()) {
        return plan;
    }
    Json written = Json::object();
    for (const char* name : {"apiVersion", "kind"}) {
        if (const auto text = string_at(plan, {name}); !text.empty()) {
            written[name] = text;
        }
    }
    const auto write_part = [&](const char* name, const Structure& structure) {
        const auto* const value = find(plan, {name});
        written[name] = write(structure, value != nullptr ? *value : Json::object());
    };
    write_part("metadata", kMetadata);
    write_part("spec", kSpec);
    write_part("status", kStatus);
    return written;
}

}  // namespace kua::plan
