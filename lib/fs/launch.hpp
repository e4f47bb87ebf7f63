// SPDX-License-Identifier: Apache-2.0
// The child of a fork on its way to its program, with fewer rights if it shall. Private to this
// folder.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <string_view>

namespace kua::fs {

/// Where a program's first descriptor after its standard ones is; ours for errors on the way to
/// exec.
inline constexpr int kFirstFree = 3;

/// What the child needs between fork and exec, made before the fork: only async-signal-safe calls
/// are allowed in between, because another thread may hold malloc's lock at the moment of the fork.
struct Launch {
    const char* program = nullptr;
    const char* folder = nullptr;
    char* const* argv = nullptr;
    char* const* envp = nullptr;
    // Descriptors, all above kFirstFree.
    int input = -1;
    int output = -1;
    int errors = -1;
    int report = -1;  ///< The child writes a Report to it when it can't become its program.
    pid_t parent = 0;
    bool drop_rights = false;  ///< Run as `nobody`, without capabilities, with limits.
    rlim_t cpu_seconds = 0;    ///< With `drop_rights`.
};

/// The step that failed, as a number: the child can't make text.
enum class Step : int { folder, descriptors, rights, execute };

struct Report {
    Step step;
    int number;
};

/// Empty for `execute`: errno's text says it all.
std::string_view describe(Step step);

/// The child's pid, or -1 with errno. The child gets a process group of its own, and dies with the
/// calling thread.
pid_t fork_program(const Launch& launch);

}  // namespace kua::fs
