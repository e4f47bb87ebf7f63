// SPDX-License-Identifier: Apache-2.0
// A Plan as system-upgrade-controller sees it: read into its Go types, and written again.
#pragma once

#include "lib/base/json.hpp"

namespace kua::plan {

/// What wrangler's data.Convert makes of a Plan that SUC v0.20.1 has read (its types, with those of
/// Kubernetes 1.36 in them). Fields that the Go types do not have are gone, so are those that
/// encoding/json leaves out when they are empty (`omitempty`); what it always writes is there; an
/// item of a list or a label that is null is Go's zero value; durations are in Go's words. A value
/// of another type than Go's stays as it is: SUC could not read such a Plan at all.
///
/// Not kept in step: a Quantity (`resourceFieldRef.divisor`) stays as it is written, where Go would
/// write `1000m` as `1`.
Json as_suc_writes(const Json& plan);

}  // namespace kua::plan
