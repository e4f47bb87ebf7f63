// SPDX-License-Identifier: Apache-2.0
#include "lib/http/address.hpp"

#include <arpa/inet.h>

#include <algorithm>

namespace kua::http {

namespace {

constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_ipv4(const Address& address) {
    return std::equal(kMapped.begin(), kMapped.end(), address.begin());
}

}  // namespace

std::optional<Address> parse_address(std::string_view text) {
    if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
    const std::string digits(text.substr(0, text.find('%')));
    Address address{};
    if (::inet_pton(AF_INET6, digits.c_str(), address.data()) == 1) return address;
    std::copy(kMapped.begin(), kMapped.end(), address.begin());
    if (::inet_pton(AF_INET, digits.c_str(), &address[kMapped.size()]) == 1) return address;
    return std::nullopt;
}

bool is_link_local(const Address& address) {
    if (is_ipv4(address)) return address[12] == 169 && address[13] == 254;
    return address[0] == 0xfe && (address[1] & 0xc0U) == 0x80;
}

bool is_loopback(const Address& address) {
    if (is_ipv4(address)) return address[12] == 127;
    constexpr Address kOne{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    return address == kOne;
}

bool same_network(const Address& one, const Address& other, unsigned bits) {
    for (std::size_t i = 0; i < one.size() && bits > 0; ++i) {
        const unsigned here = std::min(bits, 8U);
        const auto mask = static_cast<std::uint8_t>(0xffU << (8U - here));
        if ((one[i] & mask) != (other[i] & mask)) return false;
        bits -= here;
    }
    return true;
}

}  // namespace kua::http
