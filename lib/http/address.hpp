// SPDX-License-Identifier: Apache-2.0
// IP addresses, as far as rules about them need it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kua::http {

/// 16 bytes in network order; IPv4 as ::ffff:a.b.c.d.
using Address = std::array<std::uint8_t, 16>;

/// `192.0.2.1`, `2001:db8::1`, also in brackets and with a zone (`fe80::1%eth0`), which is left
/// out. Absent for anything else.
std::optional<Address> parse_address(std::string_view text);

/// 169.254.0.0/16 and fe80::/10: reachable from this host only, and where clouds keep what the host
/// may know and nobody else.
bool is_link_local(const Address& address);

/// 127.0.0.0/8 and ::1.
bool is_loopback(const Address& address);

/// Whether the first `bits` bits are the same.
bool same_network(const Address& one, const Address& other, unsigned bits);

}  // namespace kua::http
