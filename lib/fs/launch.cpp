// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/launch.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace kua::fs {

namespace {

constexpr unsigned kNobody = 65534;

[[noreturn]] void give_up(int report, Step step) {
    const Report message{step, errno};
    // One small write to an empty pipe is not cut; and if it fails, there is nobody to tell.
    [[maybe_unused]] const ssize_t written = ::write(report, &message, sizeof message);
    ::_exit(127);
}

void close_from(int first) {
    if (::syscall(SYS_close_range, static_cast<unsigned>(first), ~0U, 0U) == 0) {
        return;
    }
    // Linux before 5.9. Ours are close-on-exec anyway; this is for what a library may have opened
    // without it.
    for (int fd = first; fd < 4096; ++fd) {
        ::close(fd);
    }
}

bool limit(__rlimit_resource resource, rlim_t most) {
    struct rlimit present {};
    if (::getrlimit(resource, &present) != 0) {
        return false;
    }
    const rlim_t value = std::min(most, present.rlim_max);
    const struct rlimit wanted { value, value };
    return ::setrlimit(resource, &wanted) == 0;
}

/// Without glibc's wrappers for user and groups: those lock a list of threads, which another thread
/// may hold at the fork.
bool become_nobody() {
#ifdef SYS_setresuid32
    constexpr long kSetGroups = SYS_setgroups32;
    constexpr long kSetGroup = SYS_setresgid32;
    constexpr long kSetUser = SYS_setresuid32;
#else
    constexpr long kSetGroups = SYS_setgroups;
    constexpr long kSetGroup = SYS_setresgid;
    constexpr long kSetUser = SYS_setresuid;
#endif
    return ::syscall(kSetGroups, 0, nullptr) == 0 &&
           ::syscall(kSetGroup, kNobody, kNobody, kNobody) == 0 &&
           ::syscall(kSetUser, kNobody, kNobody, kNobody) == 0;
}

bool drop_rights(const Launch& launch) {
    // Ends with EINVAL after the last capability the kernel knows. A service with a small bounding
    // set may not be allowed to (EPERM); no_new_privs below is what counts then.
    for (unsigned long capability = 0; capability < 64; ++capability) {
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
            break;
        }
    }
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    // No limit of the address space: Go reserves a lot of it. None of processes: that one counts
    // all of nobody's.
    return limit(RLIMIT_CORE, 0) && limit(RLIMIT_CPU, launch.cpu_seconds) &&
           limit(RLIMIT_FSIZE, 512U << 20U) && limit(RLIMIT_NOFILE, 1024) &&
           limit(RLIMIT_MEMLOCK, 0) && become_nobody() &&
           ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/// In the child, with all signals blocked; never returns.
[[noreturn]] void become_program(const Launch& launch) {
    ::setpgid(0, 0);
    if (::dup2(launch.input, STDIN_FILENO) < 0 || ::dup2(launch.output, STDOUT_FILENO) < 0 ||
        ::dup2(launch.errors, STDERR_FILENO) < 0) {
        give_up(launch.report, Step::descriptors);
    }
    if (::dup3(launch.report, kFirstFree, O_CLOEXEC) < 0) {
        give_up(launch.report, Step::descriptors);
    }
    close_from(kFirstFree + 1);
    if (launch.drop_rights && !drop_rights(launch)) {
        give_up(kFirstFree, Step::rights);
    }
    // After the change of user, which resets it. Then the parent may be gone already.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (::getppid() != launch.parent) {
        ::_exit(127);
    }
    if (::chdir(launch.folder) != 0) {
        give_up(kFirstFree, Step::folder);
    }
    // A program starts with what exec keeps: ignored signals and the mask.
    for (int signal = 1; signal < NSIG; ++signal) {
        ::signal(signal, SIG_DFL);
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execve(launch.program, launch.argv, launch.envp);
    give_up(kFirstFree, Step::execute);
}

/// Blocks every signal while it stands: between fork and exec, the child must not run a handler of
/// ours.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

}  // namespace

std::string_view describe(Step step) {
    switch (step) {
        case Step::folder:
            return "entering its folder";
        case Step::descriptors:
            return "preparing its descriptors";
        case Step::rights:
            return "giving up rights";
        case Step::execute:
            return "";
    }
    return "";
}

pid_t fork_program(const Launch& launch) {
    const SignalsBlocked blocked;
    const pid_t pid = ::fork();
    if (pid == 0) {
        become_program(launch);
    }
    return pid;
}

}  // namespace kua::fs
