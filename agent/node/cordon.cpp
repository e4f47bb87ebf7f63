// SPDX-License-Identifier: Apache-2.0
#include "agent/node/cordon.hpp"

#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"

namespace kua::node {

namespace {

Json patch_of(const char* field, const std::map<std::string, std::optional<std::string>>& values) {
    Json changes = Json::object();
    for (const auto& [key, value] : values) {
        changes[key] = value ? Json(*value) : Json(nullptr);
    }
    return {{"metadata", {{field, std::move(changes)}}}};
}

}  // namespace

Json OwnNode::read(std::stop_token stop) const {
    auto node = client_.get(kube::node_path(name_), std::move(stop));
    if (!node) {
        throw Error(ErrorKind::invalid,
                    format("Node {} does not exist; it appears when k3s has registered it", name_));
    }
    return std::move(*node);
}

void OwnNode::cordon(const std::string& by, std::stop_token stop) const {
    patch({{"metadata", {{"annotations", {{plan::kCordonedBy, by}}}}},
           {"spec", {{"unschedulable", true}}}},
          "cordoning", {}, std::move(stop));
}

void OwnNode::uncordon(std::stop_token stop) const {
    patch({{"metadata", {{"annotations", {{plan::kCordonedBy, nullptr}}}}},
           {"spec", {{"unschedulable", nullptr}}}},
          "uncordoning", {}, std::move(stop));
}

void OwnNode::annotate(const std::map<std::string, std::optional<std::string>>& annotations,
                       std::stop_token stop) const {
    patch(patch_of("annotations", annotations), "annotating", {}, std::move(stop));
}

void OwnNode::label(const std::map<std::string, std::optional<std::string>>& labels,
                    std::stop_token stop) const {
    patch(patch_of("labels", labels), "labelling", {}, std::move(stop));
}

void OwnNode::try_label(const std::map<std::string, std::optional<std::string>>& labels,
                        std::stop_token stop) const {
    patch(patch_of("labels", labels), "labelling", {{"dryRun", "All"}}, std::move(stop));
}

void OwnNode::patch(const Json& body, std::string_view deed, const kube::Query& query,
                    std::stop_token stop) const {
    kube::Call call;
    call.method = "PATCH";
    call.path = kube::node_path(name_);
    call.query = query;
    call.content_type = kube::kMergePatch;
    call.body = body;
    const auto answer = client_.call(call, std::move(stop));
    if (!answer.ok()) {
        throw kube::refusal(answer, format("{} Node {}", deed, name_));
    }
}

bool marked_by_us(const Json& node) {
    return kube::annotations_of(node).contains(plan::kCordonedBy);
}

bool left_cordoned(const Json& node) {
    return !plan::left_cordoned_by(kube::annotations_of(node), kube::is_unschedulable(node))
                .empty();
}

bool cordoned_by_others(const Json& node) {
    return kube::is_unschedulable(node) && !marked_by_us(node);
}

bool uncordoned_by_others(const Json& node) {
    return !kube::is_unschedulable(node) && marked_by_us(node);
}

}  // namespace kua::node
