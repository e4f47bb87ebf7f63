// SPDX-License-Identifier: Apache-2.0
// One line per decision, with structured fields, from any thread; to standard error, or to whatever
// sink the program joins in.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kua::log {

/// debug: for whoever debugs the agent. info: one line per decision. warning: something is wrong
/// outside and the agent goes on. error: a person has to act.
enum class Level { debug, info, warning, error };

/// Fields beside the message: names as a person writes them ("plan", "node", "version").
using Fields = std::vector<std::pair<std::string, std::string>>;

/// Takes a finished record, common fields first, without line breaks and other control characters
/// (a space stands for each); called under a lock, may not log. What it throws goes to standard
/// error with the record.
using Sink = std::function<void(Level, std::string_view message, const Fields&)>;

/// Level by its name in the configuration; throws Error{invalid} for an unknown one.
Level parse_level(std::string_view name);

/// Records below `level` are dropped. Default: info.
void set_level(Level level);

/// Replaces standard error; an empty one brings it back (where a record is one line: time, level,
/// message, then `field=value` pairs).
void set_sink(Sink sink);

/// Fields added to every record from now on (the node's name).
void set_common_fields(Fields fields);

void debug(std::string_view message, const Fields& fields = {});
void info(std::string_view message, const Fields& fields = {});
void warning(std::string_view message, const Fields& fields = {});
void error(std::string_view message, const Fields& fields = {});

}  // namespace kua::log
