// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/registries.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "lib/base/base64.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/http/url.hpp"
#include "lib/oci/rewrite.hpp"
#include "lib/yaml/yaml.hpp"

namespace kua::oci {

namespace {

constexpr std::size_t kMostFile = 1U << 20U;
constexpr std::string_view kDockerHub = "docker.io";
constexpr std::string_view kDockerHubHost = "registry-1.docker.io";

/// One value of the file, that knows where it stands.
class Node {
  public:
    Node(std::string path, const Json& value) : path_(std::move(path)), value_(&value) {}

    [[nodiscard]] Error error(std::string_view reason) const {
        return {ErrorKind::invalid, format("{} {}", path_, reason)};
    }

    [[nodiscard]] bool absent() const { return value_->is_null(); }

    /// Keys must be of `known`; an empty list allows all.
    [[nodiscard]] const Json& object(std::initializer_list<std::string_view> known = {}) const {
        if (!value_->is_object()) throw error("must be a mapping" + shown());
        for (const auto& [key, value] : value_->items()) {
            if (known.size() > 0 && std::find(known.begin(), known.end(), key) == known.end()) {
                throw error(format("has an unknown key '{}'; known are: {}", excerpt(key, 60),
                                   join({known.begin(), known.end()}, ", ")));
            }
        }
        return *value_;
    }

    [[nodiscard]] const Json& list() const {
        if (!value_->is_array()) throw error("must be a list" + shown());
        return *value_;
    }

    /// `secret` values do not stand in messages.
    [[nodiscard]] std::string text(bool secret = false) const {
        // An unquoted password of digits.
        if (value_->is_number_integer()) return value_->dump();
        if (!value_->is_string()) {
            throw error("must be text, in quotes if need be" + (secret ? "" : shown()));
        }
        return value_->get<std::string>();
    }

    /// k3s reads YAML 1.1, where `yes` and `on` are booleans, too.
    [[nodiscard]] bool boolean() const {
        if (value_->is_boolean()) return value_->get<bool>();
        const std::string word = value_->is_string() ? value_->get<std::string>() : std::string();
        for (const std::string_view yes : {"yes", "Yes", "YES", "on", "On", "ON"}) {
            if (word == yes) return true;
        }
        for (const std::string_view no : {"no", "No", "NO", "off", "Off", "OFF"}) {
            if (word == no) return false;
        }
        throw error("must be true or false" + shown());
    }

    /// The child; null when it is missing.
    [[nodiscard]] Node at(const std::string& key) const {
        static const Json nothing;
        const auto found = value_->find(key);
        return {path_ + '.' + one_line(key), found == value_->end() ? nothing : *found};
    }

  private:
    [[nodiscard]] std::string shown() const {
        return ", not " + (value_->is_structured() ? std::string(value_->type_name())
                                                   : excerpt(value_->dump(), 60));
    }

    std::string path_;
    const Json* value_;
};

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return text;
}

void check_host(const Node& node, const std::string& host) {
    if (host.empty() || host.find('/') != std::string::npos) {
        throw node.error("must be named by a registry's host or host:port, without a scheme");
    }
}

/// `https://mirror.lan:5000/v2` for what stands in the file.
std::string endpoint_url(const Node& node) {
    const std::string text = node.text();
    const auto colon = text.find("://");
    const std::string scheme = colon == std::string::npos ? "https" : lower(text.substr(0, colon));
    const std::string rest = colon == std::string::npos ? text : text.substr(colon + 3);
    const auto slash = rest.find('/');
    std::string host = lower(rest.substr(0, slash));
    std::string path = slash == std::string::npos ? "" : rest.substr(slash);
    while (path.ends_with('/')) path.pop_back();
    if (host.find('@') != std::string::npos) {
        throw node.error("holds a user name: credentials belong into configs.<host>.auth");
    }
    if (host.empty() || rest.find_first_of("?#") != std::string::npos ||
        (scheme != "http" && scheme != "https")) {
        throw node.error(format("is no registry's URL: '{}'", excerpt(text, 200)));
    }
    if (host == kDockerHub) host = kDockerHubHost;
    std::string url = scheme + "://" + host + (path.empty() ? "/v2" : path);
    try {
        http::parse_url(url);
    } catch (const Error& error) {
        throw node.error(format("is no registry's URL: {}", error.what()));
    }
    return url;
}

std::string host_of(const std::string& url) {
    const auto begin = url.find("://") + 3;
    return url.substr(begin, url.find('/', begin) - begin);
}

/// `auth`: base64 of `user:password`, as `docker login` stores it.
void decode_auth(const Node& node, Credentials& credentials) {
    auto decoded = base64_decode(node.text(true));
    if (decoded) {
        // Docker pads with zero bytes.
        decoded->erase(std::find(decoded->begin(), decoded->end(), '\0'), decoded->end());
    }
    const auto colon = decoded ? decoded->find(':') : std::string::npos;
    if (colon == std::string::npos || colon == 0) {
        throw node.error("is not the base64 of 'user:password'");
    }
    credentials.username = decoded->substr(0, colon);
    credentials.password = decoded->substr(colon + 1);
}

Credentials read_auth(const Node& auth) {
    Credentials result;
    if (auth.absent()) return result;
    (void)auth.object({"username", "password", "auth", "identity_token", "identitytoken", "token"});
    const auto text = [&auth](const std::string& key) {
        const Node node = auth.at(key);
        return node.absent() ? std::string() : node.text(true);
    };
    // In the order in which containerd prefers them.
    result.username = text("username");
    result.password = text("password");
    if (!result.username.empty()) return result;
    for (const char* key : {"identity_token", "identitytoken", "token"}) {
        result.identity_token = text(key);
        if (!result.identity_token.empty()) return result;
    }
    if (!text("auth").empty()) decode_auth(auth.at("auth"), result);
    return result;
}

TlsFiles read_tls(const Node& tls, const std::string& named) {
    TlsFiles result;
    if (tls.absent()) return result;
    (void)tls.object({"ca_file", "cert_file", "key_file", "insecure_skip_verify"});
    result.named = named;
    for (const auto& [key, field] :
         std::array<std::pair<const char*, std::string*>, 3>{{{"ca_file", &result.ca_file},
                                                              {"cert_file", &result.cert_file},
                                                              {"key_file", &result.key_file}}}) {
        if (!tls.at(key).absent()) *field = tls.at(key).text();
    }
    if (!tls.at("insecure_skip_verify").absent()) {
        result.insecure_skip_verify = tls.at("insecure_skip_verify").boolean();
    }
    if (result.cert_file.empty() != result.key_file.empty()) {
        throw tls.error("needs cert_file and key_file, or neither");
    }
    return result;
}

}  // namespace

