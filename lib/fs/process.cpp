// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <string_view>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"
#include "lib/base/unique_fd.hpp"
#include "lib/fs/launch.hpp"

namespace kua::fs {

namespace {

[[noreturn]] void cannot_start(const Command& command, std::string_view why) {
    throw Error(ErrorKind::failed, format("starting {}: {}", command.program.string(), why));
}

struct Pipe {
    UniqueFd read;
    UniqueFd write;
};

/// Both ends lie above the standard descriptors (this process may run without those), so that the
/// child's dup2 calls cannot overwrite one that is still needed.
UniqueFd above_standard(int fd, const Command& command) {
    UniqueFd original(fd);
    UniqueFd moved(::fcntl(fd, F_DUPFD_CLOEXEC, kFirstFree + 1));
    if (!moved) {
        cannot_start(command, errno_text(errno));
    }
    return moved;
}

Pipe make_pipe(const Command& command) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        cannot_start(command, errno_text(errno));
    }
    UniqueFd write(ends[1]);
    Pipe made;
    made.read = above_standard(ends[0], command);
    made.write = above_standard(write.release(), command);
    return made;
}

/// Pointers into `texts`, which must stay; ends with a null pointer.
std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    result.reserve(texts.size() + 1);
    for (std::string& text : texts) {
        result.push_back(text.data());
    }
    result.push_back(nullptr);
    return result;
}

/// A started program. Killed with its group and reaped when it goes, unless it was reaped before.
class Child {
  public:
    explicit Child(pid_t pid)
        : pid_(pid), fd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))) {
        // The child does the same; whoever comes first, the group exists when `kill` needs it.
        ::setpgid(pid, pid);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (!reaped_) {
            kill();
            reap();
        }
    }

    /// Readable when the program has ended; -1 on Linux before 5.3.
    [[nodiscard]] int pidfd() const { return fd_.get(); }

    /// Without reaping, so that its number (and its group's) stays taken.
    [[nodiscard]] bool has_ended() const {
        siginfo_t info{};
        return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
               info.si_pid == pid_;
    }

    void kill() const {
        ::kill(-pid_, SIGKILL);
        // It may not have reached its own group yet.
        ::kill(pid_, SIGKILL);
    }

    /// The wait status; absent when this process ignores SIGCHLD and the kernel reaped it.
    std::optional<int> reap() {
        reaped_ = true;
        int status = 0;
        while (true) {
            if (::waitpid(pid_, &status, 0) == pid_) {
                return status;
            }
            if (errno != EINTR) {
                return std::nullopt;
            }
        }
    }

  private:
    pid_t pid_;
    UniqueFd fd_;
    bool reaped_ = false;
};

/// Collects one stream.
class Stream {
  public:
    Stream(UniqueFd fd, std::string& text, std::size_t most)
        : fd_(std::move(fd)), text_(text), most_(most) {
        ::fcntl(fd_.get(), F_SETFL, O_NONBLOCK);
    }

    [[nodiscard]] int fd() const { return fd_.get(); }

    /// Takes what is there. What is too much is read too, and dropped: a full pipe would hold the
    /// program up. Not for ever, though: a flood must not keep us from the deadline.
    void take() {
        std::array<char, 65536> piece{};
        for (int turn = 0; turn < 16 && fd_; ++turn) {
            const ssize_t got = ::read(fd_.get(), piece.data(), piece.size());
            if (got > 0) {
                text_.append(piece.data(),
                             std::min(static_cast<std::size_t>(got), most_ - text_.size()));
            } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
                fd_.reset();
            } else if (errno == EAGAIN) {
                return;
            }
        }
    }

  private:
    UniqueFd fd_;
    std::string& text_;
    std::size_t most_;
};

int poll_timeout(Monotonic deadline, bool without_pidfd) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const auto most = without_pidfd ? Duration(20) : longest_piece();
    return static_cast<int>(std::clamp(left, Duration(0), most).count());
}

}  // namespace

