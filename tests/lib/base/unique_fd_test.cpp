// SPDX-License-Identifier: Apache-2.0
#include "lib/base/unique_fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace kua {
namespace {

UniqueFd open_something() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

TEST(UniqueFd, ClosesWhenItGoes) {
    int number = -1;
    {
        const UniqueFd fd = open_something();
        number = fd.get();
        ASSERT_TRUE(is_open(number));
    }
    EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, MovesItsDescriptor) {
    UniqueFd from = open_something();
    const int number = from.get();
    UniqueFd to(std::move(from));
    EXPECT_EQ(to.get(), number);
    UniqueFd other = open_something();
    const int replaced = other.get();
    other = std::move(to);
    EXPECT_EQ(other.get(), number);
    EXPECT_FALSE(is_open(replaced));
    EXPECT_TRUE(is_open(number));
}

TEST(UniqueFd, SurvivesBeingMovedToItself) {
    UniqueFd fd = open_something();
    UniqueFd& same = fd;
    fd = std::move(same);
    EXPECT_TRUE(is_open(fd.get()));
}

TEST(UniqueFd, GivesItsDescriptorAway) {
    UniqueFd fd = open_something();
    const UniqueFd taken(fd.release());
    EXPECT_FALSE(fd);
    EXPECT_TRUE(is_open(taken.get()));
    fd.reset();
}

}  // namespace
}  // namespace kua
