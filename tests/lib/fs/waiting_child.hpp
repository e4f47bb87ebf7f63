// SPDX-License-Identifier: Apache-2.0
// A process beside the test's own that has done one thing, and then waits until it is killed.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace kua::test {

class WaitingChild {
  public:
    /// Returns when `begin` has returned in the child, where what it gives (true, once asked) is
    /// kept for as long as the child lives.
    template <typename Begin>
    explicit WaitingChild(const Begin& begin) {
        int ends[2] = {};
        EXPECT_EQ(::pipe(ends), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            const auto kept = begin();
            [[maybe_unused]] const ssize_t told = ::write(ends[1], kept ? "1" : "0", 1);
            while (true) {
                ::pause();
            }
        }
        ::close(ends[1]);
        char answer = 0;
        EXPECT_EQ(::read(ends[0], &answer, 1), 1);
        EXPECT_EQ(answer, '1');
        ::close(ends[0]);
    }
    ~WaitingChild() { kill(); }
    WaitingChild(const WaitingChild&) = delete;
    WaitingChild& operator=(const WaitingChild&) = delete;

    void kill() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
            pid_ = 0;
        }
    }

    [[nodiscard]] pid_t pid() const { return pid_; }

  private:
    pid_t pid_ = 0;
};

}  // namespace kua::test
