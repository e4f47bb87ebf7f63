// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/pull.hpp"

#include <algorithm>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/crypto/digest.hpp"

namespace kua::oci {

namespace {

constexpr std::uint64_t kMostManifest = 4ULL << 20U;
constexpr int kNotFound = 404;
constexpr Duration kLongest = std::chrono::hours(6);

}  // namespace

Pull::Pull(http::Client& client, Clock& clock, std::vector<Endpoint> endpoints, Settings settings)
    : clock_(clock), settings_(std::move(settings)), deadline_(clock.monotonic() + kLongest) {
    if (!settings_.notice) settings_.notice = [](const std::string&) {};
    for (Endpoint& endpoint : endpoints) {
        sessions_.emplace_back(client, clock, std::move(endpoint), settings_.most_rate);
    }
}

Pull::Found Pull::take_manifest(const Session& session, http::Answer& answer,
                                const std::string& reference, const std::stop_token& stop) const {
    Found found;
    for (auto piece = answer.read(stop); !piece.empty(); piece = answer.read(stop)) {
        found.body += piece;
    }
    found.digest = "sha256:" + crypto::hex_digest(crypto::Algorithm::sha256, found.body);
    found.media_type = answer.head().header("Content-Type");
    found.endpoint = session.name();
    std::string expected = reference;
    if (!is_digest(expected)) expected = answer.head().header("Docker-Content-Digest");
    if (is_digest(expected) && expected != found.digest) {
        throw Error(ErrorKind::invalid, format("gives a manifest whose digest is {} instead of {}",
                                               found.digest, expected));
    }
    return found;
}

std::optional<Pull::Found> Pull::manifest(const std::string& reference,
                                          const std::stop_token& stop) {
    std::vector<std::string> reasons;
    bool absent = true;
    bool again = false;
    std::vector<Session*> order;
    for (Session& session : sessions_) order.push_back(&session);
    std::stable_partition(order.begin(), order.end(),
                          [](const Session* session) { return !session->failing(); });
    for (Session* one : order) {
        Session& session = *one;
        std::string reason;
        try {
            Session::Wanted wanted{"manifests/" + reference, accepted_manifests()};
            wanted.most_body = kMostManifest;
            const auto answer = session.open(wanted, stop);
            if (answer->head().status != kNotFound) {
                return take_manifest(session, *answer, reference, stop);
            }
            reason = "has no such image (404)";
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::stopped) throw;
            absent = false;
            again = again || error.kind() == ErrorKind::transient;
            reason = error.what();
        }
        reasons.push_back(format("{}: {}", session.name(), reason));
        if (reasons.size() < sessions_.size()) {
            settings_.notice(
                format("{}: {}; trying the next endpoint", settings_.image, reasons.back()));
        }
    }
    if (absent) return std::nullopt;
    throw Error(again ? ErrorKind::transient : ErrorKind::invalid,
                format("{}: {}", settings_.image, join(reasons, "; ")));
}

std::unique_ptr<Blob> Pull::blob(const Descriptor& descriptor) {
    Suspicion& suspicion = suspicions_[descriptor.digest];
    suspicion.reasons.resize(sessions_.size());
    if (settings_.most_rate > 0) {
        deadline_ += std::chrono::seconds(descriptor.size / settings_.most_rate);
    }
    return std::make_unique<Blob>(sessions_, clock_, descriptor, suspicion, settings_.notice,
                                  settings_.image, deadline_);
}

std::string Pull::small_blob(const Descriptor& descriptor, std::uint64_t most,
                             const std::stop_token& stop) {
    if (descriptor.size > most) {
        throw Error(ErrorKind::invalid, format("{}: blob {} is larger than {} bytes",
                                               settings_.image, descriptor.digest, most));
    }
    while (true) {
        const auto blob = this->blob(descriptor);
        try {
            std::string result;
            for (auto piece = blob->read(stop); !piece.empty(); piece = blob->read(stop)) {
                result += piece;
            }
            return result;
        } catch (const Error&) {
            if (!blob->may_go_elsewhere()) throw;
        }
    }
}

}  // namespace kua::oci
