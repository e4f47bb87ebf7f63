// SPDX-License-Identifier: Apache-2.0
// Asks a channel which version is the latest.
#pragma once

#include <stop_token>
#include <string>

#include "agent/plan/version.hpp"
#include "lib/http/client.hpp"

namespace kua::channel {

/// What a channel said.
struct Answer {
    plan::Version version;   ///< Meaningless when `unchanged`.
    std::string etag;        ///< For the next question; empty when the channel gave none.
    bool unchanged = false;  ///< What was said with the ETag still holds (304).
};

/// One request of at most 15 s by SUC's rules (ResolveChannel): a 302's Location names the version
/// in its last path element, every other status from 200 to 399 the URL itself; redirects are not
/// followed. Different from SUC: the answer must be a k3s version (a captive portal's page must not
/// become one), and with an `etag` (of the last answer, may be empty) the channel may answer 304.
/// `latest` (the last known version as in status.latestVersion, may be empty) and `cluster_id` go
/// out in the headers X-SUC-Latest-Version and X-SUC-Cluster-ID. Throws Error{transient} when
/// nobody answers or with 429 or 5xx, Error{invalid} for every other answer.
Answer ask(http::Client& client, const std::string& url, const std::string& latest,
           const std::string& cluster_id, const std::string& etag, std::stop_token stop);

/// `ask` for who asks once: the version named now.
plan::Version resolve(http::Client& client, const std::string& url, const std::string& latest,
                      const std::string& cluster_id, std::stop_token stop);

}  // namespace kua::channel
