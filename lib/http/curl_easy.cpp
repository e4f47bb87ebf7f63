// SPDX-License-Identifier: Apache-2.0
#include "lib/http/curl_easy.hpp"

#include <algorithm>
#include <new>
#include <string_view>
#include <system_error>

namespace kua::http {

namespace {

constexpr long kProxyAuthentication = 407;
// Downloads want more than libcurl's 16 KiB a turn; every transfer has such a buffer, so not much
// more.
constexpr long kBufferSize = 32L << 10U;
// A peer that vanished without a word is noticed on an idle watch after about a minute: 30 s of
// silence, then probes for as long as Sockets allows.
constexpr long kKeepAliveIdleSeconds = 30;
constexpr long kKeepAliveIntervalSeconds = 10;

template <typename Value>
void set(CURL* easy, CURLoption option, Value value) {
    set_option(easy, option, value);
}

void set_blob(CURL* easy, CURLoption option, const std::string& pem) {
    curl_blob blob{};
    blob.data = const_cast<char*>(pem.data());  // libcurl copies, its type just does not say so
    blob.len = pem.size();
    blob.flags = CURL_BLOB_COPY;
    set(easy, option, &blob);
}

void set_tls(CURL* easy, const Tls& tls) {
    set(easy, CURLOPT_SSL_VERIFYPEER, tls.verify ? 1L : 0L);
    set(easy, CURLOPT_SSL_VERIFYHOST, tls.verify ? 2L : 0L);
    set(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    if (tls.ca_pem.empty()) {
        // libcurl would keep the parsed system store, some megabytes, for a day.
        set(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
    } else {
        set_blob(easy, CURLOPT_CAINFO_BLOB, tls.ca_pem);
        // The blob replaces the default CA file, but not the default CA folder.
        if (!tls.system_too) set(easy, CURLOPT_CAPATH, static_cast<const char*>(nullptr));
    }
    if (!tls.certificate_pem.empty()) {
        set_blob(easy, CURLOPT_SSLCERT_BLOB, tls.certificate_pem);
        set_blob(easy, CURLOPT_SSLKEY_BLOB, tls.key_pem);
        set(easy, CURLOPT_SSLCERTTYPE, "PEM");
        set(easy, CURLOPT_SSLKEYTYPE, "PEM");
    }
}

curl_slist* append(curl_slist* list, const std::string& line) {
    curl_slist* longer = curl_slist_append(list, line.c_str());
    if (longer == nullptr) {
        curl_slist_free_all(list);
        throw std::bad_alloc();
    }
    return longer;
}

void set_method(CURL* easy, const Request& request, const std::string& body) {
    if (request.method == "HEAD") {
        set(easy, CURLOPT_NOBODY, 1L);
    } else if (!body.empty() || request.method == "POST" || request.method == "PUT" ||
               request.method == "PATCH") {
        set(easy, CURLOPT_POST, 1L);
        set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
        set(easy, CURLOPT_POSTFIELDS, body.data());
        set(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    } else if (request.method != "GET") {
        set(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
}

// What the proxy said to CONNECT; 0: nothing.
long connect_status(CURL* easy) {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
    return status;
}

// What trying again can't mend.
ErrorKind kind_of(CURL* easy, CURLcode code) {
    if (connect_status(easy) == kProxyAuthentication) return ErrorKind::invalid;
    switch (code) {
        case CURLE_URL_MALFORMAT:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
            return ErrorKind::invalid;
        default:
            return ErrorKind::transient;
    }
}

std::string with_small_letter(std::string text) {
    // "Connection refused" stands in the middle of our sentence; "SSL certificate problem" stays as
    // it is.
    const auto upper = [](char c) { return c >= 'A' && c <= 'Z'; };
    if (text.size() > 1 && upper(text[0]) && !upper(text[1])) {
        text[0] = static_cast<char>(text[0] - 'A' + 'a');
    }
    return text;
}

std::string reason_of(CURL* easy, CURLcode code, const char* text) {
    if (connect_status(easy) == kProxyAuthentication) {
        return "the proxy refuses our credentials, or wants some (407)";
    }
    if (code == CURLE_COULDNT_CONNECT) {
        long number = 0;
        curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number);
        if (number != 0) {
            return with_small_letter(std::system_category().message(static_cast<int>(number)));
        }
    }
    // The only time that libcurl itself keeps.
    if (code == CURLE_OPERATION_TIMEDOUT) return "no connection within the time limit";
    if (code == CURLE_GOT_NOTHING) return "the server closed the connection without an answer";
    if (code == CURLE_HTTP2_STREAM &&
        std::string_view(text).find("end of the underlying stream") != std::string_view::npos) {
        return "the server closed the connection";
    }
    const std::string said = *text == '\0' ? curl_easy_strerror(code) : text;
    return with_small_letter(std::string(trim(excerpt(said, 300))));
}

}  // namespace

HeaderList make_header_list(const Headers& headers) {
    // Some values come out of a Plan; a line break would be another header.
    const auto is_control = [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    };
    for (const auto& [name, value] : headers) {
        if (std::any_of(name.begin(), name.end(), is_control) ||
            std::any_of(value.begin(), value.end(), is_control)) {
            throw Error(ErrorKind::invalid,
                        format("the header {} holds a control character", excerpt(name, 60)));
        }
    }
    curl_slist* list = nullptr;
    for (const auto& [name, value] : headers) {
        list = append(list, value.empty() ? name + ";" : format("{}: {}", name, value));
    }
    // Headers that libcurl would add by itself: no waiting for "100 Continue", no made-up content
    // type.
    for (const char* unwanted : {"Expect", "Content-Type"}) {
        if (!headers.contains(unwanted)) list = append(list, std::string(unwanted) + ":");
    }
    return HeaderList(list);
}

Easy make_easy(const Request& request, const std::string& body, const Url& url,
               const std::string& proxy, const std::string& user_agent, curl_slist* headers) {
    Easy easy(curl_easy_init());
    if (!easy) throw std::bad_alloc();
    set(easy.get(), CURLOPT_URL, url.text.c_str());
    set(easy.get(), CURLOPT_PATH_AS_IS, 1L);
    set(easy.get(), CURLOPT_PROTOCOLS_STR, "http,https");
    set(easy.get(), CURLOPT_FOLLOWLOCATION, 0L);
    set(easy.get(), CURLOPT_NOSIGNAL, 1L);
    // A name server that hangs must not hold up the removal of a transfer, and with it everybody
    // else's.
    set(easy.get(), CURLOPT_QUICK_EXIT, 1L);
    set(easy.get(), CURLOPT_USERAGENT, user_agent.c_str());
    // Both, so that libcurl does not look at the environment.
    set(easy.get(), CURLOPT_PROXY, proxy.c_str());
    set(easy.get(), CURLOPT_NOPROXY, "");
    set(easy.get(), CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    set(easy.get(), CURLOPT_HTTPHEADER, headers);
    set_method(easy.get(), request, body);
    set_tls(easy.get(), request.tls);

    // Over TLS: HTTP/2 where the server offers it, and wait for a connection under way rather than
    // open another.
    set(easy.get(), CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
    if (url.scheme == "https") set(easy.get(), CURLOPT_PIPEWAIT, 1L);
    set(easy.get(), CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count()));
    set(easy.get(), CURLOPT_TCP_KEEPALIVE, 1L);
    set(easy.get(), CURLOPT_TCP_KEEPIDLE, kKeepAliveIdleSeconds);
    set(easy.get(), CURLOPT_TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
    set(easy.get(), CURLOPT_BUFFERSIZE, kBufferSize);
    return easy;
}

CurlVerdict verdict_of(CURL* easy, CURLcode code, const char* text) {
    return {kind_of(easy, code), reason_of(easy, code, text)};
}

}  // namespace kua::http
