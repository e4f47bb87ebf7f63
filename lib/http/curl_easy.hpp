// SPDX-License-Identifier: Apache-2.0
// A request in libcurl's terms, and libcurl's verdict in ours. Private to this folder: it names
// libcurl's types.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <string>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/http/client.hpp"
#include "lib/http/url.hpp"

namespace kua::http {

struct EasyCleanup {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, EasyCleanup>;
using HeaderList = std::unique_ptr<curl_slist, EasyCleanup>;

/// Throws Error{failed}: a wrong option is a mistake of ours, or a libcurl without TLS or HTTP/2.
template <typename Value>
void set_option(CURL* easy, CURLoption option, Value value) {
    const CURLcode code = curl_easy_setopt(easy, option, value);
    if (code != CURLE_OK) {
        throw Error(ErrorKind::failed, format("libcurl refuses option {}: {}",
                                              static_cast<int>(option), curl_easy_strerror(code)));
    }
}

/// Throws Error{invalid} for a header that would become two.
HeaderList make_header_list(const Headers& headers);

/// Everything about a request but where its answer goes. `headers` and `request.body` must live as
/// long as the handle; `proxy` is a URL or empty.
Easy make_easy(const Request& request, const std::string& body, const Url& url,
               const std::string& proxy, const std::string& user_agent, curl_slist* headers);

/// Why an exchange ended as it did; `text` is what CURLOPT_ERRORBUFFER got.
struct CurlVerdict {
    ErrorKind kind;
    std::string reason;
};
CurlVerdict verdict_of(CURL* easy, CURLcode code, const char* text);

}  // namespace kua::http