Finished run(const Command& command, std::stop_token stop) {
    if (!command.program.is_absolute()) {
        cannot_start(command, "not an absolute path");
    }
    std::vector<std::string> arguments = command.arguments;
    arguments.insert(arguments.begin(), command.program.string());
    std::vector<std::string> environment = command.environment;
    const std::vector<char*> argv = pointers(arguments);
    const std::vector<char*> envp = pointers(environment);

    const int null_device = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null_device < 0) {
        cannot_start(command, "opening /dev/null: " + errno_text(errno));
    }
    UniqueFd input = above_standard(null_device, command);
    Pipe output = make_pipe(command);
    Pipe errors = make_pipe(command);
    Pipe report = make_pipe(command);
    const UniqueFd stop_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!stop_event) {
        cannot_start(command, errno_text(errno));
    }
    const std::stop_callback wake(stop, [&stop_event] { ::eventfd_write(stop_event.get(), 1); });

    Launch launch;
    launch.program = command.program.c_str();
    launch.folder = command.folder.c_str();
    launch.argv = argv.data();
    launch.envp = envp.data();
    launch.input = input.get();
    launch.output = output.write.get();
    launch.errors = errors.write.get();
    launch.report = report.write.get();
    launch.parent = ::getpid();
    launch.drop_rights = command.unprivileged && ::geteuid() == 0;
    launch.cpu_seconds = static_cast<rlim_t>(std::max<std::int64_t>(
        1, std::chrono::ceil<std::chrono::seconds>(command.timeout).count() + 1));

    const Monotonic now = std::chrono::steady_clock::now();
    // A timeout of "for ever" must not overflow.
    const Monotonic deadline =
        now + std::min<Duration>(command.timeout, std::chrono::hours(24 * 365));
    const pid_t pid = fork_program(launch);
    if (pid < 0) {
        cannot_start(command, errno_text(errno));
    }
    Child child(pid);
    input.reset();
    output.write.reset();
    errors.write.reset();
    report.write.reset();

    Finished finished;
    Stream out(std::move(output.read), finished.output, command.most_output);
    Stream err(std::move(errors.read), finished.errors, command.most_output);
    while (!child.has_ended()) {
        if (stop.stop_requested()) {
            throw Error(ErrorKind::stopped,
                        format("running {}: stopped", command.program.string()));
        }
        if (std::chrono::steady_clock::now() >= deadline) {
            child.kill();
            finished.timed_out = true;
            break;
        }
        // A negative descriptor (a stream that has ended, no pidfd) is passed over by poll.
        std::array<pollfd, 4> watched{{{child.pidfd(), POLLIN, 0},
                                       {out.fd(), POLLIN, 0},
                                       {err.fd(), POLLIN, 0},
                                       {stop_event.get(), POLLIN, 0}}};
        const int timeout = poll_timeout(deadline, child.pidfd() < 0);
        const Waiting waiting{Duration(timeout)};
        const int ready = ::poll(watched.data(), watched.size(), timeout);
        if (ready < 0 && errno != EINTR) {
            throw Error(ErrorKind::failed,
                        format("waiting for {}: {}", command.program.string(), errno_text(errno)));
        }
        out.take();
        err.take();
    }
    if (command.unprivileged) {
        // Before it is reaped: until then nobody else's group can have its number.
        child.kill();
    }
    const std::optional<int> status = child.reap();
    // What it wrote at last: a pipe holds no more than one `take` takes.
    out.take();
    err.take();

    // Written before exec or never, so it is there by now; not blocking, because a program that was
    // killed on its way to exec wrote nothing.
    Report failure{};
    ::fcntl(report.read.get(), F_SETFL, O_NONBLOCK);
    if (::read(report.read.get(), &failure, sizeof failure) ==
        static_cast<ssize_t>(sizeof failure)) {
        const std::string_view step = describe(failure.step);
        cannot_start(command,
                     format("{}{}{}", step, step.empty() ? "" : ": ", errno_text(failure.number)));
    }
    if (!status) {
        throw Error(ErrorKind::failed,
                    format("running {}: its exit status was lost (this process ignores SIGCHLD)",
                           command.program.string()));
    }
    if (WIFSIGNALED(*status)) {
        finished.signal = WTERMSIG(*status);
    } else if (WIFEXITED(*status)) {
        finished.exit_code = WEXITSTATUS(*status);
    }
    return finished;
}

}  // namespace kua::fs
