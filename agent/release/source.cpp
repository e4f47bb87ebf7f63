// SPDX-License-Identifier: Apache-2.0
#include "agent/release/source.hpp"

#include <sys/utsname.h>

#include <algorithm>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::release {

namespace {

constexpr std::size_t kDigestLength = 64;

bool is_digest(std::string_view text) {
    return text.size() == kDigestLength &&
           text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

}  // namespace

Architecture architecture(std::string_view machine) {
    if (machine == "x86_64") {
        return {"k3s", "sha256sum-amd64.txt", "k3s-airgap-images-amd64", "amd64"};
    }
    if (machine == "aarch64") {
        return {"k3s-arm64", "sha256sum-arm64.txt", "k3s-airgap-images-arm64", "arm64"};
    }
    // armv8l is a 32-bit process on a 64-bit kernel.
    if (machine == "armv7l" || machine == "armv8l") {
        return {"k3s-armhf", "sha256sum-arm.txt", "k3s-airgap-images-arm", "arm"};
    }
    throw Error(ErrorKind::invalid, format("k3s is not released for this machine ({})", machine));
}

Architecture host_architecture() {
    utsname names{};
    uname(&names);
    return architecture(names.machine);
}

std::string find_checksum(std::string_view list, std::string_view name, const std::string& where) {
    std::string found;
    std::size_t number = 0;
    for (const auto& raw : split(list, '\n')) {
        ++number;
        if (raw.ends_with('\r')) {
            // Somebody's editor or web server has rewritten it: what else has it changed?
            throw Error(ErrorKind::invalid,
                        format("{}: line {} ends with CR LF, as sha256sum never writes it; put "
                               "k3s's own file there",
                               where, number));
        }
        const auto line = trim(raw);
        if (line.empty()) {
            continue;
        }
        // `<hex>  <name>` for text mode, `<hex> *<name>` for binary mode (sha256sum(1)).
        const auto space = line.find(' ');
        const auto digest = line.substr(0, space);
        if (space == std::string_view::npos || line.size() < space + 3 ||
            (line[space + 1] != ' ' && line[space + 1] != '*') || !is_digest(digest)) {
            throw Error(ErrorKind::invalid,
                        format("{}: line {} is not a checksum and a name: \"{}\"", where, number,
                               excerpt(line, 60)));
        }
        if (line.substr(space + 2) != name) {
            continue;
        }
        std::string lower(digest);
        std::transform(lower.begin(), lower.end(), lower.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        if (!found.empty() && found != lower) {
            throw Error(ErrorKind::invalid,
                        format("{}: two different checksums for {}", where, name));
        }
        found = lower;
    }
    if (found.empty()) {
        throw Error(ErrorKind::invalid, format("{}: no checksum for {}", where, name));
    }
    return found;
}

}  // namespace kua::release
