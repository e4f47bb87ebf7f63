// SPDX-License-Identifier: Apache-2.0
#include "lib/oci/registries_file.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>

#include "lib/base/base64.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/http/url.hpp"
#include "lib/oci/rewrite.hpp"
#include "lib/yaml/yaml.hpp"

namespace kua::oci {

namespace {

constexpr std::size_t kMostProblems = 50;
constexpr std::size_t kMostShown = 200;

/// Where a key belongs; empty for a key of no section.
std::string_view home_of(std::string_view key) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 15> kHomes{{
        {"mirrors", "at the top level"},
        {"configs", "at the top level"},
        {"endpoint", "below mirrors.<registry>"},
        {"rewrite", "below mirrors.<registry>"},
        {"auth", "below configs.<registry>"},
        {"tls", "below configs.<registry>"},
        {"username", "below configs.<registry>.auth"},
        {"password", "below configs.<registry>.auth"},
        {"identity_token", "below configs.<registry>.auth"},
        {"identitytoken", "below configs.<registry>.auth"},
        {"token", "below configs.<registry>.auth"},
        {"ca_file", "below configs.<registry>.tls"},
        {"cert_file", "below configs.<registry>.tls"},
        {"key_file", "below configs.<registry>.tls"},
        {"insecure_skip_verify", "below configs.<registry>.tls"},
    }};
    for (const auto& [known, home] : kHomes) {
        if (key == known) return home;
    }
    return {};
}

/// One value of the file, that knows where it stands.
class Node {
  public:
    Node(std::string path, const Json& value) : path_(std::move(path)), value_(&value) {}

    [[nodiscard]] const std::string& path() const { return path_; }

    [[nodiscard]] Error error(std::string_view reason) const {
        return {ErrorKind::invalid, format("{} {}", path_, reason)};
    }

    [[nodiscard]] bool absent() const { return value_->is_null(); }

