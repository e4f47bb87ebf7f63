// SPDX-License-Identifier: Apache-2.0
#include "lib/fs/process.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <thread>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/unique_fd.hpp"
#include "tests/lib/base/shows_progress.hpp"
#include "tests/lib/fs/temp_folder.hpp"

namespace kua::fs {
namespace {

using namespace std::chrono_literals;

Command shell(const std::string& script) {
    Command command;
    command.program = "/bin/sh";
    command.arguments = {"-c", script};
    command.timeout = 30s;
    return command;
}

std::string start_failure(const Command& command) {
    try {
        run(command);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::failed);
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
}

/// A named pipe that programs hold open as long as they live, even where nobody reaps them.
class Witness {
  public:
    explicit Witness(const TempFolder& folder) : path_(folder / "witness") {
        EXPECT_EQ(::mkfifo(path_.c_str(), 0666), 0);
        fd_ = UniqueFd(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    }

    [[nodiscard]] std::string path() const { return path_.string(); }

    /// True when something was written within a minute.
    [[nodiscard]] bool saw_a_line() const { return wait_for(POLLIN); }

    /// True when the last one that held it is gone within a minute.
    [[nodiscard]] bool is_alone() const {
        std::array<char, 256> rest{};
        while (true) {
            if (!wait_for(POLLIN | POLLHUP)) {
                return false;
            }
            if (::read(fd_.get(), rest.data(), rest.size()) == 0) {
                return true;
            }
        }
    }

  private:
    [[nodiscard]] bool wait_for(int events) const {
        pollfd watched{fd_.get(), static_cast<short>(events), 0};
        return ::poll(&watched, 1, 60'000) == 1 && (watched.revents & events) != 0;
    }

    std::filesystem::path path_;
    UniqueFd fd_;
};

TEST(Run, CollectsBothStreamsAndTheExitCode) {
    const Finished finished = run(shell("echo out; echo err >&2; exit 3"));
    EXPECT_EQ(finished.output, "out\n");
    EXPECT_EQ(finished.errors, "err\n");
    EXPECT_EQ(finished.exit_code, 3);
    EXPECT_EQ(finished.signal, 0);
    EXPECT_FALSE(finished.timed_out);
    EXPECT_FALSE(finished.succeeded());
    EXPECT_TRUE(run(shell("true")).succeeded());
}

TEST(Run, TellsTheSignal) {
    const Finished finished = run(shell("kill -TERM $$"));
    EXPECT_EQ(finished.signal, SIGTERM);
    EXPECT_FALSE(finished.succeeded());
}

TEST(Run, GivesArgumentsEnvironmentAndFolder) {
    const TempFolder folder;
    Command command = shell("printf '%s|' \"$0\" \"$@\" \"$KUA\" \"$HOME\"; pwd; echo \"$PATH\"");
    command.arguments.insert(command.arguments.end(), {"a b", "", "c\"d"});
    command.environment.emplace_back("KUA=x y");
    command.folder = folder.path();
    EXPECT_EQ(run(command).output,
              "a b||c\"d|x y||" + folder.path().string() + "\n/usr/sbin:/usr/bin:/sbin:/bin\n");
}

TEST(Run, GivesNoInput) {
    EXPECT_EQ(run(shell("cat; readlink /proc/$$/fd/0")).output, "/dev/null\n");
}

TEST(Run, GivesNoDescriptorOfOurs) {
    // Deliberately without O_CLOEXEC, as a library might.
    const UniqueFd careless(::open("/dev/zero", O_RDONLY));
    const UniqueFd high(::fcntl(careless.get(), F_DUPFD, 100));
    // No pipeline, whose ends the shell would have open for a moment; and not as its last command,
    // which it would become.
    EXPECT_EQ(run(shell("ls /proc/$$/fd; true")).output, "0\n1\n2\n");
}

TEST(Run, WorksWithoutStandardDescriptors) {
    // As a daemon that closed them: pipes get the numbers 0 to 2 then.
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(0);
        ::close(1);
        ::close(2);
        const Finished finished = run(shell("echo out; echo err >&2"));
        ::_exit(finished.output == "out\n" && finished.errors == "err\n" ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(Run, StartsWithCleanSignals) {
    sigset_t blocked;
    sigset_t before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
    const auto pipe_before = std::signal(SIGPIPE, SIG_IGN);
    // The program's own mask: a shell's is full for a moment whenever it starts a command.
    Command command;
    command.program = "/bin/grep";
    command.arguments = {"-E", "^Sig(Blk|Ign)", "/proc/self/status"};
    const std::string output = run(command).output;
    std::signal(SIGPIPE, pipe_before);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    EXPECT_EQ(output, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST(Run, CutsWhatIsTooMuchAndLetsTheProgramFinish) {
    Command command = shell("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 7");
    command.most_output = 100'000;
    const Finished finished = run(command);
    EXPECT_EQ(finished.output.size(), 100'000U);
    EXPECT_EQ(finished.errors.size(), 100'000U);
    EXPECT_EQ(finished.exit_code, 7);
}

TEST(Run, TakesWhatIsWrittenRightBeforeTheEnd) {
    for (int round = 0; round < 20; ++round) {
        ASSERT_EQ(run(shell("head -c 60000 /dev/zero")).output.size(), 60'000U);
    }
}

TEST(Run, KillsTheWholeGroupAtItsDeadline) {
    const TempFolder folder;
    const Witness witness(folder);
    Command command =
        shell("exec 3>" + witness.path() + "; (trap '' TERM; sleep 1000) & echo on; wait");
    command.timeout = 2s;
    const auto before = std::chrono::steady_clock::now();
    const Finished finished = run(command);
    EXPECT_TRUE(finished.timed_out);
    EXPECT_FALSE(finished.succeeded());
    EXPECT_EQ(finished.output, "on\n");
    EXPECT_GE(std::chrono::steady_clock::now() - before, 2s);
    EXPECT_TRUE(witness.is_alone());
}

TEST(Run, KeepsItsDeadlineInAFlood) {
    Command command = shell("yes");
    command.timeout = 200ms;
    EXPECT_TRUE(run(command).timed_out);
}

TEST(Run, KillsTheWholeGroupWhenStopped) {
    const TempFolder folder;
    const Witness witness(folder);
    std::stop_source source;
    const std::jthread stopper([&] {
        EXPECT_TRUE(witness.saw_a_line());
        source.request_stop();
    });
    try {
        run(shell("exec 3>" + witness.path() + "; sleep 1000 & echo on >&3; wait"),
            source.get_token());
        ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::stopped);
    }
    EXPECT_TRUE(witness.is_alone());
}

TEST(Run, ShowsProgressWhileTheProgramRuns) {
    test::expect_progress([](const std::stop_token& stop) {
        Command command = shell("exec sleep 600");
        command.timeout = 1h;
        EXPECT_THROW(run(command, stop), Error);
    });
}

TEST(Run, EndsAtOnceWhenStoppedBefore) {
    std::stop_source source;
    source.request_stop();
    EXPECT_THROW(run(shell("sleep 1000"), source.get_token()), Error);
}

TEST(Run, DoesNotWaitForWhatTheProgramLeavesBehind) {
    const Finished finished = run(shell("sleep 1000 & echo $!"));
    ASSERT_TRUE(finished.succeeded());
    const pid_t left = std::stoi(finished.output);
    EXPECT_EQ(::kill(left, SIGKILL), 0) << "it should have been left alone";
}

TEST(Run, DoesNotOutliveUs) {
    const TempFolder folder;
    const Witness witness(folder);
    const pid_t agent = ::fork();
    if (agent == 0) {
        run(shell("exec 3>" + witness.path() + "; echo on >&3; exec sleep 1000"));
        ::_exit(1);
    }
    EXPECT_TRUE(witness.saw_a_line());
    ::kill(agent, SIGKILL);
    ::waitpid(agent, nullptr, 0);
    EXPECT_TRUE(witness.is_alone());
}

TEST(Run, SaysWhyAProgramCanNotBeStarted) {
    const TempFolder folder;
    Command command;
    command.program = folder / "missing";
    EXPECT_EQ(start_failure(command),
              "starting " + (folder / "missing").string() + ": no such file or directory");

    std::ofstream(folder / "text") << "text\n";
    command.program = folder / "text";
    EXPECT_EQ(start_failure(command),
              "starting " + (folder / "text").string() + ": permission denied");

    ::chmod((folder / "text").c_str(), 0755);
    EXPECT_EQ(start_failure(command),
              "starting " + (folder / "text").string() + ": exec format error");

    command.program = "sh";
    EXPECT_EQ(start_failure(command), "starting sh: not an absolute path");

    command = shell("true");
    command.folder = folder / "missing";
    EXPECT_EQ(start_failure(command),
              "starting /bin/sh: entering its folder: no such file or directory");
}

TEST(Run, LeavesNoDescriptorsAndNoZombies) {
    const auto descriptors = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
    };
    const auto before = descriptors();
    Command missing;
    missing.program = "/missing";
    Command slow = shell("sleep 1000");
    slow.timeout = 1ms;
    for (int round = 0; round < 5; ++round) {
        run(shell("true"));
        run(slow);
        start_failure(missing);
    }
    EXPECT_EQ(descriptors(), before);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
}

TEST(Run, IsForSeveralThreadsAtOnce) {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([thread] {
            for (int round = 0; round < 10; ++round) {
                const std::string text = format("{}-{}", thread, round);
                EXPECT_EQ(run(shell("echo " + text)).output, text + "\n");
            }
        });
    }
}

TEST(Run, GivesUpAllRightsWhenTold) {
    Command command = shell(
        "id -u; id -g; id -G; ulimit -c; grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs):' "
        "/proc/$$/status");
    command.unprivileged = true;
    const Finished finished = run(command);
    if (::geteuid() != 0) {
        EXPECT_TRUE(finished.output.starts_with(format("{}\n", ::geteuid())));
        return;
    }
    EXPECT_EQ(finished.output,
              "65534\n65534\n65534\n0\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
              "CapEff:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n")
        << finished.errors;
}

TEST(Run, KeepsAnUnprivilegedProgramFromOurFiles) {
    if (::geteuid() != 0) {
        GTEST_SKIP() << "for root only";
    }
    const TempFolder folder;
    std::ofstream(folder / "secret") << "secret";
    ::chmod(folder.path().c_str(), 0755);
    ::chmod((folder / "secret").c_str(), 0600);
    Command command =
        shell("cat " + (folder / "secret").string() + "; : > " + (folder / "new").string());
    command.unprivileged = true;
    const Finished finished = run(command);
    EXPECT_EQ(finished.output, "");
    EXPECT_FALSE(std::filesystem::exists(folder / "new"));
}

TEST(Run, KillsWhatAnUnprivilegedProgramLeavesBehind) {
    const TempFolder folder;
    ::chmod(folder.path().c_str(), 0755);
    const Witness witness(folder);
    ::chmod(witness.path().c_str(), 0666);
    Command command = shell("exec 3>" + witness.path() + "; sleep 1000 & echo on");
    command.unprivileged = true;
    EXPECT_TRUE(run(command).succeeded());
    EXPECT_TRUE(witness.is_alone());
}

TEST(Run, KillsAnUnprivilegedProgramToo) {
    Command command = shell("sleep 1000");
    command.unprivileged = true;
    command.timeout = 100ms;
    EXPECT_TRUE(run(command).timed_out);
}

}  // namespace
}  // namespace kua::fs
