// SPDX-License-Identifier: Apache-2.0
// The hash that tells one intent of a Plan from the next, computed the way
// system-upgrade-controller does.
#pragma once

#include <string>

#include "agent/plan/plan.hpp"

namespace kua::plan {

/// SUC's DigestStatus: SHA-224, in hex, over status.latestVersion (`latest_version`, already with
/// `-` for `+`), spec.serviceAccountName, and the text of each field that the annotation
/// `upgrade.cattle.io/digest` names, of the Plan as SUC writes it (`as_suc_writes`). The names go
/// through maps only (wrangler's data.GetValue): the number of an item in a list adds nothing. Of
/// `status` only latestVersion is what SUC hashes; the rest is what it is about to write. Plans
/// with Secrets that would be hashed too have a `problem` and no hash.
std::string latest_hash(const Plan& plan, const std::string& latest_version);

/// The text Go's fmt.Sprint gives for a decoded JSON value: what SUC feeds to the digest for a
/// named field.
std::string go_text(const Json& value);

}  // namespace kua::plan
