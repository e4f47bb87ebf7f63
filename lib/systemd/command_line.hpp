// SPDX-License-Identifier: Apache-2.0
// A process's command line as systemd says it.
#pragma once

#include <string>
#include <string_view>

namespace kua::systemd {

/// The arguments of a command line of GetUnitProcesses, one blank between them, without quotes.
/// From version 249 on systemd quotes an argument as a shell would write it (`"k3s server"`,
/// `$'a\tb'`); before that it joined them as they are. Empty arguments are left out: a process that
/// gave itself a title leaves some behind it. What is no printable character becomes a blank, as in
/// older versions. Quotes that never end are taken for letters.
std::string unquoted_command(std::string_view said);

}  // namespace kua::systemd
