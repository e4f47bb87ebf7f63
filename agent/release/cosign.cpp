// SPDX-License-Identifier: Apache-2.0
#include "agent/release/cosign.hpp"

#include <algorithm>
#include <string_view>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"

namespace kua::release {

namespace {

constexpr std::string_view kPayloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
constexpr const char* kAnnotation = "dev.cosignproject.cosign/signature";
constexpr std::uint64_t kMostPayload = 64U << 10U;
constexpr std::size_t kMostSignatures = 50;

/// Throws Error{invalid} unless the layer is a signature of `digest` by one of the keys.
void check_one(oci::Pull& pull, const oci::Descriptor& layer, const std::string& digest,
               const Signatures& signatures, const std::string& what, const std::stop_token& stop) {
    const auto signature = layer.annotations.find(kAnnotation);
    if (signature == layer.annotations.end()) {
        throw Error(ErrorKind::invalid, format("{}: has no annotation {}", what, kAnnotation));
    }
    const std::string payload = pull.small_blob(layer, kMostPayload, stop);
    signatures.check(payload, signature->second, what);
    const Json parsed = parse_json(payload, what);
    const std::string named = string_at(parsed, {"critical", "image", "docker-manifest-digest"});
    if (named != digest) {
        throw Error(ErrorKind::invalid,
                    format("{}: is a signature of another image ({})", what, excerpt(named, 100)));
    }
}

}  // namespace

std::string signature_tag(const std::string& digest) {
    std::string tag = digest;
    std::replace(tag.begin(), tag.end(), ':', '-');
    return tag + ".sig";
}

void check_cosign(oci::Pull& pull, const std::string& image,
                  const std::vector<std::string>& digests, const Signatures& signatures,
                  const std::stop_token& stop) {
    std::vector<std::string> reasons;
    for (const std::string& digest : digests) {
        const std::string tag = signature_tag(digest);
        const auto found = pull.manifest(tag, stop);
        if (!found) {
            reasons.push_back(format("there is no {}", tag));
            continue;
        }
        const std::string what = format("{}, signature {}", image, tag);
        std::size_t tried = 0;
        for (const auto& layer : oci::parse_manifest(found->body, what).layers) {
            if (layer.media_type != kPayloadType || ++tried > kMostSignatures) continue;
            try {
                check_one(pull, layer, digest, signatures, what, stop);
                return;
            } catch (const Error& error) {
                if (error.kind() != ErrorKind::invalid) throw;
                reasons.emplace_back(error.what());
            }
        }
        if (tried == 0) reasons.push_back(what + ": holds no signature");
    }
    throw Error(ErrorKind::invalid,
                format("{}: no valid signature: {}; sign the image with cosign and one of "
                       "verify.public_keys",
                       image, join(reasons, "; ")));
}

}  // namespace kua::release
