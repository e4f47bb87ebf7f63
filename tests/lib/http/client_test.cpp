// SPDX-License-Identifier: Apache-2.0
#include "lib/http/client.hpp"

#include <gtest/gtest.h>

#include "lib/http/basic.hpp"

namespace kua::http {
namespace {

TEST(Response, FindsAHeaderWhateverItsCase) {
    Response response;
    response.headers.emplace("Retry-After", "3");
    EXPECT_EQ(response.header("retry-after"), "3");
    EXPECT_EQ(response.header("RETRY-AFTER"), "3");
    EXPECT_EQ(response.header("Retry"), "");
}

TEST(Headers, HoldsANameOnceWhateverItsCase) {
    Headers headers;
    headers["ACCEPT"] = "a";
    headers["Accept"] = "b";
    EXPECT_EQ(headers.size(), 1U);
}

TEST(BasicAuthorization, IsBase64) {
    // RFC 7617, 2.
    EXPECT_EQ(basic_authorization("Aladdin:open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    EXPECT_EQ(basic_authorization(""), "Basic ");
}

}  // namespace
}  // namespace kua::http
