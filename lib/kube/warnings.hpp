// SPDX-License-Identifier: Apache-2.0
// What an API server has to remark on requests that it serves: deprecated versions, unknown fields.
#pragma once

#include <cstddef>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kua::kube {

/// The texts of a Warning header's values with code 299, the only one that Kubernetes uses
/// (RFC 7234, 5.5: `299 - "text"`, with a date behind it or without, several between commas; KEP
/// 1693). Escapes are resolved; what is malformed is left out, and so is an empty text.
std::vector<std::string> parse_warnings(std::string_view header);

/// Logs each text once in its lifetime. May be used from several threads at once.
class Warnings {
  public:
    /// `header`: of the answer to `request` ("PATCH /api/v1/nodes/a"); may be empty.
    void hear(std::string_view header, std::string_view request);

  private:
    /// Texts may name objects: who reads the log has seen enough by then.
    static constexpr std::size_t kMost = 100;

    std::mutex mutex_;
    std::set<std::string> said_;
};

}  // namespace kua::kube
