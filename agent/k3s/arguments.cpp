// SPDX-License-Identifier: Apache-2.0
#include "agent/k3s/arguments.hpp"

#include <algorithm>
#include <filesystem>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/yaml/yaml.hpp"

namespace kua::k3s {

namespace {

constexpr auto kConfigFile = "/etc/rancher/k3s/config.yaml";
constexpr auto kConfigVariable = "K3S_CONFIG_FILE";
constexpr auto kUnitsArguments = "the unit's arguments";

bool is_command(std::string_view word) { return word == "server" || word == "agent"; }

/// `--data-dir` or `-d`, without its dashes; empty for what is no flag. Go's flags may have one
/// dash or two.
std::string_view flag_of(std::string_view word) {
    if (!word.starts_with('-')) {
        return {};
    }
    word.remove_prefix(word.starts_with("--") ? 2 : 1);
    return word;
}

std::string text_of(const Json& value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string config_file(const std::vector<std::string>& words,
                        const systemd::Environment& environment) {
    if (const auto named = environment.find(kConfigVariable); named != environment.end()) {
        return named->second;
    }
    std::string file = kConfigFile;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const auto flag = flag_of(words[i]);
        for (const std::string_view name : {"config", "c"}) {
            if (flag == name && i + 1 < words.size()) {
                file = words[i + 1];
            } else if (flag.starts_with(std::string(name) + "=")) {
                file = flag.substr(name.size() + 1);
            }
        }
    }
    return file;
}

std::vector<std::string> files_beside(const std::string& config) {
    std::vector<std::string> files;
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator(config + ".d", code)) {
        const auto ending = entry.path().extension();
        if (ending == ".yaml" || ending == ".yml") {
            files.push_back(entry.path().string());
        }
    }
    std::ranges::sort(files);
    return files;
}

}  // namespace

Arguments::Arguments(std::vector<std::string> words, const systemd::Environment& environment)
    : words_(std::move(words)) {
    const auto config = config_file(words_, environment);
    add_file(config);
    for (const auto& file : files_beside(config)) {
        add_file(file);
    }
    add_words(words_, kUnitsArguments);
}

std::optional<Arguments> Arguments::of_node(const std::string& node_args) {
    constexpr auto kName = "the annotation k3s.io/node-args";
    try {
        const auto list = parse_json(node_args, kName);
        Arguments arguments;
        for (const auto& word : list) {
            arguments.words_.push_back(text_of(word));
        }
        arguments.add_words(arguments.words_, kName);
        return list.is_array() ? std::optional(std::move(arguments)) : std::nullopt;
    } catch (const Error&) {
        return std::nullopt;
    }
}

void Arguments::add_words(const std::vector<std::string>& words, const std::string& where) {
    for (std::size_t i = 0; i < words.size(); ++i) {
        const auto flag = flag_of(words[i]);
        if (flag.empty()) {
            continue;
        }
        const auto equals = flag.find('=');
        if (equals != std::string_view::npos) {
            entries_.push_back(
                {std::string(flag.substr(0, equals)), std::string(flag.substr(equals + 1)), where});
        } else {
            // Whether the next word is its value only k3s knows: it counts for those who ask for
            // one.
            const bool has_next = i + 1 < words.size() && flag_of(words[i + 1]).empty();
            entries_.push_back({std::string(flag), has_next ? words[i + 1] : std::string(), where});
        }
    }
}

void Arguments::add_file(const std::string& path) {
    std::error_code code;
    if (!std::filesystem::exists(path, code) || !std::filesystem::is_regular_file(path, code)) {
        return;
    }
    const auto file = with_context("k3s's configuration", [&] { return yaml::parse_file(path); });
    if (file.is_null()) {
        return;
    }
    if (!file.is_object()) {
        throw Error(ErrorKind::invalid,
                    format("k3s's configuration {}: must be a mapping of flags to values, is {}",
                           path, file.type_name()));
    }
    for (const auto& [key, value] : file.items()) {
        const bool adds = key.ends_with('+');
        const auto name = adds ? key.substr(0, key.size() - 1) : key;
        const auto add = [&, &named = name](const Json& one) {
            entries_.push_back({named, text_of(one), path, adds});
        };
        if (value.is_array()) {
            std::ranges::for_each(value, add);
        } else if (!value.is_null()) {
            add(value);
        }
    }
}

std::string Arguments::command() const {
    const auto found = std::ranges::find_if(words_, is_command);
    return found == words_.end() ? std::string() : *found;
}

std::vector<const Arguments::Entry*> Arguments::counting(
    std::initializer_list<std::string_view> names) const {
    std::vector<const Entry*> found;
    for (const auto& entry : entries_) {
        if (std::ranges::find(names, entry.name) == names.end()) {
            continue;
        }
        if (!entry.adds && !found.empty() && found.back()->where != entry.where) {
            found.clear();
        }
        found.push_back(&entry);
    }
    return found;
}

std::optional<Told> Arguments::value(std::initializer_list<std::string_view> names) const {
    const auto found = counting(names);
    if (found.empty() || found.back()->value.empty()) {
        return std::nullopt;
    }
    return Told{found.back()->value, found.back()->where};
}

std::vector<std::string> Arguments::values(std::string_view name) const {
    std::vector<std::string> texts;
    for (const auto* const entry : counting({name})) {
        texts.push_back(entry->value);
    }
    return texts;
}

bool Arguments::is_set(std::string_view name) const {
    const auto found = counting({name});
    return !found.empty() && found.back()->value != "false" && found.back()->value != "0";
}

}  // namespace kua::k3s
