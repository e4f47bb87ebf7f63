// SPDX-License-Identifier: Apache-2.0
#include "agent/release/room.hpp"

#include <algorithm>
#include <system_error>

#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"

namespace kua::release {

namespace {

constexpr std::uint64_t kMargin = 64ULL << 20U;  // Left free for everybody else.

/// The nearest folder that exists already.
std::filesystem::path existing(std::filesystem::path folder) {
    std::error_code code;
    while (!std::filesystem::is_directory(folder, code) && folder.has_relative_path()) {
        folder = folder.parent_path();
    }
    return folder;
}

/// What goes to one file system.
struct Sum {
    std::filesystem::path folder;
    std::uint64_t bytes = 0;
    std::vector<std::string> what;
};

}  // namespace

std::string why_no_room(const std::vector<Need>& needs) {
    std::vector<Sum> sums;
    for (const auto& need : needs) {
        const auto folder = existing(need.folder);
        auto sum = std::ranges::find_if(
            sums, [&](const Sum& each) { return fs::same_file_system(each.folder, folder); });
        if (sum == sums.end()) {
            sum = sums.insert(sum, {folder, 0, {}});
        }
        sum->bytes += need.bytes;
        if (!need.what.empty() && need.bytes > 0) {
            sum->what.push_back(format("{} for {}", human_bytes(need.bytes), need.what));
        }
    }
    for (const auto& sum : sums) {
        const auto free = fs::free_bytes(sum.folder);
        const auto needed = sum.bytes + kMargin;
        if (free < needed) {
            return format("{}: {} are free, {} are needed{}; make room", sum.folder.string(),
                          human_bytes(free), human_bytes(needed),
                          sum.what.empty() ? "" : format(" ({})", join(sum.what, ", ")));
        }
    }
    return {};
}

}  // namespace kua::release
