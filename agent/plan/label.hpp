// SPDX-License-Identifier: Apache-2.0
// Kubernetes' rules for labels: what a key and a value may look like, and which a node may give
// itself.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kua::plan {

/// What is wrong with a label's key, for the end of a sentence; absent when nothing is
/// (IsQualifiedName: a name of 1 to 63 characters, with a DNS subdomain and a slash before it or
/// without).
std::optional<std::string> label_key_problem(std::string_view key);

/// The same for a value (IsValidLabelValue: at most 63 characters, or none at all).
std::optional<std::string> label_value_problem(std::string_view value);

/// True when a node's own certificate may put this label on its node: the admission plugin
/// NodeRestriction refuses node-restriction.kubernetes.io, and all of kubernetes.io and k8s.io but
/// the kubelet's own labels.
bool node_may_set(std::string_view key);

}  // namespace kua::plan
