// SPDX-License-Identifier: Apache-2.0
#include "agent/release/scratch.hpp"

#include <cerrno>
#include <cstdlib>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::release {

Scratch::Scratch(const std::filesystem::path& folder, const std::string& prefix) {
    auto pattern = (folder / (prefix + "XXXXXX")).string();
    if (::mkdtemp(pattern.data()) == nullptr) {
        throw Error(ErrorKind::failed,
                    format("making a folder {}: {}", pattern, errno_text(errno)));
    }
    path_ = pattern;
}

Scratch::~Scratch() {
    std::error_code code;
    std::filesystem::remove_all(path_, code);
}

}  // namespace kua::release
