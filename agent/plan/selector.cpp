// SPDX-License-Identifier: Apache-2.0
#include "agent/plan/selector.hpp"

#include <algorithm>

#include "agent/plan/label.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::plan {

namespace {

/// labels.NewRequirement: what no label can be is a mistake, not a selector that matches nothing
/// (or, with NotIn, everything).
void check(const std::string& key, const std::vector<std::string>& values,
           const std::string& where) {
    if (const auto problem = label_key_problem(key)) {
        throw Error(ErrorKind::invalid,
                    format("{}: \"{}\": a label's key {}", where, excerpt(key, 80), *problem));
    }
    for (const auto& value : values) {
        if (const auto problem = label_value_problem(value)) {
            throw Error(ErrorKind::invalid, format("{}: \"{}\": a label's value {}", where,
                                                   excerpt(value, 80), *problem));
        }
    }
}

}  // namespace

Selector::Selector(const Json& selector, const std::string& field) {
    // One that is none must not become the empty one, which selects everything.
    if (!selector.is_object()) {
        throw Error(ErrorKind::invalid,
                    format("{}: must be a mapping, is {}", field, excerpt(selector.dump(), 80)));
    }
    if (const auto* labels = find(selector, {"matchLabels"})) {
        if (!labels->is_object()) {
            throw Error(ErrorKind::invalid, format("{}.matchLabels: must be a mapping, is {}",
                                                   field, excerpt(labels->dump(), 80)));
        }
        for (const auto& [key, value] : labels->items()) {
            if (!value.is_string()) {
                throw Error(ErrorKind::invalid, format("{}.matchLabels.{}: must be a text, is {}",
                                                       field, key, value.dump()));
            }
            requirements_.push_back({key, Operator::in, {value.get<std::string>()}});
            check(requirements_.back().key, requirements_.back().values,
                  format("{}.matchLabels", field));
        }
    }
    const auto* expressions = find(selector, {"matchExpressions"});
    if (expressions == nullptr) {
        return;
    }
    if (!expressions->is_array()) {
        throw Error(ErrorKind::invalid, format("{}.matchExpressions: must be a list, is {}", field,
                                               excerpt(expressions->dump(), 80)));
    }
    std::size_t index = 0;
    for (const auto& expression : *expressions) {
        const auto where = format("{}.matchExpressions[{}]", field, index++);
        Requirement requirement;
        requirement.key = string_at(expression, {"key"});
        if (requirement.key.empty()) {
            throw Error(ErrorKind::invalid, format("{}.key: missing", where));
        }
        if (const auto* values = find(expression, {"values"})) {
            for (const auto& value : *values) {
                requirement.values.push_back(value.is_string() ? value.get<std::string>()
                                                               : value.dump());
            }
        }
        const auto op = string_at(expression, {"operator"});
        const bool wants_values = op == "In" || op == "NotIn";
        if (op == "In") {
            requirement.op = Operator::in;
        } else if (op == "NotIn") {
            requirement.op = Operator::not_in;
        } else if (op == "Exists") {
            requirement.op = Operator::exists;
        } else if (op == "DoesNotExist") {
            requirement.op = Operator::does_not_exist;
        } else {
            throw Error(ErrorKind::invalid,
                        format("{}.operator: \"{}\" is none of In, NotIn, Exists, DoesNotExist",
                               where, op));
        }
        if (wants_values == requirement.values.empty()) {
            throw Error(ErrorKind::invalid,
                        format("{}.values: operator {} {}", where, op,
                               wants_values ? "wants at least one" : "takes none"));
        }
        check(requirement.key, requirement.values, where);
        requirements_.push_back(std::move(requirement));
    }
}

bool Selector::matches(const Labels& labels) const {
    return std::all_of(
        requirements_.begin(), requirements_.end(), [&](const Requirement& requirement) {
            const auto label = labels.find(requirement.key);
            const bool exists = label != labels.end();
            const auto has_value = [&] {
                return std::find(requirement.values.begin(), requirement.values.end(),
                                 label->second) != requirement.values.end();
            };
            switch (requirement.op) {
                case Operator::in:
                    return exists && has_value();
                case Operator::not_in:  // A missing label satisfies NotIn, as in Kubernetes.
                    return !exists || !has_value();
                case Operator::exists:
                    return exists;
                case Operator::does_not_exist:
                    return !exists;
            }
            return false;
        });
}

}  // namespace kua::plan
