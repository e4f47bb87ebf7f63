// SPDX-License-Identifier: Apache-2.0
#include "agent/release/layer_search.hpp"

#include <algorithm>
#include <array>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::release {

namespace {

constexpr std::string_view kFolder = "opt";
constexpr std::string_view kBinary = "opt/k3s";
constexpr std::array<std::string_view, 4> kWhiteouts{"opt/.wh.k3s", "opt/.wh..wh..opq", ".wh.opt",
                                                     ".wh..wh..opq"};
constexpr std::uint64_t kMostBinary = 1ULL << 30U;

void take(archive::Reader& layer, const archive::Entry& entry, const std::string& name,
          const Taker& taker) {
    if (entry.kind != archive::Kind::file) {
        throw Error(
            ErrorKind::invalid,
            format("{}: {} is no regular file (but a link, folder or device)", name, kBinary));
    }
    if (entry.size == 0 || entry.size > kMostBinary) {
        throw Error(ErrorKind::invalid, format("{}: {} is {} in size, which can't be k3s", name,
                                               kBinary, human_bytes(entry.size)));
    }
    taker.begin(entry.size);
    for (auto data = layer.read(); !data.empty(); data = layer.read()) {
        taker.write(data);
    }
}

}  // namespace

LayerSays search_layer(archive::Reader& layer, const std::string& name, const Taker& taker) {
    bool here = false;
    bool gone = false;
    while (const auto entry = layer.next()) {
        if (entry->path == kBinary) {
            if (here) {
                throw Error(ErrorKind::invalid, format("{}: has {} twice", name, kBinary));
            }
            take(layer, *entry, name, taker);
            here = true;
        } else if (entry->path == kFolder && entry->kind != archive::Kind::folder) {
            throw Error(ErrorKind::invalid, format("{}: {} is no folder", name, kFolder));
        } else if (std::find(kWhiteouts.begin(), kWhiteouts.end(), entry->path) !=
                   kWhiteouts.end()) {
            gone = true;
        }
    }
    if (here) return LayerSays::here;
    return gone ? LayerSays::gone : LayerSays::nothing;
}

}  // namespace kua::release
