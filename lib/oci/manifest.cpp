// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/manifest.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/oci/reference.hpp"

namespace kua::oci {

namespace {

constexpr std::array<std::string_view, 2> kIndexes{
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json"};
constexpr std::array<std::string_view, 2> kManifests{
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json"};
constexpr std::size_t kMostEntries = 1000;
constexpr std::int64_t kMostBlob = 4LL << 30U;

template <typename Types>
bool is_among(const Types& types, std::string_view type) {
    return std::find(types.begin(), types.end(), type) != types.end();
}

Json parse_object(std::string_view body, const std::string& where) {
    Json result = parse_json(body, where);
    if (!result.is_object()) throw Error(ErrorKind::invalid, where + ": is no manifest");
    return result;
}

const Json& entries(const Json& object, const std::string& field, const std::string& where) {
    const Json* list = find(object, {field});
    if (list == nullptr || !list->is_array()) {
        throw Error(ErrorKind::invalid, format("{}: has no list '{}'", where, field));
    }
    if (list->size() > kMostEntries) {
        throw Error(ErrorKind::invalid,
                    format("{}: '{}' has more than {} entries", where, field, kMostEntries));
    }
    return *list;
}

std::string digest_of(const Json& entry, const std::string& where) {
    std::string digest = string_at(entry, {"digest"});
    if (!is_digest(digest)) {
        throw Error(ErrorKind::invalid,
                    format("{}: '{}' is no SHA-256 digest", where, excerpt(digest, 100)));
    }
    return digest;
}

/// How well a variant fits, 0 best; absent when it does not. k3s's arm is ARMv7, and the newer
/// levels of a machine may be more than this one has.
std::optional<std::size_t> rank(const std::string& architecture, const std::string& variant) {
    std::vector<std::string_view> order{""};
    if (architecture == "arm") order = {"v7", "", "v6", "v5"};
    if (architecture == "arm64") order = {"v8", ""};
    if (architecture == "amd64") order = {"v1", ""};
    const auto found = std::find(order.begin(), order.end(), variant);
    if (found == order.end()) return std::nullopt;
    return static_cast<std::size_t>(found - order.begin());
}

Descriptor read_layer(const Json& entry, const std::string& where) {
    Descriptor result;
    result.media_type = string_at(entry, {"mediaType"});
    result.digest = digest_of(entry, where);
    const auto size = int_at(entry, {"size"});
    if (!size || *size < 0 || *size > kMostBlob) {
        throw Error(ErrorKind::invalid,
                    format("{}: layer {} has no size, or an absurd one", where, result.digest));
    }
    result.size = static_cast<std::uint64_t>(*size);
    const Json* urls = find(entry, {"urls"});
    const bool foreign = result.media_type.find("foreign") != std::string::npos ||
                         result.media_type.find("nondistributable") != std::string::npos;
    if (foreign || (urls != nullptr && !urls->empty())) {
        throw Error(ErrorKind::invalid,
                    format("{}: layer {} lies elsewhere (a foreign layer, as Windows images have "
                           "them), and is not fetched",
                           where, result.digest));
    }
    const Json* annotations = find(entry, {"annotations"});
    if (annotations != nullptr && annotations->is_object()) {
        for (const auto& [key, value] : annotations->items()) {
            if (value.is_string()) result.annotations.emplace(key, value.get<std::string>());
        }
    }
    return result;
}

}  // namespace

std::string accepted_manifests() {
    std::vector<std::string> all(kIndexes.begin(), kIndexes.end());
    all.insert(all.end(), kManifests.begin(), kManifests.end());
    return join(all, ", ");
}

bool is_index(std::string_view body, std::string_view media_type, const std::string& where) {
    const Json root = parse_object(body, where);
    const std::string own = string_at(root, {"mediaType"});
    if (!own.empty()) return is_among(kIndexes, own);
    // OCI leaves it to the header; which must not make one thing of what reads as another.
    const bool listed = root.contains("manifests");
    const bool layered = root.contains("layers");
    if (listed && layered) {
        throw Error(ErrorKind::invalid, where + ": is both an index and a manifest");
    }
    return listed ||
           (!layered && is_among(kIndexes, trim(media_type.substr(0, media_type.find(';')))));
}

std::string pick_platform(std::string_view body, const std::string& architecture,
                          const std::string& where) {
    const Json root = parse_object(body, where);
    std::vector<std::string> there;
    const Json* best = nullptr;
    std::size_t best_rank = std::numeric_limits<std::size_t>::max();
    for (const Json& entry : entries(root, "manifests", where)) {
        const std::string os = string_at(entry, {"platform", "os"});
        const std::string machine = string_at(entry, {"platform", "architecture"});
        const std::string variant = string_at(entry, {"platform", "variant"});
        if (os == "unknown" || machine == "unknown") continue;
        there.push_back(excerpt(os + '/' + machine + (variant.empty() ? "" : '/' + variant), 40));
        if (os != "linux" || machine != architecture) continue;
        const auto fit = rank(architecture, variant);
        if (fit && *fit < best_rank) {
            best = &entry;
            best_rank = *fit;
        }
    }
    if (best == nullptr) {
        throw Error(ErrorKind::invalid,
                    format("{}: has no image for linux/{}; it has: {}", where, architecture,
                           there.empty() ? "none" : excerpt(join(there, ", "), 300)));
    }
    const std::string type = string_at(*best, {"mediaType"});
    if (is_among(kIndexes, type)) {
        throw Error(ErrorKind::invalid,
                    format("{}: its entry for linux/{} is an index again", where, architecture));
    }
    return digest_of(*best, where);
}

Manifest parse_manifest(std::string_view body, const std::string& where) {
    const Json root = parse_object(body, where);
    const std::string type = string_at(root, {"mediaType"});
    if (int_at(root, {"schemaVersion"}) != 2 || (!type.empty() && !is_among(kManifests, type))) {
        throw Error(ErrorKind::invalid, format("{}: is no image manifest of schema 2 (but '{}')",
                                               where, excerpt(type, 100)));
    }
    Manifest result;
    for (const Json& entry : entries(root, "layers", where)) {
        result.layers.push_back(read_layer(entry, where));
    }
    return result;
}

}  // namespace kua::oci
