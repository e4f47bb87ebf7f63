// SPDX-License-Identifier: Apache-2.0
// Image manifests and indexes of OCI and Docker, read without belief in them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kua::oci {

/// What a manifest says of a blob.
struct Descriptor {
    std::string media_type;
    std::string digest;  ///< `sha256:<hex>`, checked to be that.
    std::uint64_t size = 0;
    std::map<std::string, std::string> annotations;
};

/// One image, for one platform.
struct Manifest {
    std::vector<Descriptor> layers;  ///< From the bottom to the top.
};

/// The media types that a request for a manifest accepts.
std::string accepted_manifests();

/// Whether the body is an index (a manifest list), going by what it says of itself and by
/// `media_type`, the Content-Type.
bool is_index(std::string_view body, std::string_view media_type, const std::string& where);

/// The digest of the image in an index that is for Linux on `architecture` (GOARCH), of its
/// variants the one that k3s is built for. Attestations are passed over. Throws Error{invalid} that
/// says `where`: no such image (and which there are), an index in an index, a digest that is none.
std::string pick_platform(std::string_view body, const std::string& architecture,
                          const std::string& where);

/// Throws Error{invalid} that says `where`: no manifest of schema 2, too many layers, a layer with
/// addresses of its own (foreign, non-distributable), a digest that is none, a size that is absurd.
Manifest parse_manifest(std::string_view body, const std::string& where);

}  // namespace kua::oci
