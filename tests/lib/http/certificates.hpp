// SPDX-License-Identifier: Apache-2.0
// Certificate authorities and certificates made on the spot, for tests that speak TLS.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace kua::test {

struct Identity {
    std::string certificate_pem;
    std::string key_pem;
};

/// Who the certificate is for. `names` go into the subject's alternative names: `127.0.0.1`,
/// `localhost`.
struct Subject {
    std::string common_name;
    std::string organization{};
    std::vector<std::string> names{};
    std::chrono::seconds valid_for{3600};  ///< From now; negative: expired since.
};

/// A certificate authority with a key of its own.
class Authority {
  public:
    explicit Authority(const std::string& common_name);
    [[nodiscard]] const std::string& pem() const { return self_.certificate_pem; }
    [[nodiscard]] Identity issue(const Subject& subject) const;

  private:
    Identity self_;
};

}  // namespace kua::test
