// SPDX-License-Identifier: Apache-2.0
// What a registry gives for an image: a manifest, or an index of several.
#include "lib/oci/manifest.hpp"

#include <string>

#include "fuzz/fuzz.hpp"
#include "lib/oci/reference.hpp"

using namespace kua;
using fuzz::require;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto body = fuzz::text_of(data, size);
    const std::string where = "https://registry.example/v2/rancher/k3s-upgrade/manifests/v1";
    for (const auto* type : {"", "application/vnd.oci.image.index.v1+json; charset=utf-8",
                             "application/vnd.docker.distribution.manifest.v2+json"}) {
        (void)fuzz::accepted([&] { return oci::is_index(body, type, where); });
    }
    for (const std::string architecture : {"amd64", "arm64", "arm"}) {
        const auto digest =
            fuzz::accepted([&] { return oci::pick_platform(body, architecture, where); });
        require(!digest || oci::is_digest(*digest), "an image is named by its digest");
    }
    const auto manifest = fuzz::accepted([&] { return oci::parse_manifest(body, where); });
    if (manifest) {
        for (const auto& layer : manifest->layers) {
            require(oci::is_digest(layer.digest), "a layer is named by its digest");
            require(layer.size <= std::uint64_t{1} << 40U, "a layer's size is not absurd");
        }
    }
    return 0;
}
