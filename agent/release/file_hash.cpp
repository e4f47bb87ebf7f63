// SPDX-License-Identifier: Apache-2.0
#include "agent/release/file_hash.hpp"

#include <fstream>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::release {

void hash_into(crypto::Hasher& hasher, const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::string block(1U << 16U, '\0');
    while (file.read(block.data(), static_cast<std::streamsize>(block.size())) ||
           file.gcount() > 0) {
        hasher.update(std::string_view(block).substr(0, static_cast<std::size_t>(file.gcount())));
    }
    if (file.bad() || !file.eof()) {
        throw Error(ErrorKind::failed, format("{}: can't be read", path.string()));
    }
}

std::string hash_file(const std::filesystem::path& path) {
    crypto::Hasher hasher(crypto::Algorithm::sha256);
    hash_into(hasher, path);
    return hasher.finish();
}

}  // namespace kua::release
