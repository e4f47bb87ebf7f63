// SPDX-License-Identifier: Apache-2.0
// The list of checksums that stands beside a release.
#include "agent/release/source.hpp"
#include "fuzz/fuzz.hpp"

#include <algorithm>
#include <cctype>
#include <string>

using namespace kua;
using fuzz::require;

namespace {

std::string lower(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return result;
}

void check(std::string_view list, const std::string& name, const std::string& digest) {
    require(digest.size() == 64 && digest.find_first_not_of("0123456789abcdef") == digest.npos,
            "a checksum is 64 lower-case hex digits");
    const auto stands = lower(list);
    require(stands.find(digest + "  " + lower(name)) != stands.npos ||
                stands.find(digest + " *" + lower(name)) != stands.npos,
            "the checksum stands in the list, before the name");
    const auto and_more = [&](const std::string& line) {
        return fuzz::accepted(
            [&] { return release::find_checksum(std::string(list) + "\n" + line, name, "more"); });
    };
    require(and_more(digest + "  " + name) == digest, "the same line again changes nothing");
    require(and_more(std::string(64, '0') + "  not-" + name) == digest,
            "another name's line changes nothing");
    std::string other = digest;
    other.back() = other.back() == '0' ? '1' : '0';
    require(!and_more(other + " *" + name), "two checksums of one name are refused");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto list = fuzz::text_of(data, size);
    for (const std::string name : {"k3s", "k3s-arm64", "k3s-airgap-images-amd64.tar.zst"}) {
        const auto digest =
            fuzz::accepted([&] { return release::find_checksum(list, name, "sha256sum.txt"); });
        if (digest) {
            check(list, name, *digest);
        }
    }
    return 0;
}
