// SPDX-License-Identifier: Apache-2.0
#include "lib/systemd/notify.hpp"

#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>

#include "lib/base/format.hpp"

namespace kua::systemd {

namespace {

/// Failures are passed over: without a notification systemd's own timeouts decide, and there is no
/// better place to complain.
void notify(const std::string& state) { ::sd_notify(0, state.c_str()); }

/// journald takes A to Z, 0 to 9 and `_`, up to 64 characters, and drops the whole field otherwise.
std::string field_name(std::string_view name) {
    std::string made = "K3S_UPGRADE_";
    for (const char character : name) {
        if (character >= 'a' && character <= 'z') {
            made += static_cast<char>(character - 'a' + 'A');
        } else if ((character >= 'A' && character <= 'Z') ||
                   (character >= '0' && character <= '9')) {
            made += character;
        } else {
            made += '_';
        }
    }
    made.resize(std::min<std::size_t>(made.size(), 64));
    return made;
}

/// A whole decimal number off the front of `text`.
template <typename Number>
bool take_number(std::string_view& text, Number& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) {
        return false;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

}  // namespace

void notify_ready() { notify("READY=1"); }

void notify_stopping() { notify("STOPPING=1"); }

void notify_status(std::string_view text) { notify("STATUS=" + one_line(text)); }

void notify_watchdog() { notify("WATCHDOG=1"); }

std::optional<std::chrono::milliseconds> watchdog_interval() {
    std::uint64_t microseconds = 0;
    if (::sd_watchdog_enabled(0, &microseconds) <= 0 || microseconds == 0) {
        return std::nullopt;
    }
    const auto half = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::microseconds(microseconds / 2));
    return std::max(half, std::chrono::milliseconds(1));
}

bool stderr_is_journal() {
    // systemd.exec(5): `<device>:<inode>` in decimal, of the socket that is standard output or
    // error.
    const char* const stream = std::getenv("JOURNAL_STREAM");
    if (stream == nullptr) {
        return false;
    }
    std::string_view text = stream;
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    if (!take_number(text, device) || !text.starts_with(':')) {
        return false;
    }
    text.remove_prefix(1);
    if (!take_number(text, inode) || !text.empty()) {
        return false;
    }
    struct stat status {};
    return ::fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
           status.st_ino == inode;
}

std::vector<std::string> journal_record(
    int priority, std::string_view message,
    const std::vector<std::pair<std::string, std::string>>& fields) {
    std::vector<std::string> record;
    record.reserve(fields.size() + 2);
    record.push_back(format("MESSAGE={}", message));
    record.push_back(format("PRIORITY={}", priority));
    for (const auto& [name, value] : fields) {
        record.push_back(field_name(name) + '=' + value);
    }
    return record;
}

void journal_send(int priority, std::string_view message,
                  const std::vector<std::pair<std::string, std::string>>& fields) {
    std::vector<std::string> record = journal_record(priority, message, fields);
    std::vector<iovec> pieces;
    pieces.reserve(record.size());
    for (std::string& piece : record) {
        pieces.push_back({piece.data(), piece.size()});
    }
    ::sd_journal_sendv(pieces.data(), static_cast<int>(pieces.size()));
}

}  // namespace kua::systemd
