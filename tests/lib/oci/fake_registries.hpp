// SPDX-License-Identifier: Apache-2.0
// Stands in for the network with registries in it, each a host with manifests and blobs. Different
// from them: nothing is pushed, every blob comes in pieces of a few bytes, and a host lies, breaks
// off or refuses as it is told.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/json.hpp"
#include "lib/crypto/digest.hpp"
#include "lib/http/client.hpp"

namespace kua::test {

inline std::string digest_of(const std::string& bytes) {
    return "sha256:" + crypto::hex_digest(crypto::Algorithm::sha256, bytes);
}

/// What a host answers.
struct Reply {
    int status = 200;
    std::string body{};
    http::Headers headers{};
    std::size_t breaks_after = std::string::npos;  ///< Bytes, then the connection is reset.
    std::string url{};                             ///< Where it comes from; empty: as asked.
};

using Host = std::function<Reply(const http::Request&)>;

class FakeRegistries final : public http::Client {
  public:
    /// By scheme and host: `https://mirror.lan:5000`. A host that is not there refuses.
    std::map<std::string, Host> hosts;
    std::vector<http::Request> requests;

    http::Response send(const http::Request& request, std::stop_token /*stop*/) override {
        const Reply reply = ask(request);
        return {reply.status, reply.headers, reply.body,
                reply.url.empty() ? request.url : reply.url};
    }

    http::Response stream(const http::Request& request, const http::Consumer& /*consumer*/,
                          std::stop_token stop) override {
        return send(request, std::move(stop));
    }

    std::unique_ptr<http::Answer> open(const http::Request& request,
                                       std::stop_token stop) override {
        if (stop.stop_requested()) throw Error(ErrorKind::stopped, "stopped");
        return std::make_unique<Pieces>(ask(request), request);
    }

    /// The URLs that were asked, in order.
    [[nodiscard]] std::vector<std::string> urls() const {
        std::vector<std::string> result;
        for (const auto& request : requests) result.push_back(request.url);
        return result;
    }

  private:
    class Pieces final : public http::Answer {
      public:
        Pieces(Reply reply, const http::Request& request)
            : reply_(std::move(reply)), most_(request.most_body) {
            head_ = {reply_.status, reply_.headers, "",
                     reply_.url.empty() ? request.url : reply_.url};
        }
        [[nodiscard]] const http::Response& head() const override { return head_; }
        std::string_view read(const std::stop_token& stop) override {
            if (stop.stop_requested()) throw Error(ErrorKind::stopped, "stopped");
            if (at_ >= reply_.breaks_after) throw Error(ErrorKind::transient, "connection reset");
            const auto end = std::min(reply_.body.size(), reply_.breaks_after);
            piece_ = reply_.body.substr(at_, std::min<std::size_t>(700, end - at_));
            at_ += piece_.size();
            if (at_ > most_) throw Error(ErrorKind::invalid, "too long an answer");
            return piece_;
        }

      private:
        Reply reply_;
        std::uint64_t most_;
        http::Response head_;
        std::string piece_;
        std::size_t at_ = 0;
    };

    Reply ask(const http::Request& request) {
        requests.push_back(request);
        const auto slash = request.url.find('/', request.url.find("://") + 3);
        const auto host = hosts.find(request.url.substr(0, slash));
        if (host == hosts.end()) throw Error(ErrorKind::transient, "connection refused");
        return host->second(request);
    }
};

/// What one repository holds.
struct Repository {
    std::map<std::string, std::pair<std::string, std::string>>
        manifests;                             ///< Tag or digest: type, body.
    std::map<std::string, std::string> blobs;  ///< By digest.

    std::string add_blob(const std::string& bytes) {
        const auto digest = digest_of(bytes);
        blobs[digest] = bytes;
        return digest;
    }

    std::string add_manifest(const std::string& tag, const Json& manifest) {
        const std::string body = manifest.dump();
        const auto digest = digest_of(body);
        manifests[digest] = {manifest.value("mediaType", ""), body};
        manifests[tag] = manifests[digest];
        return digest;
    }

    /// Answers below `/v2/<name>/`, with ranges.
    [[nodiscard]] Reply answer(const http::Request& request) const {
        const std::string url = request.url.substr(0, request.url.find('?'));
        const std::string last = url.substr(url.rfind('/') + 1);
        if (url.find("/manifests/") != std::string::npos) {
            const auto found = manifests.find(last);
            if (found == manifests.end()) return {404};
            return {200,
                    found->second.second,
                    {{"Content-Type", found->second.first},
                     {"Docker-Content-Digest", digest_of(found->second.second)}}};
        }
        const auto found = blobs.find(last);
        if (found == blobs.end()) return {404};
        const auto range = request.headers.find("Range");
        if (range == request.headers.end()) return {200, found->second};
        const std::size_t from = std::stoul(range->second.substr(6));
        return {206,
                found->second.substr(from),
                {{"Content-Range", "bytes " + std::to_string(from) + "-" +
                                       std::to_string(found->second.size() - 1) + "/" +
                                       std::to_string(found->second.size())}}};
    }

    [[nodiscard]] Host host() const {
        return [this](const http::Request& request) { return answer(request); };
    }
};

/// The Error that `action` throws; of the kind `failed` and without a message when it throws none.
template <typename Action>
Error thrown_by(Action&& action) {
    try {
        action();
    } catch (const Error& error) {
        return error;
    }
    return {ErrorKind::failed, ""};
}

}  // namespace kua::test
