// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/kubeconfig.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "lib/base/base64.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/crypto/certificate.hpp"
#include "lib/fs/files.hpp"
#include "lib/yaml/yaml.hpp"

namespace kua::kube {

namespace {

Error invalid(std::string_view what, std::string_view reason) {
    return {ErrorKind::invalid, format("{}: {}", what, reason)};
}

class Reader {
  public:
    explicit Reader(const std::filesystem::path& path)
        : path_(path), root_(yaml::parse_file(path)) {
        if (!root_.is_object()) throw invalid(path.string(), "is no kubeconfig");
    }

    // The entry `name` of the list `list` (clusters, users, contexts), of which `field` is what
    // counts.
    const Json& entry(const std::string& list, const std::string& name, const std::string& field) {
        const Json* entries = find(root_, {list});
        if (entries != nullptr && entries->is_array()) {
            for (const Json& one : *entries) {
                const Json* value = find(one, {field});
                if (string_at(one, {"name"}) == name && value != nullptr && value->is_object()) {
                    return *value;
                }
            }
        }
        throw invalid(path_.string(), format("{} holds no '{}'", list, excerpt(name, 80)));
    }

    const Json& context() {
        const std::string current = string_at(root_, {"current-context"});
        if (!current.empty()) return entry("contexts", current, "context");
        const Json* contexts = find(root_, {"contexts"});
        if (contexts == nullptr || !contexts->is_array() || contexts->size() != 1) {
            throw invalid(path_.string(), "current-context is missing");
        }
        return entry("contexts", string_at(contexts->front(), {"name"}), "context");
    }

    // The text that `field` names as a file, or `field`-data carries; `where` becomes the place it
    // came from.
    std::string text_of(const Json& object, const std::string& field, std::string* where) {
        const std::string data = string_at(object, {field + "-data"});
        if (!data.empty()) {
            *where = format("{}: {}-data", path_.string(), field);
            auto decoded = base64_decode(data);
            if (!decoded) throw invalid(*where, "is not base64");
            return *std::move(decoded);
        }
        const std::string name = string_at(object, {field});
        if (name.empty()) return {};
        return text_of_file(name, field, where);
    }

    std::string text_of_file(const std::string& name, const std::string& field,
                             std::string* where) {
        const std::filesystem::path file = path_.parent_path() / name;
        *where = format("{}: {} {}", path_.string(), field, excerpt(file.string(), 300));
        constexpr std::size_t kMost = 1U << 20U;
        try {
            auto text = fs::read_file(file, kMost);
            if (!text) throw invalid(*where, "there is no such file");
            return *std::move(text);
        } catch (const Error& error) {
            // Whatever fs calls it: until somebody changes a file, it will not get better.
            if (error.kind() == ErrorKind::invalid) throw;
            throw invalid(*where, excerpt(error.what(), 300));
        }
    }

    // What we cannot honour must not be passed over in silence.
    void refuse(const Json& object, std::initializer_list<const char*> fields) {
        for (const char* field : fields) {
            if (find(object, {field}) != nullptr) {
                throw invalid(path_.string(), format("{} is not supported", field));
            }
        }
    }

  private:
    const std::filesystem::path& path_;
    Json root_;
};

void check_certificate(const std::string& pem, const std::string& where) {
    const crypto::Certificate certificate = crypto::read_certificate(pem, where);
    if (certificate.not_after <= std::chrono::system_clock::now()) {
        throw invalid(where, format("the client certificate expired at {}; k3s writes a new one "
                                    "when its service is restarted",
                                    to_rfc3339(certificate.not_after)));
    }
}

}  // namespace

Kubeconfig read_kubeconfig(const std::filesystem::path& path) {
    Reader reader(path);
    const Json& context = reader.context();
    const Json& cluster = reader.entry("clusters", string_at(context, {"cluster"}), "cluster");
    const Json& user = reader.entry("users", string_at(context, {"user"}), "user");

    if (bool_at(cluster, {"insecure-skip-tls-verify"}, false)) {
        throw invalid(path.string(), "insecure-skip-tls-verify is not supported");
    }
    reader.refuse(cluster, {"proxy-url", "tls-server-name"});
    reader.refuse(user, {"exec", "auth-provider", "username", "password", "as"});

    Kubeconfig config;
    config.server = string_at(cluster, {"server"});
    while (config.server.ends_with('/')) config.server.pop_back();
    if (!config.server.starts_with("https://")) {
        throw invalid(path.string(),
                      format("server '{}' is not an https URL", excerpt(config.server, 200)));
    }

    std::string where;
    config.tls.ca_pem = reader.text_of(cluster, "certificate-authority", &where);
    if (!config.tls.ca_pem.empty()) (void)crypto::read_certificate(config.tls.ca_pem, where);

    config.tls.certificate_pem = reader.text_of(user, "client-certificate", &where);
    if (!config.tls.certificate_pem.empty()) check_certificate(config.tls.certificate_pem, where);
    config.tls.key_pem = reader.text_of(user, "client-key", &where);
    if (!config.tls.key_pem.empty() &&
        config.tls.key_pem.find("PRIVATE KEY-----") == std::string::npos) {
        throw invalid(where, "holds no private key");
    }
    if (config.tls.certificate_pem.empty() != config.tls.key_pem.empty()) {
        throw invalid(path.string(),
                      "client-certificate and client-key belong together; "
                      "one of them is missing");
    }

    config.token = string_at(user, {"token"});
    const std::string token_file = string_at(user, {"tokenFile"});
    if (!token_file.empty()) {
        config.token = trim(reader.text_of_file(token_file, "tokenFile", &where));
    }
    return config;
}

std::string node_name(const Kubeconfig& config, const std::filesystem::path& path) {
    constexpr std::string_view kPrefix = "system:node:";
    if (config.tls.certificate_pem.empty()) {
        throw invalid(path.string(), "carries no client certificate, so it names no node");
    }
    const crypto::Certificate certificate =
        crypto::read_certificate(config.tls.certificate_pem, path.string());
    const bool of_nodes =
        std::find(certificate.organizations.begin(), certificate.organizations.end(),
                  "system:nodes") != certificate.organizations.end();
    if (!of_nodes || !certificate.common_name.starts_with(kPrefix) ||
        certificate.common_name.size() == kPrefix.size()) {
        throw invalid(path.string(),
                      format("its client certificate is '{}', not a kubelet's (O = system:nodes, "
                             "CN = system:node:<name>)",
                             excerpt(certificate.common_name, 100)));
    }
    return certificate.common_name.substr(kPrefix.size());
}

}  // namespace kua::kube
