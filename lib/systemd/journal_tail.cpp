// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/journal_tail.hpp"

#include <systemd/sd-journal.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string_view>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::systemd {

namespace {

constexpr std::size_t kMostLine = 500;
constexpr std::size_t kMostField = 65'536;  // What libsystemd reads of one, however long it is.

/// sd-journal's calls return a negative errno.
int checked(int result, std::string_view deed) {
    if (result < 0) {
        throw Error(ErrorKind::failed, format("{}: {}", deed, errno_text(-result)));
    }
    return result;
}

using Journal = std::unique_ptr<sd_journal, decltype(&sd_journal_close)>;

Journal open(const std::filesystem::path& folder) {
    sd_journal* journal = nullptr;
    checked(folder.empty() ? sd_journal_open(&journal, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM)
                           : sd_journal_open_directory(&journal, folder.c_str(), 0),
            "opening the journal");
    return {journal, &sd_journal_close};
}

/// The message of the entry at hand; empty when it has none.
std::string message(sd_journal& journal) {
    constexpr std::string_view kField = "MESSAGE=";
    const void* data = nullptr;
    std::size_t size = 0;
    if (sd_journal_get_data(&journal, "MESSAGE", &data, &size) < 0 || size < kField.size()) {
        return {};
    }
    const std::string_view field(static_cast<const char*>(data), size);
    return excerpt(field.substr(kField.size()), kMostLine);
}

}  // namespace

std::vector<std::string> journal_tail(const std::string& unit, WallTime since, std::size_t most,
                                      const std::filesystem::path& folder) {
    const auto journal = open(folder);
    checked(sd_journal_set_data_threshold(journal.get(), kMostField), "reading the journal");
    const std::string match = "_SYSTEMD_UNIT=" + unit;
    checked(sd_journal_add_match(journal.get(), match.data(), match.size()), "reading the journal");
    checked(sd_journal_seek_tail(journal.get()), "reading the journal");
    const auto earliest =
        std::chrono::duration_cast<std::chrono::microseconds>(since.time_since_epoch()).count();
    std::vector<std::string> lines;
    while (lines.size() < most &&
           checked(sd_journal_previous(journal.get()), "reading the journal") > 0) {
        std::uint64_t time = 0;
        checked(sd_journal_get_realtime_usec(journal.get(), &time), "reading the journal");
        if (static_cast<std::int64_t>(time) < earliest) {
            break;
        }
        if (auto line = message(*journal); !line.empty()) {
            lines.push_back(std::move(line));
        }
    }
    std::reverse(lines.begin(), lines.end());
    return lines;
}

}  // namespace kua::systemd
