// SPDX-License-Identifier: Apache-2.0
// The real API server, reached through a proxy that the test can cut.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/http/curl_client.hpp"
#include "lib/kube/client.hpp"
#include "lib/kube/kubeconfig.hpp"
#include "tests/lib/kube/fixture.hpp"
#include "tests/lib/kube/tcp_proxy.hpp"

namespace kua::test {

/// `python3 -m tests.cluster control-plane --run …` sets these; without them there is nothing to
/// test against.
inline std::string environment(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
    return value;
}

/// A kubeconfig's credentials, written anew with the proxy as their server.
class ProxiedKubeconfig {
  public:
    ProxiedKubeconfig(const kube::Kubeconfig& original, int port) {
        folder_.write("ca", original.tls.ca_pem);
        use(original.tls.certificate_pem, original.tls.key_pem);
        folder_.write("config",
                      "clusters: [{name: c, cluster: {certificate-authority: ca, server: "
                      "'https://127.0.0.1:" +
                          std::to_string(port) +
                          "'}}]\nusers: [{name: u, user: {client-certificate: cert, client-key: "
                          "key}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n");
    }
    /// Replaces the client's certificate.
    void use(const std::string& certificate_pem, const std::string& key_pem) const {
        folder_.write("cert", certificate_pem);
        folder_.write("key", key_pem);
    }
    [[nodiscard]] std::filesystem::path path() const { return folder_.path() / "config"; }

  private:
    Folder folder_;
};

class KubeApi : public ::testing::Test {
  protected:
    KubeApi() {
        kube::Call call;
        call.method = "POST";
        call.path = "/api/v1/namespaces";
        call.body = {{"metadata", {{"generateName", "kube-api-test-"}}}};
        space_ = string_at(admin_direct_.must(call, {}), {"metadata", "name"});
    }

    static int port_of(const std::string& server) {
        return std::stoi(server.substr(server.rfind(':') + 1));
    }

    [[nodiscard]] std::string config_maps() const {
        return format("/api/v1/namespaces/{}/configmaps", space_);
    }

    /// Creates a ConfigMap with `data: {value: …}`, past the proxy.
    Json create(const std::string& name, const std::string& value) {
        kube::Call call;
        call.method = "POST";
        call.path = config_maps();
        call.body = {{"metadata", {{"name", name}}}, {"data", {{"value", value}}}};
        return admin_direct_.must(call, {});
    }
    Json change(const std::string& name, const std::string& value) {
        kube::Call call;
        call.method = "PATCH";
        call.path = config_maps() + "/" + name;
        call.content_type = kube::kMergePatch;
        call.body = {{"data", {{"value", value}}}};
        return admin_direct_.must(call, {});
    }
    void remove(const std::string& name) {
        kube::Call call;
        call.method = "DELETE";
        call.path = config_maps() + "/" + name;
        admin_direct_.must(call, {});
    }

    [[nodiscard]] std::string group() const { return space_ + ".example"; }
    [[nodiscard]] std::string widgets() const {
        return format("/apis/{}/v1/namespaces/{}/widgets", group(), space_);
    }
    /// Creates a CustomResourceDefinition; the API server serves it a moment later.
    /// `more`: of the definition's one version.
    void define_widgets(const Json& more = Json::object()) {
        kube::Call call;
        call.method = "POST";
        call.path = std::string(kDefinitions);
        call.body = Json::parse(R"({"spec":{"scope":"Namespaced",
            "names":{"plural":"widgets","singular":"widget","kind":"Widget","listKind":"WidgetList"},
            "versions":[{"name":"v1","served":true,"storage":true,
                         "schema":{"openAPIV3Schema":{"type":"object"}}}]}})");
        call.body["spec"]["group"] = group();
        call.body["spec"]["versions"][0].update(more);
        call.body["metadata"]["name"] = "widgets." + group();
        admin_direct_.must(call, {});
        defined_ = true;
    }
    void create_widget(const std::string& name) {
        kube::Call call;
        call.method = "POST";
        call.path = widgets();
        call.body = {
            {"apiVersion", group() + "/v1"}, {"kind", "Widget"}, {"metadata", {{"name", name}}}};
        admin_direct_.must(call, {});
    }

    /// The definition outlives the namespace; other programs use the same control plane.
    void TearDown() override {
        kube::Call call;
        call.method = "DELETE";
        if (defined_) {
            call.path = format("{}/widgets.{}", kDefinitions, group());
            admin_direct_.must(call, {});
        }
        call.path = "/api/v1/namespaces/" + space_;
        admin_direct_.must(call, {});
    }

    static constexpr std::string_view kDefinitions =
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    const kube::Kubeconfig admin_credentials_ = kube::read_kubeconfig(environment("KUBECONFIG"));
    const kube::Kubeconfig kubelet_credentials_ =
        kube::read_kubeconfig(environment("KUA_TEST_KUBELET_KUBECONFIG"));
    TcpProxy proxy_{port_of(admin_credentials_.server)};
    const ProxiedKubeconfig admin_files_{admin_credentials_, proxy_.port()};
    const ProxiedKubeconfig kubelet_files_{kubelet_credentials_, proxy_.port()};

    http::CurlClient http_direct_{{.proxy_from_environment = false}};
    kube::Client admin_direct_{http_direct_, environment("KUBECONFIG")};
    http::CurlClient http_{{.proxy_from_environment = false}};
    /// How many seconds later it is for the two clients below.
    std::atomic<int> later_ = 0;
    std::function<Monotonic()> now_ = [this] {
        return std::chrono::steady_clock::now() + std::chrono::seconds(later_);
    };
    /// Through the proxy.
    kube::Client admin_{http_, admin_files_.path(), now_};
    kube::Client kubelet_{http_, kubelet_files_.path(), now_};
    std::string space_;
    bool defined_ = false;
    Bell bell_;
};

}  // namespace kua::test
