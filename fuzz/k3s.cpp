// SPDX-License-Identifier: Apache-2.0
// What tells which k3s is a host's and comes from outside: a process's command line, and k3s's
// annotation on its Node.
#include "agent/k3s/arguments.hpp"
#include "agent/k3s/titles.hpp"
#include "fuzz/fuzz.hpp"
#include "lib/systemd/command_line.hpp"

using namespace kua;
using fuzz::require;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto text = fuzz::text_of(data, size);
    const auto command = systemd::unquoted_command(text);
    require(command.find("  ") == std::string::npos, "one blank between two arguments");
    require(!command.starts_with(' ') && !command.ends_with(' '), "none around them");
    if (const auto title = k3s::read_title(command)) {
        require(!title->program.empty(), "a title names its program");
        require(command.starts_with(title->program), "by the words that are there");
        require(!title->role.empty() || k3s::is_called_k3s(*title) || command.find(" init") > 0,
                "only k3s says no role");
    }
    if (const auto told = k3s::Arguments::of_node(std::string(text))) {
        const auto role = told->command();
        require(role.empty() || role == "server" || role == "agent", "no other role is read");
        const auto data_dir = told->value({"data-dir", "d"});
        require(!data_dir || !data_dir->value.empty(), "a setting that is told has a value");
        (void)told->values("kubelet-arg");
        (void)told->is_set("rootless");
    }
    return 0;
}