Registries Registries::read(const std::filesystem::path& path) {
    const auto text =
        with_context("registries", [&path] { return fs::read_file(path, kMostFile); });
    return text ? parse(*text, path.string()) : Registries();
}

Registries Registries::parse(std::string_view text, std::string_view name) {
    const Json root = yaml::parse(text, name);
    Registries result;
    result.name_ = name;
    if (root.is_null()) return result;
    const Node file(result.name_ + ':', root);
    (void)file.object();
    for (const std::string_view field : {"mirrors", "configs"}) {
        const auto found = root.find(field);
        if (found == root.end() || found->is_null()) continue;
        const Node node(format("{}: {}", name, field), *found);
        for (const auto& [host, value] : node.object().items()) {
            check_host(node.at(host), host);
            field == "mirrors" ? result.read_mirror(host, value) : result.read_config(host, value);
        }
    }
    return result;
}

void Registries::read_mirror(const std::string& host, const Json& value) {
    const Node node(format("{}: mirrors.{}", name_, one_line(host)), value);
    Mirror& mirror = mirrors_[lower(host)];
    if (node.absent()) return;
    (void)node.object({"endpoint", "rewrite"});
    if (const Node list = node.at("endpoint"); !list.absent()) {
        for (const Json& one : list.list()) {
            std::string url = endpoint_url(
                {format("{}: mirrors.{}.endpoint[{}]", name_, one_line(host), mirror.urls.size()),
                 one});
            if (std::find(mirror.urls.begin(), mirror.urls.end(), url) == mirror.urls.end()) {
                mirror.urls.push_back(std::move(url));
            }
        }
    }
    if (const Node rewrites = node.at("rewrite"); !rewrites.absent()) {
        for (const auto& [pattern, replacement] : rewrites.object().items()) {
            const Node one = rewrites.at(pattern);
            try {
                check_pattern(pattern);
            } catch (const Error& error) {
                throw one.error(error.what());
            }
            mirror.rewrites.push_back({pattern, one.text()});
        }
    }
}

void Registries::read_config(const std::string& host, const Json& value) {
    const std::string path = format("{}: configs.{}", name_, one_line(host));
    const Node node(path, value);
    Config& config = configs_[lower(host)];
    if (node.absent()) return;
    (void)node.object({"auth", "tls"});
    config.credentials = read_auth(node.at("auth"));
    config.tls = read_tls(node.at("tls"), path + ".tls");
}

std::string Registries::rewritten(const std::string& key, const Mirror& mirror,
                                  const std::string& repository) const {
    // The first that changes anything, as in k3s; which has no order of its own.
    for (const auto& rewrite : mirror.rewrites) {
        const std::string where = format("{}: mirrors.{}.rewrite.{}", name_, excerpt(key, 100),
                                         excerpt(rewrite.pattern, 100));
        std::string result = with_context(
            where, [&] { return replace_all(repository, rewrite.pattern, rewrite.replacement); });
        if (result == repository) continue;
        if (!is_repository(result)) {
            throw Error(ErrorKind::invalid,
                        format("{}: makes '{}' of '{}', which is no image's name", where,
                               excerpt(result, 200), repository));
        }
        return result;
    }
    return repository;
}

Endpoint Registries::endpoint(const std::string& url) const {
    Endpoint result;
    result.url = url;
    const std::string host = host_of(url);
    std::vector<std::string> names{host};
    if (host == kDockerHubHost) names.insert(names.end(), {"docker.io", "index.docker.io"});
    for (const auto& name : names) {
        if (const auto found = configs_.find(name); found != configs_.end()) {
            result.credentials = found->second.credentials;
            result.tls = found->second.tls;
            return result;
        }
    }
    // containerd gives nobody the credentials of "*".
    if (const auto found = configs_.find("*"); found != configs_.end()) {
        result.tls = found->second.tls;
    }
    return result;
}

std::vector<Endpoint> Registries::endpoints(const Reference& reference) const {
    std::vector<Endpoint> result;
    const std::string own = format(
        "https://{}/v2", reference.registry == kDockerHub ? kDockerHubHost : reference.registry);
    auto mirror = mirrors_.find(reference.registry);
    if (mirror == mirrors_.end()) mirror = mirrors_.find("*");
    if (mirror != mirrors_.end()) {
        for (const std::string& url : mirror->second.urls) {
            if (url == own) continue;  // It comes last anyway, and is not rewritten.
            Endpoint one = endpoint(url);
            one.repository = rewritten(mirror->first, mirror->second, reference.repository);
            if (host_of(url) != host_of(own)) one.mirrored = reference.registry;
            result.push_back(std::move(one));
        }
    }
    Endpoint last = endpoint(own);
    last.repository = reference.repository;
    result.push_back(std::move(last));
    return result;
}

}  // namespace kua::oci
