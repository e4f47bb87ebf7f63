// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/http/tls_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <stdexcept>
#include <utility>

#include "lib/base/format.hpp"
#include "lib/base/unique_fd.hpp"

namespace kua::test {

namespace {

class TlsConnection final : public Connection {
  public:
    TlsConnection(SSL_CTX* context, int fd, int number)
        : ssl_(SSL_new(context)), fd_(fd), number_(number) {
        SSL_set_fd(ssl_, fd);
        SSL_set_mode(ssl_, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        const timeval patience{0, 200'000};
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    }
    ~TlsConnection() override { SSL_free(ssl_); }
    TlsConnection(const TlsConnection&) = delete;
    TlsConnection& operator=(const TlsConnection&) = delete;

    bool handshake() { return SSL_accept(ssl_) == 1; }
    void goodbye() {
        if (!was_reset_) SSL_shutdown(ssl_);
    }

    std::optional<Received> receive() override {
        std::size_t end = std::string::npos;
        while ((end = input_.find("\r\n\r\n")) == std::string::npos) {
            if (!read_more()) return std::nullopt;
        }
        Received request;
        const auto lines = split(input_.substr(0, end), '\n');
        const auto words = split(lines.front(), ' ');
        request.method = words.at(0);
        request.target = words.at(1);
        for (std::size_t i = 1; i < lines.size(); ++i) {
            const std::size_t colon = lines[i].find(':');
            request.headers.emplace(lines[i].substr(0, colon),
                                    trim(std::string_view(lines[i]).substr(colon + 1)));
        }
        input_.erase(0, end + 4);
        std::size_t length = 0;
        if (const auto found = request.headers.find("Content-Length");
            found != request.headers.end()) {
            length = std::stoul(found->second);
        }
        while (input_.size() < length) {
            if (!read_more()) return std::nullopt;
        }
        request.body = input_.substr(0, length);
        input_.erase(0, length);
        return request;
    }

    bool send(std::string_view data, const std::function<void()>& held_back) override {
        bool told = false;
        while (!data.empty()) {
            std::size_t written = 0;
            const std::size_t piece = std::min<std::size_t>(data.size(), 16'384);
            ERR_clear_error();
            if (SSL_write_ex(ssl_, data.data(), piece, &written) == 1) {
                data.remove_prefix(written);
                continue;
            }
            if (SSL_get_error(ssl_, 0) != SSL_ERROR_WANT_WRITE) return false;
            if (!std::exchange(told, true) && held_back) held_back();
        }
        return true;
    }

    void wait_for_close() override {
        while (read_more()) input_.clear();
    }

    void reset() override {
        const linger at_once{1, 0};
        setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        was_reset_ = true;
    }

    [[nodiscard]] int number() const override { return number_; }

    [[nodiscard]] std::string client() const override {
        X509* certificate = SSL_get1_peer_certificate(ssl_);
        if (certificate == nullptr) return {};
        std::string name(100, '\0');
        const int size =
            X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName,
                                      name.data(), static_cast<int>(name.size()));
        name.resize(static_cast<std::size_t>(std::max(size, 0)));
        X509_free(certificate);
        return name;
    }

  private:
    bool read_more() {
        std::string buffer(16'384, '\0');
        std::size_t count = 0;
        ERR_clear_error();
        if (SSL_read_ex(ssl_, buffer.data(), buffer.size(), &count) != 1) return false;
        input_.append(buffer, 0, count);
        return true;
    }

    SSL* ssl_;
    int fd_;
    int number_;
    bool was_reset_ = false;
    std::string input_;
};

void block_sigpipe() {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
}

}  // namespace

struct TlsServer::State {
    SSL_CTX* context = SSL_CTX_new(TLS_server_method());
    UniqueFd listener;
    ~State() { SSL_CTX_free(context); }
    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
};

TlsServer::TlsServer(const Identity& identity, std::function<void(Connection&)> handler,
                     const std::string& client_ca)
    : state_(std::make_unique<State>()), handler_(std::move(handler)) {
    SSL_CTX* context = state_->context;
    const auto bio = [](const std::string& text) {
        return BIO_new_mem_buf(text.data(), static_cast<int>(text.size()));
    };
    BIO* text = bio(identity.certificate_pem);
    X509* certificate = PEM_read_bio_X509(text, nullptr, nullptr, nullptr);
    BIO_free(text);
    text = bio(identity.key_pem);
    EVP_PKEY* key = PEM_read_bio_PrivateKey(text, nullptr, nullptr, nullptr);
    BIO_free(text);
    const bool good = SSL_CTX_use_certificate(context, certificate) == 1 &&
                      SSL_CTX_use_PrivateKey(context, key) == 1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    if (!good) throw std::runtime_error("the test's server does not take its certificate");
    if (!client_ca.empty()) {
        text = bio(client_ca);
        X509* ca = PEM_read_bio_X509(text, nullptr, nullptr, nullptr);
        BIO_free(text);
        X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca);
        X509_free(ca);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
        const unsigned char id[] = "test";
        SSL_CTX_set_session_id_context(context, id, sizeof(id));
    }

    state_->listener = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(state_->listener.get(), generic, size) != 0 ||
        ::listen(state_->listener.get(), 128) != 0 ||
        ::getsockname(state_->listener.get(), generic, &size) != 0) {
        throw std::runtime_error("the test's server can't listen");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::jthread([this] { accept_clients(); });
}

TlsServer::~TlsServer() {
    closing_ = true;
    ::shutdown(state_->listener.get(), SHUT_RDWR);  // wakes accept
    acceptor_.join();
    {
        const std::lock_guard lock(mutex_);
        for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    clients_.clear();
}

void TlsServer::accept_clients() {
    while (!closing_) {
        const int fd = ::accept4(state_->listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        const int number = ++accepted_;
        {
            const std::lock_guard lock(mutex_);
            open_.push_back(fd);
        }
        clients_.emplace_back([this, fd, number] {
            block_sigpipe();
            const UniqueFd owner(fd);
            {
                TlsConnection connection(state_->context, fd, number);
                if (connection.handshake()) {
                    handler_(connection);
                    connection.goodbye();
                }
            }
            const std::lock_guard lock(mutex_);
            open_.remove(fd);
        });
    }
}

std::string TlsServer::url(const std::string& path) const {
    return format("https://127.0.0.1:{}{}", port_, path);
}

std::string answer(int status, std::string_view body, const std::string& headers) {
    return format("HTTP/1.1 {} Some\r\nContent-Length: {}\r\n{}\r\n{}", status, body.size(),
                  headers, body);
}

std::function<void(Connection&)> replying(std::function<std::string(const Received&)> reply) {
    return [reply = std::move(reply)](Connection& connection) {
        while (const auto request = connection.receive()) {
            if (!connection.send(reply(*request))) return;
        }
    };
}

}  // namespace kua::test
