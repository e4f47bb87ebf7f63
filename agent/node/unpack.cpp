// SPDX-License-Identifier: Apache-2.0
#include "agent/node/unpack.hpp"

#include "agent/node/outside.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"

namespace kua::node {

void unpack_k3s(const std::filesystem::path& k3s, const std::filesystem::path& data_dir,
                Duration timeout, const std::stop_token& stop) {
    Outside outside;
    outside.description = "A release of k3s unpacks itself for k3s-upgrade-agent";
    outside.program = k3s;
    outside.arguments = {"--data-dir", data_dir.string(), "kubectl", "version", "--client"};
    // Where to is said; what else stands in k3s's configuration is nothing to kubectl.
    outside.environment = {"K3S_CONFIG_FILE=/dev/null", "HOME=/root"};
    outside.timeout = timeout;
    const auto unpacked = run_outside(outside, stop);
    if (!unpacked.succeeded()) {
        throw Error(ErrorKind::failed,
                    format("unpacking k3s into {}: `kubectl version` {}",
                           (data_dir / "data").string(), why_it_failed(unpacked, timeout)));
    }
    fs::sync_file_system(data_dir);
}

}  // namespace kua::node
