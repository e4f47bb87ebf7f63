// SPDX-License-Identifier: Apache-2.0
// An image's reference, as a Plan carries it.
#include "lib/oci/reference.hpp"

#include "fuzz/fuzz.hpp"

using namespace kua;
using fuzz::require;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto text = fuzz::text_of(data, size);
    const auto reference = fuzz::accepted([&] { return oci::parse_reference(text); });
    if (!reference) {
        return 0;
    }
    require(!reference->registry.empty() && reference->registry.find('/') == std::string::npos,
            "a registry is a host");
    require(oci::is_repository(reference->repository), "a repository is one");
    require(reference->tag.empty() || oci::is_tag(reference->tag), "a tag is one");
    require(reference->digest.empty() || oci::is_digest(reference->digest), "a digest is one");
    const auto normal = reference->text();
    const auto again = fuzz::accepted([&] { return oci::parse_reference(normal); });
    require(again && again->text() == normal, "what is normalised stays as it is");
    require(again->registry == reference->registry && again->repository == reference->repository &&
                again->tag == reference->tag && again->digest == reference->digest,
            "the normal text means the same");
    return 0;
}
