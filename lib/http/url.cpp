// SPDX-License-Identifier: Apache-2.0
#include "lib/http/url.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <memory>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::http {

namespace {

struct UrlCleanup {
    void operator()(CURLU* handle) const { curl_url_cleanup(handle); }
};
using Handle = std::unique_ptr<CURLU, UrlCleanup>;

std::string part(CURLU* handle, CURLUPart which, unsigned flags = 0) {
    char* text = nullptr;
    if (curl_url_get(handle, which, &text, flags) != CURLUE_OK) return {};
    std::string result(text);
    curl_free(text);
    return result;
}

// Of a text that is no URL, so that nobody knows what is what. The query may hold a secret, and
// what stands before an @ is one; what is left is enough to find the mistake.
std::string without_secrets(const std::string& text) {
    const std::size_t scheme = text.find("://");
    const std::size_t begin = scheme == std::string::npos ? 0 : scheme + 3;
    const std::size_t at = text.rfind('@');
    std::string shown = text.substr(0, text.find_first_of("?#"));
    if (at == std::string::npos || at < begin) return shown;
    if (at >= shown.size()) return text.substr(0, begin) + "…";  // a password with a ? in it
    return shown.erase(begin, at + 1 - begin);
}

void set(CURLU* handle, const std::string& text, unsigned flags) {
    const CURLUcode code = curl_url_set(handle, CURLUPART_URL, text.c_str(), flags);
    if (code == CURLUE_OK) return;
    const std::string shown = excerpt(without_secrets(text), 200);
    throw Error(ErrorKind::invalid,
                format("'{}' is not a usable URL: {}", shown, curl_url_strerror(code)));
}

Url taken_apart(CURLU* handle) {
    Url url;
    curl_url_set(handle, CURLUPART_FRAGMENT, nullptr, 0);
    url.text = part(handle, CURLUPART_URL);
    url.scheme = part(handle, CURLUPART_SCHEME);
    url.host = part(handle, CURLUPART_HOST);
    // Not std::tolower: what a URL can hold here is ASCII, whatever the locale.
    std::transform(url.host.begin(), url.host.end(), url.host.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    url.port = part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    url.origin = format("{}://{}:{}", url.scheme, url.host, url.port);
    const Handle copy(curl_url_dup(handle));
    for (const CURLUPart hidden : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY}) {
        curl_url_set(copy.get(), hidden, nullptr, 0);
    }
    url.shown = excerpt(part(copy.get(), CURLUPART_URL), 300);
    if (url.scheme != "https" && url.scheme != "http") {
        throw Error(ErrorKind::invalid, format("'{}' is neither https nor http", url.shown));
    }
    return url;
}

Handle make_handle() {
    Handle handle(curl_url());
    if (!handle) throw Error(ErrorKind::transient, "out of memory");
    return handle;
}

}  // namespace

Url parse_url(const std::string& text) {
    const Handle handle = make_handle();
    set(handle.get(), text, CURLU_PATH_AS_IS);
    return taken_apart(handle.get());
}

Url resolve_url(const Url& base, const std::string& reference) {
    const Handle handle = make_handle();
    set(handle.get(), base.text, CURLU_PATH_AS_IS);
    set(handle.get(), reference, 0);
    return taken_apart(handle.get());
}

}  // namespace kua::http
