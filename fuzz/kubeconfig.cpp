// SPDX-License-Identifier: Apache-2.0
// A kubeconfig: the file that k3s writes, or whatever an administrator has made of it.
#include "lib/kube/kubeconfig.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "fuzz/fuzz.hpp"
#include "lib/base/unique_fd.hpp"

using namespace kua;
using fuzz::require;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const UniqueFd file(memfd_create("kubeconfig", MFD_CLOEXEC));
    require(file.get() >= 0 && write(file.get(), data, size) == static_cast<ssize_t>(size),
            "a file in memory can be written");
    // What it names is looked for beside it: there is nothing but other open files.
    const auto path = format("/proc/self/fd/{}", file.get());
    const auto config = fuzz::accepted([&] { return kube::read_kubeconfig(path); });
    if (!config) {
        return 0;
    }
    require(config->server.starts_with("https://") && !config->server.ends_with('/'),
            "the server is an https URL without a slash at its end");
    require(config->tls.certificate_pem.empty() == config->tls.key_pem.empty(),
            "certificate and key come together");
    const auto node = fuzz::accepted([&] { return kube::node_name(*config, path); });
    require(!node || !node->empty(), "a node has a name");
    return 0;
}
