// SPDX-License-Identifier: Apache-2.0
// Looks for k3s in one layer of an image, and for what hides the layers below.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "lib/archive/archive.hpp"

namespace kua::release {

/// What a layer does to the image's `opt/k3s`.
enum class LayerSays {
    nothing,  ///< Look in the layer below.
    gone,     ///< It, or its folder, is removed here: the layers below do not count.
    here,     ///< It was handed over.
};

/// Takes the file as it is read; nothing of it is verified then.
struct Taker {
    std::function<void(std::uint64_t size)> begin;
    std::function<void(std::string_view data)> write;
};

/// Reads the layer to its end. Whiteouts are OCI's (`opt/.wh.k3s`, `opt/.wh..wh..opq`, `.wh.opt`,
/// `.wh..wh..opq`), wherever in the layer they stand; they hide what is below it, not what is in
/// it. Throws Error{invalid} for an `opt/k3s` that is no regular file, empty, larger than 1 GiB or
/// there twice, and for an `opt` that is no folder; what the reader and the taker throw goes on.
LayerSays search_layer(archive::Reader& layer, const std::string& name, const Taker& taker);

}  // namespace kua::release
