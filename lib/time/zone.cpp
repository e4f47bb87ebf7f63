// SPDX-License-Identifier: Apache-2.0
#include "lib/time/zone.hpp"

#include <date/tz.h>

#include <exception>
#include <filesystem>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::time {

using std::chrono::floor;
using std::chrono::seconds;
using std::chrono::sys_seconds;

struct Zone::Rules {
    /// Owned by the library, for as long as the program runs.
    const date::time_zone* zone;
};

Zone Zone::find(const std::string& name) {
    Zone found;
    if (name.empty() || name == "UTC") {
        return found;
    }
    const bool is_host_s = name == "Local";
    std::error_code ignored;
    if (is_host_s && !std::filesystem::exists("/etc/localtime", ignored)) {
        return found;
    }
    try {
        found.rules_ = std::make_shared<const Rules>(
            Rules{is_host_s ? date::current_zone() : date::locate_zone(name)});
        // The zone's file is read here, so that what is wrong with it is said here.
        found.rules_->zone->get_info(sys_seconds{});
    } catch (const std::exception&) {
        throw Error(ErrorKind::invalid,
                    format("\"{}\" is no time zone that this host knows; a name from its tz "
                           "database is wanted, such as Europe/Berlin (package tzdata)",
                           excerpt(name, 80)));
    }
    return found;
}

const std::string& Zone::name() const {
    static const std::string utc = "UTC";
    return rules_ ? rules_->zone->name() : utc;
}

LocalTime Zone::local(WallTime time) const {
    const auto whole = floor<seconds>(time);
    const auto offset = rules_ ? rules_->zone->get_info(whole).offset : seconds(0);
    return LocalTime((whole + offset).time_since_epoch());
}

WallTime Zone::wall(LocalTime local) const {
    const sys_seconds as_utc(local.time_since_epoch());
    if (!rules_) {
        return as_utc;
    }
    const auto info = rules_->zone->get_info(as_utc);
    const auto guess = as_utc - info.offset;
    // Go looks a second time only from a zone that is not at UTC's time: its rule, not ours.
    if (info.offset != seconds(0) && (guess < info.begin || guess >= info.end)) {
        return as_utc - rules_->zone->get_info(guess).offset;
    }
    return guess;
}

WallTime Zone::begin(LocalDate date) const {
    const auto since = date.time_since_epoch();
    if (!rules_) {
        return WallTime(since);
    }
    return rules_->zone->to_sys(date::local_seconds(since), date::choose::earliest);
}

}  // namespace kua::time
