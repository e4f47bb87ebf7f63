// SPDX-License-Identifier: Apache-2.0
#include "lib/http/address.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace kua::http {
namespace {

TEST(Address, IsReadInEveryForm) {
    EXPECT_EQ(parse_address("192.0.2.1"), parse_address("[::ffff:192.0.2.1]"));
    EXPECT_EQ(parse_address("fe80::1%eth0"), parse_address("[fe80::1%25eth0]"));
    for (const char* text : {"", "example.org", "192.0.2", "192.0.2.256", "[192.0.2.1", "::1::"}) {
        EXPECT_FALSE(parse_address(text)) << text;
    }
}

TEST(Address, IsKnownByItsNetwork) {
    struct Case {
        const char* text;
        bool link_local;
        bool loopback;
    };
    for (const auto& [text, link_local, loopback] : std::vector<Case>{
             {"169.254.169.254", true, false},
             {"169.253.255.255", false, false},
             {"169.255.0.0", false, false},
             {"::ffff:169.254.0.1", true, false},
             {"fe80::1", true, false},
             {"febf::1", true, false},
             {"fec0::1", false, false},
             {"fd00::1", false, false},
             {"127.0.0.1", false, true},
             {"127.255.1.2", false, true},
             {"::1", false, true},
             {"::2", false, false},
             {"::ffff:127.0.0.1", false, true},
         }) {
        EXPECT_EQ(is_link_local(*parse_address(text)), link_local) << text;
        EXPECT_EQ(is_loopback(*parse_address(text)), loopback) << text;
    }
}

}  // namespace
}  // namespace kua::http
