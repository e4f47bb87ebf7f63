// SPDX-License-Identifier: Apache-2.0
// A layer of an image: tar, perhaps compressed, that may hold k3s. The first byte says in which
// pieces it comes.
#include "agent/release/layer_search.hpp"

#include <algorithm>
#include <string>

#include "fuzz/fuzz.hpp"
#include "lib/archive/archive.hpp"

using namespace kua;
using fuzz::require;

namespace {

/// Little of everything, so that what is endless ends soon.
constexpr archive::Limits kLimits{.entries = 1000, .bytes = 16U << 20U, .path = 300};

archive::Input in_pieces(std::string_view text, std::size_t most) {
    return [text, most]() mutable {
        const auto piece = text.substr(0, most);
        text.remove_prefix(piece.size());
        return piece;
    };
}

void check_path(const std::string& path) {
    require(!path.empty() && path.size() <= kLimits.path, "a path is neither empty nor long");
    require(path.find_first_of(std::string("\0\n\r\t\x1b", 5)) == std::string::npos,
            "a path has no control characters");
    if (path == ".") {
        return;
    }
    for (const auto& component : split(path, '/')) {
        require(!component.empty() && component != "." && component != "..",
                "a path goes down, never up");
    }
}

/// All entries, in a few words each.
std::string list(archive::Reader reader) {
    std::string said;
    std::uint64_t bytes = 0;
    std::uint64_t entries = 0;
    while (const auto entry = reader.next()) {
        require(++entries <= kLimits.entries, "entries are limited");
        check_path(entry->path);
        if (entry->kind == archive::Kind::hardlink) {
            check_path(entry->target);
        }
        std::uint64_t size = 0;
        for (auto data = reader.read(); !data.empty(); data = reader.read()) {
            size += data.size();
        }
        require(size == entry->size, "an entry is as large as it says");
        require((bytes += size) <= kLimits.bytes, "bytes are limited");
        said += format("{} {} {}\n", entry->path, static_cast<int>(entry->kind), size);
    }
    require(reader.read().empty(), "after the end there is nothing");
    return said;
}

void search(std::string_view layer, std::size_t piece) {
    std::uint64_t size = 0;
    std::uint64_t written = 0;
    int begun = 0;
    const release::Taker taker{[&](std::uint64_t announced) {
                                   ++begun;
                                   size = announced;
                               },
                               [&](std::string_view data) { written += data.size(); }};
    const auto says = fuzz::accepted([&] {
        archive::Reader reader(in_pieces(layer, piece), kLimits, "layer");
        return release::search_layer(reader, "layer", taker);
    });
    require(begun <= 1 && written <= size, "at most one k3s is taken, and no more than it is");
    if (says) {
        require((*says == release::LayerSays::here) == (begun == 1), "what is here was taken");
        require(written == size, "it was taken whole");
    }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const auto layer = fuzz::text_of(data, size).substr(1);
    const std::size_t piece = std::size_t{1} + data[0] * std::size_t{7};
    const auto read = [&](std::size_t most) {
        return fuzz::accepted(
            [&] { return list(archive::Reader(in_pieces(layer, most), kLimits, "layer")); });
    };
    require(read(layer.size() + 1) == read(piece), "it does not matter in which pieces it comes");
    search(layer, piece);
    return 0;
}
