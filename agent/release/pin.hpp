// SPDX-License-Identifier: Apache-2.0
// Plans that want more than a version: one image, by its digest or by a tag of its own.
#pragma once

#include <optional>
#include <string>

#include "agent/release/source.hpp"

namespace kua::release {

/// The digest that the image is pinned to, or the tag when it is another one than the version's;
/// absent when the image leaves the choice to the version. Throws Error{invalid} for an image that
/// can't be read: it may have been meant as a pin.
std::optional<std::string> pin_of(const Wanted& wanted);

}  // namespace kua::release
