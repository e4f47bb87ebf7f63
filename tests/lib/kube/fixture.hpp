// SPDX-License-Identifier: Apache-2.0
// A kubeconfig in a folder of its own, as k3s writes it for its kubelet, and what tests do with it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>

#include "lib/base/error.hpp"
#include "tests/lib/http/certificates.hpp"

namespace kua::test {

/// A new folder, removed with all that is in it.
class Folder {
  public:
    Folder() {
        std::string name =
            (std::filesystem::temp_directory_path() / "kua-kube-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
        path_ = name;
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    std::filesystem::path write(const std::string& name, const std::string& text) const {
        std::ofstream(path_ / name) << text;
        return path_ / name;
    }

  private:
    std::filesystem::path path_;
};

/// k3s's files: kubelet.kubeconfig, server-ca.crt, client-kubelet.crt, client-kubelet.key.
class KubeletFiles {
  public:
    explicit KubeletFiles(const std::string& server = "https://127.0.0.1:6443") {
        folder_.write("server-ca.crt", authority_.pem());
        issue(std::chrono::hours(1));
        const std::string at = folder_.path().string() + "/";
        folder_.write(
            "kubelet.kubeconfig",
            "apiVersion: v1\nclusters:\n- cluster:\n    server: " + server +
                "\n    certificate-authority: " + at +
                "server-ca.crt\n  name: local\ncontexts:\n- context:\n    cluster: local\n"
                "    namespace: default\n    user: user\n  name: Default\n"
                "current-context: Default\nkind: Config\npreferences: {}\nusers:\n"
                "- name: user\n  user:\n    client-certificate: " +
                at + "client-kubelet.crt\n    client-key: " + at + "client-kubelet.key\n");
    }

    [[nodiscard]] std::filesystem::path path() const {
        return folder_.path() / "kubelet.kubeconfig";
    }
    [[nodiscard]] const Folder& folder() const { return folder_; }
    [[nodiscard]] const Authority& authority() const { return authority_; }

    /// Writes another certificate and key, as k3s does when it starts.
    Identity issue(std::chrono::seconds valid_for, const std::string& name = "system:node:node-1",
                   const std::string& organization = "system:nodes") const {
        Identity identity = authority_.issue({name, organization, {}, valid_for});
        folder_.write("client-kubelet.crt", identity.certificate_pem);
        folder_.write("client-kubelet.key", identity.key_pem);
        return identity;
    }

  private:
    Folder folder_;
    Authority authority_{"k3s-server-ca"};
};

/// The Error that `action` throws; a test failure when it throws none.
template <typename Action>
Error error_of(Action&& action) {
    try {
        action();
    } catch (const Error& error) {
        return error;
    }
    ADD_FAILURE() << "no Error was thrown";
    return {ErrorKind::failed, ""};
}

/// Waits, without polling, for something that a callback announces.
class Bell {
  public:
    void ring() {
        const std::lock_guard lock(mutex_);
        ++rings_;
        rung_.notify_all();
    }
    /// True as soon as `condition` is, looked at now and after every ring; false after `limit`.
    template <typename Condition>
    bool wait(Condition condition, std::chrono::seconds limit = std::chrono::seconds(60)) {
        const auto deadline = std::chrono::steady_clock::now() + limit;
        for (;;) {
            int seen = 0;
            {
                const std::lock_guard lock(mutex_);
                seen = rings_;
            }
            if (condition()) return true;
            std::unique_lock lock(mutex_);
            if (!rung_.wait_until(lock, deadline, [&] { return rings_ != seen; })) return false;
        }
    }

  private:
    std::mutex mutex_;
    std::condition_variable rung_;
    int rings_ = 0;
};

}  // namespace kua::test
