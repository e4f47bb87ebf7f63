// SPDX-License-Identifier: Apache-2.0
#include "lib/base/error.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace kua {
namespace {

TEST(Error, KeepsItsKindOnTheWayUp) {
    try {
        with_context("draining worker-1", [] {
            with_context("evicting default/web-0",
                         [] { throw Error(ErrorKind::transient, "connection refused"); });
        });
        FAIL() << "nothing was thrown";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::transient);
        EXPECT_STREQ(error.what(), "draining worker-1: evicting default/web-0: connection refused");
    }
}

TEST(Error, LeavesOtherExceptionsAlone) {
    EXPECT_THROW(with_context("context", [] { throw std::out_of_range("x"); }), std::out_of_range);
}

TEST(Error, HandsTheResultOn) {
    EXPECT_EQ(with_context("context", [] { return 5; }), 5);
}

TEST(Error, NamesEveryKind) {
    EXPECT_EQ(to_string(ErrorKind::transient), "transient");
    EXPECT_EQ(to_string(ErrorKind::invalid), "invalid");
    EXPECT_EQ(to_string(ErrorKind::failed), "failed");
    EXPECT_EQ(to_string(ErrorKind::lost_lease), "lost_lease");
    EXPECT_EQ(to_string(ErrorKind::stopped), "stopped");
}

TEST(ErrnoText, StandsInsideASentence) {
    EXPECT_EQ(errno_text(ENOSPC), "no space left on device");
    EXPECT_EQ(errno_text(EROFS), "read-only file system");
    EXPECT_EQ(errno_text(123456), "error 123456");
}

}  // namespace
}  // namespace kua
