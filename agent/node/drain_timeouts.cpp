// SPDX-License-Identifier: Apache-2.0
#include "agent/node/drain_timeouts.hpp"

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/fs/files.hpp"
#include "lib/log/log.hpp"

namespace kua::node {

namespace {

constexpr std::size_t kMost = 65'536;

}  // namespace

int DrainTimeouts::add(const std::string& key) const {
    auto counts = read();
    const auto count = ++counts[key];
    write(counts);
    return count;
}

void DrainTimeouts::forget(const std::string& key) const {
    forget_if([&](const std::string& each) { return each == key; });
}

void DrainTimeouts::forget_if(const std::function<bool(const std::string& key)>& history) const {
    auto counts = read();
    if (std::erase_if(counts, [&](const auto& entry) { return history(entry.first); }) > 0) {
        write(counts);
    }
}

std::map<std::string, int> DrainTimeouts::read() const {
    std::map<std::string, int> counts;
    try {
        if (const auto text = fs::read_file(path_, kMost)) {
            const auto value = parse_json(*text, path_.string());
            for (const auto& [key, count] : value.items()) {
                if (count.is_number_integer()) {
                    counts[key] = count.get<int>();
                }
            }
        }
    } catch (const Error& error) {
        log::warning(
            format("counting the drains that timed out from the beginning: {}", error.what()));
        write({});
    }
    return counts;
}

void DrainTimeouts::write(const std::map<std::string, int>& counts) const {
    try {
        if (counts.empty()) {
            fs::remove_durably(path_);
        } else {
            fs::write_file(path_, Json(counts).dump() + "\n");
        }
    } catch (const Error& error) {
        log::warning(format("the drains that timed out can't be counted: {}", error.what()));
    }
}

}  // namespace kua::node
