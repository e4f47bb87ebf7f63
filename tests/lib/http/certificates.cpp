// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/http/certificates.hpp"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cctype>
#include <ctime>
#include <memory>
#include <stdexcept>

namespace kua::test {

namespace {

template <typename Type, auto release>
struct Freed {
    void operator()(Type* value) const { release(value); }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY, EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Freed<X509, X509_free>>;
using Bio = std::unique_ptr<BIO, Freed<BIO, BIO_free_all>>;

template <typename Value>
Value check(Value value) {
    if (!value) throw std::runtime_error("OpenSSL refused in a test's own certificates");
    return value;
}

std::string text_of(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<std::size_t>(size)};
}

std::string pem_of(EVP_PKEY* key) {
    const Bio bio(BIO_new(BIO_s_mem()));
    check(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr));
    return text_of(bio.get());
}

std::string pem_of(X509* certificate) {
    const Bio bio(BIO_new(BIO_s_mem()));
    check(PEM_write_bio_X509(bio.get(), certificate));
    return text_of(bio.get());
}

Cert read_certificate(const std::string& pem) {
    const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    return Cert(check(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)));
}

Key read_key(const std::string& pem) {
    const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    return Key(check(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr)));
}

void add_name(X509_NAME* name, const char* field, const std::string& value) {
    if (value.empty()) return;
    const auto* bytes = reinterpret_cast<const unsigned char*>(value.c_str());
    check(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, bytes, -1, -1, 0));
}

void add_extension(X509* certificate, int nid, const std::string& value) {
    X509_EXTENSION* extension = check(X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str()));
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

Cert make_certificate(const Subject& subject, EVP_PKEY* key) {
    Cert certificate(check(X509_new()));
    X509_set_version(certificate.get(), 2);
    std::uint64_t serial = 0;
    RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof(serial));
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial >> 1U);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -2L * 86400);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()),
                    static_cast<long>(subject.valid_for.count()));
    X509_NAME* name = X509_get_subject_name(certificate.get());
    add_name(name, "O", subject.organization);
    add_name(name, "CN", subject.common_name);
    check(X509_set_pubkey(certificate.get(), key));
    return certificate;
}

}  // namespace

Authority::Authority(const std::string& common_name) {
    const Key key(check(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256")));
    const Subject subject{common_name, "", {}, std::chrono::hours(1)};
    const Cert certificate = make_certificate(subject, key.get());
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
    add_extension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
    check(X509_sign(certificate.get(), key.get(), EVP_sha256()));
    self_ = {pem_of(certificate.get()), pem_of(key.get())};
}

Identity Authority::issue(const Subject& subject) const {
    const Key key(check(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256")));
    const Cert certificate = make_certificate(subject, key.get());
    const Cert issuer = read_certificate(self_.certificate_pem);
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer.get()));
    std::string names;
    for (const std::string& name : subject.names) {
        const bool address = std::isdigit(static_cast<unsigned char>(name.front())) != 0;
        names += (names.empty() ? "" : ",") + std::string(address ? "IP:" : "DNS:") + name;
    }
    if (!names.empty()) add_extension(certificate.get(), NID_subject_alt_name, names);
    const Key issuer_key = read_key(self_.key_pem);
    check(X509_sign(certificate.get(), issuer_key.get(), EVP_sha256()));
    return {pem_of(certificate.get()), pem_of(key.get())};
}

}  // namespace kua::test
