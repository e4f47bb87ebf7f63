// SPDX-License-Identifier: Apache-2.0
// What most tests of CurlClient begin with: an authority, a server's certificate, and a client that
// trusts it.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/http/curl_client.hpp"
#include "tests/lib/http/certificates.hpp"
#include "tests/lib/http/tls_server.hpp"

namespace kua::test {

class CurlClientTest : public ::testing::Test {
  protected:
    /// A GET that trusts our authority.
    [[nodiscard]] http::Request request(const std::string& url) const {
        http::Request result;
        result.url = url;
        result.tls.ca_pem = authority_.pem();
        return result;
    }

    const Authority authority_{"test authority"};
    const Identity identity_ = authority_.issue({"server", "", {"127.0.0.1"}});
    http::CurlClient client_{{.proxy_from_environment = false}};
};

/// The head of an answer in chunks; `0\r\n\r\n` ends it.
inline constexpr const char* kChunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

inline std::string chunk(const std::string& data) {
    return format("{:x}\r\n{}\r\n", data.size(), data);
}

/// The Error that `action` throws; a test failure when it throws none.
template <typename Action>
Error error_of(Action&& action) {
    try {
        action();
    } catch (const Error& error) {
        return error;
    }
    ADD_FAILURE() << "no Error was thrown";
    return {ErrorKind::failed, ""};
}

}  // namespace kua::test
