// SPDX-License-Identifier: Apache-2.0
// Cordon, uncordon and label: what the agent changes on its own Node object.
#pragma once

#include <map>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/plan/marks.hpp"
#include "lib/kube/client.hpp"

namespace kua::node {

/// This node's own Node object. NodeRestriction lets a node change its own labels, annotations and
/// spec.unschedulable.
class OwnNode {
  public:
    OwnNode(kube::Client& client, std::string name) : client_(client), name_(std::move(name)) {}

    /// Reads it. Throws Error{invalid} when there is none, and what the client throws.
    [[nodiscard]] Json read(std::stop_token stop) const;

    /// spec.unschedulable=true and our annotation, in one patch. Safe to repeat.
    void cordon(const std::string& by, std::stop_token stop) const;

    /// Takes both back. Safe to repeat.
    void uncordon(std::stop_token stop) const;

    /// Sets annotations; an absent value removes one. Safe to repeat.
    void annotate(const std::map<std::string, std::optional<std::string>>& annotations,
                  std::stop_token stop) const;

    /// Sets labels; an absent value removes one. Safe to repeat.
    void label(const std::map<std::string, std::optional<std::string>>& labels,
               std::stop_token stop) const;

    /// Asks the API server whether it would let this node set the labels (a dry run). Throws what
    /// `label` would.
    void try_label(const std::map<std::string, std::optional<std::string>>& labels,
                   std::stop_token stop) const;

  private:
    void patch(const Json& body, std::string_view deed, const kube::Query& query,
               std::stop_token stop) const;

    kube::Client& client_;
    std::string name_;
};

/// True when the Node carries our annotation, whatever has become of the cordon.
bool marked_by_us(const Json& node);

/// True when an upgrade has left the Node cordoned, and it still is.
bool left_cordoned(const Json& node);

/// True when the Node is cordoned, and not by us.
bool cordoned_by_others(const Json& node);

/// True when somebody has uncordoned the Node that we had cordoned: `kubectl uncordon` leaves our
/// annotation behind, while we set and remove the two together.
bool uncordoned_by_others(const Json& node);

}  // namespace kua::node