    [[nodiscard]] const Json& object() const {
        if (!value_->is_object()) throw error("must be a mapping" + shown());
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
        return {path_ + '.' + excerpt(key, kMostShown), found == value_->end() ? nothing : *found};
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

/// The registry that a key of `mirrors` or `configs` means.
struct Registry {
    enum class Written { plainly, otherwise, wrongly };

    std::string host;
    Written written;
};

Registry registry_of(const std::string& key) {
    using Written = Registry::Written;
    // The name of the folder that k3s writes for `*`, and containerd reads.
    if (key == "_default") return {"*", Written::otherwise};
    const auto scheme = key.find("://");
    std::string host = lower(scheme == std::string::npos ? key : key.substr(scheme + 3));
    const auto slash = host.find('/');
    host = host.substr(0, slash);
    if (scheme != std::string::npos || slash != std::string::npos || host.empty()) {
        return {std::move(host), Written::wrongly};
    }
    const Written written = host == key ? Written::plainly : Written::otherwise;
    return {std::move(host), written};
}

/// containerd's IsLocalhost, and a port that is not HTTPS's.
bool is_odd_port_here(std::string_view host) {
    const auto colon = host.rfind(':');
    if (colon == std::string_view::npos || colon < host.rfind(']') + 1) return false;
    const auto name = host.substr(0, colon);
    const auto port = host.substr(colon + 1);
    const bool here = name == "localhost" || name == "[::1]" ||
                      (name.starts_with("127.") &&
                       name.find_first_not_of("0123456789.") == std::string_view::npos &&
                       std::count(name.begin(), name.end(), '.') == 3);
    return here && !port.empty() && port != "443";
}

/// `https://mirror.lan:5000/v2` for what stands in the file.
std::string endpoint_url(const Node& node, const std::map<std::string, RegistryConfig>& configs) {
    const std::string text = node.text();
    const auto colon = text.find("://");
    const std::string rest = colon == std::string::npos ? text : text.substr(colon + 3);
    const auto slash = rest.find('/');
    std::string host = lower(rest.substr(0, slash));
    const std::string scheme = colon == std::string::npos
                                   ? std::string(default_scheme(host, configs))
                                   : lower(text.substr(0, colon));
    std::string path = slash == std::string::npos ? "" : rest.substr(slash);
    while (path.ends_with('/')) path.pop_back();
    if (host.find('@') != std::string::npos) {
        throw node.error("holds a user name: credentials belong below configs.<host>.auth");
    }
    if (host.empty() || rest.find_first_of("?#") != std::string::npos ||
        (scheme != "http" && scheme != "https")) {
        throw node.error(format("is not a registry's URL: '{}'", excerpt(text, kMostShown)));
    }
    if (host == kDockerHub) host = kDockerHubHost;
    std::string url = scheme + "://" + host + (path.empty() ? "/v2" : path);
    try {
        http::parse_url(url);
    } catch (const Error& error) {
        throw node.error(format("is not a registry's URL: {}", error.what()));
    }
    return url;
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

/// Reads on behind whatever is wrong, and remembers it.
class Reader {
  public:
    explicit Reader(std::string_view name) { file_.name = name; }

    RegistriesFile read(const Json& root) {
        if (root.is_null()) return std::move(file_);
        const Node top(file_.name + ':', root);
        (void)top.object();
        warn_of_other_keys(top, {"mirrors", "configs"});
        section("configs", root, file_.configs, [this](const Node& node, RegistryConfig& config) {
            config.credentials = read_auth(node.at("auth"));
            config.tls = read_tls(node.at("tls"));
            warn_of_other_keys(node, {"auth", "tls"});
        });
        // After the TLS settings, by which some endpoints' schemes are chosen.
        section("mirrors", root, file_.mirrors,
                [this](const Node& node, Mirror& mirror) { read_mirror(node, mirror); });
        if (unlisted_ > 0)
            file_.problems.push_back(format("{}: and {} more", file_.name, unlisted_));
        return std::move(file_);
    }

  private:
    /// What is wrong, for who needs what is left out.
    std::string problem(std::string reason, std::string_view left_out) {
        if (file_.problems.size() < kMostProblems) {
            file_.problems.push_back(format("{}; {}", reason, left_out));
        } else {
            ++unlisted_;
        }
        return reason;
    }

    void warn_of_other_keys(const Node& node, std::initializer_list<std::string_view> known) {
        for (const auto& [key, value] : node.object().items()) {
            if (std::find(known.begin(), known.end(), key) != known.end()) continue;
            const auto home = home_of(key);
            const std::string why =
                home.empty() ? format("has an unknown key '{}'; known are: {}", excerpt(key, 60),
                                      join({known.begin(), known.end()}, ", "))
                             : format("has a key '{}', which belongs {}", key, home);
            problem(node.error(why).what(), "the key is ignored");
        }
    }

    template <typename Entry, typename Read>
    void section(const std::string& field, const Json& root, std::map<std::string, Entry>& entries,
                 const Read& read) {
        static constexpr std::string_view kSkipped = "the entry is skipped";
        const auto found = root.find(field);
        if (found == root.end() || found->is_null()) return;
        const Node node(format("{}: {}", file_.name, field), *found);
        std::vector<std::pair<Registry, std::string>> keys;
        try {
            for (const auto& [key, value] : node.object().items()) {
                keys.emplace_back(registry_of(key), key);
            }
        } catch (const Error& error) {
            entries["*"].broken = problem(error.what(), "all of it is skipped");
        }
        // An entry in k3s's own words goes before one that is meant for the same registry.
        std::stable_sort(keys.begin(), keys.end(), [](const auto& one, const auto& other) {
            return one.first.written < other.first.written;
        });
        for (const auto& [registry, key] : keys) {
            const Node one = node.at(key);
            if (const auto home = home_of(key); !home.empty()) {
                problem(one.error(format("is at the wrong level: it belongs {}", home)).what(),
                        kSkipped);
                continue;
            }
            Entry entry;
            if (registry.written == Registry::Written::wrongly) {
                entry.broken =
                    problem(one.error(format("must be named by a registry's host or host:port, "
                                             "without a scheme or path{}",
                                             registry.host.empty()
                                                 ? ""
                                                 : ": " + excerpt(registry.host, kMostShown)))
                                .what(),
                            kSkipped);
            } else if (entries.contains(registry.host)) {
                problem(one.error(format("means {} as another entry does",
                                         excerpt(registry.host, kMostShown)))
                            .what(),
                        kSkipped);
            } else if (!one.absent()) {
                try {
                    (void)one.object();
                    read(one, entry);
                } catch (const Error& error) {
                    entry = {};
                    entry.broken = problem(error.what(), kSkipped);
                }
            }
            entries.try_emplace(registry.host, std::move(entry));
        }
    }

    void read_mirror(const Node& node, Mirror& mirror) {
        warn_of_other_keys(node, {"endpoint", "rewrite"});
        std::string broken;
        if (const Node list = node.at("endpoint"); !list.absent()) {
            std::size_t index = 0;
            for (const Json& one : list.list()) {
                try {
                    std::string url =
                        endpoint_url({format("{}[{}]", list.path(), index++), one}, file_.configs);
                    if (std::find(mirror.urls.begin(), mirror.urls.end(), url) ==
                        mirror.urls.end()) {
                        mirror.urls.push_back(std::move(url));
                    }
                } catch (const Error& error) {
                    broken = problem(error.what(), "the endpoint is skipped");
                }
            }
        }
        if (mirror.urls.empty()) mirror.broken = std::move(broken);
        if (const Node rewrites = node.at("rewrite"); !rewrites.absent()) {
            for (const auto& [pattern, replacement] : rewrites.object().items()) {
                const Node one = rewrites.at(pattern);
                try {
                    with_context(one.path(), [&, &text = pattern] { check_pattern(text); });
                    mirror.rewrites.push_back({pattern, one.text()});
                } catch (const Error& error) {
                    problem(error.what(), "the rewrite is skipped");
                }
            }
        }
    }

    Credentials read_auth(const Node& auth) {
        Credentials result;
        if (auth.absent()) return result;
        warn_of_other_keys(
            auth, {"username", "password", "auth", "identity_token", "identitytoken", "token"});
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

    TlsFiles read_tls(const Node& tls) {
        TlsFiles result;
        if (tls.absent()) return result;
        warn_of_other_keys(tls, {"ca_file", "cert_file", "key_file", "insecure_skip_verify"});
        result.named = tls.path();
        for (const auto& [key, field] : std::array<std::pair<const char*, std::string*>, 3>{
                 {{"ca_file", &result.ca_file},
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

    RegistriesFile file_;
    std::size_t unlisted_ = 0;
};

}  // namespace

std::string_view default_scheme(const std::string& host,
                                const std::map<std::string, RegistryConfig>& configs) {
    const auto config = configs.find(host);
    if (config != configs.end() && !config->second.tls.named.empty()) return "https";
    return is_odd_port_here(host) ? "http" : "https";
}

RegistriesFile parse_registries_file(std::string_view text, std::string_view name) {
    return Reader(name).read(yaml::parse(text, name));
}

}  // namespace kua::oci
