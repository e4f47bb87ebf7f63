// SPDX-License-Identifier: Apache-2.0
#include "lib/crypto/certificate.hpp"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <limits>
#include <memory>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::crypto {

namespace {

struct FreeBio {
    void operator()(BIO* bio) const { BIO_free(bio); }
};
struct FreeCertificate {
    void operator()(X509* certificate) const { X509_free(certificate); }
};

[[noreturn]] void refuse(std::string_view name, std::string_view why) {
    ERR_clear_error();
    throw Error(ErrorKind::invalid, format("{}: {}", name, why));
}

std::vector<std::string> subject_entries(const X509* certificate, int nid, std::string_view name) {
    const X509_NAME* const subject = X509_get_subject_name(certificate);
    std::vector<std::string> entries;
    for (int at = X509_NAME_get_index_by_NID(subject, nid, -1); at >= 0;
         at = X509_NAME_get_index_by_NID(subject, nid, at)) {
        unsigned char* text = nullptr;
        const int length =
            ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
        if (length < 0) {
            refuse(name, "its certificate's subject is not text");
        }
        entries.emplace_back(text, text + length);
        OPENSSL_free(text);
    }
    return entries;
}

WallTime time_of(const ASN1_TIME* time, std::string_view name) {
    std::tm parts{};
    if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) {
        refuse(name, "its certificate's validity can't be read");
    }
    // RFC 5280's "no well-defined expiration date" is the year 9999, which our clock's nanoseconds
    // don't reach.
    static constexpr std::chrono::seconds kEdge =
        std::chrono::floor<std::chrono::seconds>(WallTime::duration::max());
    const std::chrono::seconds since_epoch(::timegm(&parts));
    return WallTime(std::clamp(since_epoch, -kEdge, kEdge));
}

}  // namespace

Certificate read_certificate(std::string_view pem, std::string_view name) {
    if (pem.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
        refuse(name, "too large for a certificate");
    }
    const std::unique_ptr<BIO, FreeBio> bio(
        BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    // No callback for a passphrase may ask on a terminal: an empty one is given instead.
    static char no_passphrase[] = "";
    const std::unique_ptr<X509, FreeCertificate> certificate(
        bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, no_passphrase) : nullptr);
    if (!certificate) {
        refuse(name, "holds no readable PEM certificate");
    }
    Certificate read;
    const auto names = subject_entries(certificate.get(), NID_commonName, name);
    // The last one counts, as in Go's crypto/x509, by which the API server reads it.
    read.common_name = names.empty() ? std::string() : names.back();
    read.organizations = subject_entries(certificate.get(), NID_organizationName, name);
    read.not_before = time_of(X509_get0_notBefore(certificate.get()), name);
    read.not_after = time_of(X509_get0_notAfter(certificate.get()), name);
    return read;
}

}  // namespace kua::crypto
