// SPDX-License-Identifier: Apache-2.0
// k3s's registries.yaml, and the endpoints that it gives for some images.
#include "lib/oci/registries.hpp"

#include "fuzz/fuzz.hpp"

using namespace kua;
using fuzz::require;

namespace {

void check(const std::vector<oci::Endpoint>& endpoints, const oci::Reference& reference,
           bool default_endpoint) {
    require(!endpoints.empty(), "there is an endpoint at least");
    for (const auto& endpoint : endpoints) {
        require(endpoint.url.starts_with("https://") || endpoint.url.starts_with("http://"),
                "an endpoint has an address for HTTP");
        require(oci::is_repository(endpoint.repository), "a rewrite makes an image's name");
        require(endpoint.mirrored.empty() || endpoint.mirrored == reference.registry,
                "a mirror stands in for the image's registry");
    }
    const auto& last = endpoints.back();
    if (default_endpoint && last.mirrored.empty()) {
        require(last.url.starts_with("https://") && last.repository == reference.repository,
                "the registry itself comes last, over TLS, and is not rewritten");
    }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto text = fuzz::text_of(data, size);
    const auto registries =
        fuzz::accepted([&] { return oci::Registries::parse(text, "registries.yaml"); });
    if (!registries) {
        return 0;
    }
    for (const auto& problem : registries->problems()) {
        require(problem.starts_with("registries.yaml: ") && problem.find('\n') == std::string::npos,
                "a problem is one line that names the file");
    }
    for (const auto* image :
         {"rancher/k3s-upgrade:v1.31.4-k3s1", "registry.example:5000/a/b/k3s-upgrade:v1"}) {
        const auto reference = oci::parse_reference(image);
        for (const bool default_endpoint : {true, false}) {
            const auto endpoints =
                fuzz::accepted([&] { return registries->endpoints(reference, default_endpoint); });
            if (endpoints) {
                check(*endpoints, reference, default_endpoint);
            }
        }
    }
    return 0;
}
