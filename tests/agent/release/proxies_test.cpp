// SPDX-License-Identifier: Apache-2.0
#include "agent/release/proxies.hpp"

#include <gtest/gtest.h>

namespace kua::release {
namespace {

const http::Environment kK3s{{"HTTPS_PROXY", "k3s"},
                             {"http_proxy", "k3s-plain"},
                             {"NO_PROXY", "10.0.0.0/8"},
                             {"CONTAINERD_HTTPS_PROXY", "k3s-images"}};

TEST(ChooseProxies, TakesTheUnitsWhereTheAgentHasNone) {
    const auto proxies = choose_proxies({}, kK3s, Purpose::web);
    EXPECT_EQ(proxies.https, "k3s");
    EXPECT_EQ(proxies.http, "k3s-plain");
    EXPECT_EQ(proxies.no_proxy, "10.0.0.0/8");
}

TEST(ChooseProxies, TakesContainerdsForImagesOnly) {
    const auto proxies = choose_proxies({}, kK3s, Purpose::images);
    EXPECT_EQ(proxies.https, "k3s-images");
    EXPECT_EQ(proxies.http, "k3s-plain");
    EXPECT_EQ(proxies.no_proxy, "10.0.0.0/8");
}

TEST(ChooseProxies, LetsTheAgentsOwnWinOneByOne) {
    const http::Environment own{{"https_proxy", "own"}, {"NO_PROXY", ""}};
    for (const auto purpose : {Purpose::web, Purpose::images}) {
        const auto proxies = choose_proxies(own, kK3s, purpose);
        EXPECT_EQ(proxies.https, "own");
        EXPECT_EQ(proxies.http, "k3s-plain");
        EXPECT_EQ(proxies.no_proxy, "") << "named as empty: none";
    }
    const http::Environment images{{"CONTAINERD_HTTPS_PROXY", "own-images"}};
    EXPECT_EQ(choose_proxies(images, kK3s, Purpose::images).https, "own-images");
    EXPECT_EQ(choose_proxies(images, kK3s, Purpose::web).https, "k3s");
}

}  // namespace
}  // namespace kua::release
