// SPDX-License-Identifier: Apache-2.0
// The variables in a file that EnvironmentFile= names (systemd.exec(5)).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kua::systemd {

using Environment = std::map<std::string, std::string>;

/// Reads the text as systemd does: one assignment a line, `#` and `;` begin a comment, a backslash
/// at the end of a line joins it with the next, quotes are taken off, a later assignment wins. What
/// is no assignment is left out, as systemd leaves it out.
Environment parse_environment_file(std::string_view text);

/// The same for one `NAME=value` of Environment=; nothing happens for what is none.
void add_assignment(Environment& environment, std::string_view assignment);

/// A command line's arguments as systemd hands them to the program (systemd.service(5), "Command
/// lines"): `$NAME` as a whole argument becomes the words of its value, `${NAME}` its value within
/// an argument, `$$` a dollar. What is not set is empty.
std::vector<std::string> expand(const std::vector<std::string>& arguments,
                                const Environment& environment);

}  // namespace kua::systemd
