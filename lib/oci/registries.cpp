// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/registries.hpp"

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/oci/rewrite.hpp"

namespace kua::oci {

namespace {

constexpr std::size_t kMostFile = 1U << 20U;

std::string host_of(const std::string& url) {
    const auto begin = url.find("://") + 3;
    return url.substr(begin, url.find('/', begin) - begin);
}

}  // namespace

Registries Registries::read(const std::filesystem::path& path) {
    const auto text =
        with_context("registries", [&path] { return fs::read_file(path, kMostFile); });
    return text ? parse(*text, path.string()) : Registries();
}

Registries Registries::parse(std::string_view text, std::string_view name) {
    Registries result;
    result.file_ = parse_registries_file(text, name);
    return result;
}

std::string Registries::rewritten(const std::string& key, const Mirror& mirror,
                                  const std::string& repository) const {
    // The first that changes anything, as in k3s; which has no order of its own.
    for (const auto& rewrite : mirror.rewrites) {
        const std::string where = format("{}: mirrors.{}.rewrite.{}", file_.name, excerpt(key, 100),
                                         excerpt(rewrite.pattern, 100));
        std::string result = with_context(
            where, [&] { return replace_all(repository, rewrite.pattern, rewrite.replacement); });
        if (result == repository) continue;
        if (!is_repository(result)) {
            throw Error(ErrorKind::invalid,
                        format("{}: makes '{}' of '{}', which is not an image's name", where,
                               excerpt(result, 200), repository));
        }
        return result;
    }
    return repository;
}

const RegistryConfig* Registries::config_of(const std::string& host) const {
    std::vector<std::string> names{host};
    if (host == kDockerHubHost) names.insert(names.end(), {"docker.io", "index.docker.io"});
    for (const auto& name : names) {
        const auto found = file_.configs.find(name);
        if (found != file_.configs.end()) return &found->second;
    }
    return nullptr;
}

std::optional<Endpoint> Registries::endpoint(const std::string& url, std::string& why_not) const {
    Endpoint result;
    result.url = url;
    const auto* config = config_of(host_of(url));
    const bool own = config != nullptr;
    if (!own) {
        const auto all = file_.configs.find("*");
        if (all == file_.configs.end()) return result;
        config = &all->second;
    }
    if (!config->broken.empty()) {
        why_not = config->broken;
        return std::nullopt;
    }
    result.tls = config->tls;
    // containerd gives nobody the credentials of "*".
    if (own) result.credentials = config->credentials;
    return result;
}

std::vector<Endpoint> Registries::endpoints(const Reference& reference,
                                            bool default_endpoint) const {
    std::vector<Endpoint> result;
    std::string why_not;
    const std::string host(reference.registry == kDockerHub ? kDockerHubHost : reference.registry);
    const std::string own = format("{}://{}/v2", default_scheme(host, file_.configs), host);
    auto mirror = file_.mirrors.find(reference.registry);
    if (mirror == file_.mirrors.end()) mirror = file_.mirrors.find("*");
    const bool mirrored = mirror != file_.mirrors.end();
    if (mirrored) {
        if (!mirror->second.broken.empty()) throw Error(ErrorKind::invalid, mirror->second.broken);
        for (const std::string& url : mirror->second.urls) {
            // It comes last anyway, and is not rewritten.
            if (url == own && default_endpoint) continue;
            auto one = endpoint(url, why_not);
            if (!one) continue;
            one->repository = rewritten(mirror->first, mirror->second, reference.repository);
            if (host_of(url) != host) one->mirrored = reference.registry;
            result.push_back(*std::move(one));
        }
        if (result.empty() && !why_not.empty()) throw Error(ErrorKind::invalid, why_not);
    }
    if (!mirrored || default_endpoint) {
        if (auto last = endpoint(own, why_not)) {
            last->repository = reference.repository;
            result.push_back(*std::move(last));
        }
        if (result.empty()) throw Error(ErrorKind::invalid, why_not);
    }
    if (result.empty()) {
        throw Error(ErrorKind::invalid,
                    format("{}: mirrors.{} has no endpoint, and k3s runs with "
                           "--disable-default-registry-endpoint: there is nowhere to pull images "
                           "of {} from; add an endpoint",
                           file_.name, excerpt(mirror->first, 100), reference.registry));
    }
    return result;
}

}  // namespace kua::oci
