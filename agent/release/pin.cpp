// SPDX-License-Identifier: Apache-2.0
#include "agent/release/pin.hpp"

#include "lib/base/error.hpp"
#include "lib/oci/reference.hpp"

namespace kua::release {

std::optional<std::string> pin_of(const Wanted& wanted) {
    const auto image = with_context("spec.upgrade.image",
                                    [&wanted] { return oci::parse_reference(wanted.image); });
    if (!image.digest.empty()) {
        return image.digest;
    }
    if (!image.tag.empty() && image.tag != wanted.version.tag()) {
        return image.tag;
    }
    return std::nullopt;
}

}  // namespace kua::release
