// SPDX-License-Identifier: Apache-2.0
// What k3s was told on this host: its command line, its configuration files and its environment,
// with k3s's own precedence.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.hpp"
#include "lib/systemd/environment.hpp"

namespace kua::k3s {

/// A setting's value, and where it stands.
struct Told {
    std::string value;
    std::string where;  ///< `the unit's arguments`, `/etc/rancher/k3s/config.yaml`
};

/// The rules are k3s's (pkg/configfilearg): an argument of the command line wins over
/// `<config>.d/*.yaml`, of which a later one wins, over the configuration file; a list in one place
/// replaces the lists of the places behind it, but for a key that ends in `+`, which adds to them.
/// The configuration file is K3S_CONFIG_FILE's, or else `--config`'s, or else
/// /etc/rancher/k3s/config.yaml.
class Arguments {
  public:
    /// `words`: the command line without argv[0], environment expanded. Reads the configuration
    /// files. Throws Error{invalid} naming the file for one that k3s could not read either.
    Arguments(std::vector<std::string> words, const systemd::Environment& environment);

    /// What k3s says of itself on its Node, the annotation `k3s.io/node-args`: a JSON list with the
    /// configuration files' values in it. Absent for what is no such list.
    static std::optional<Arguments> of_node(const std::string& node_args);

    /// `server` or `agent`; empty when neither stands there. k3s takes flags of its own before it
    /// (`k3s --debug server`).
    [[nodiscard]] std::string command() const;

    /// The value of a flag by any of its names, without dashes; absent when nobody gives it.
    [[nodiscard]] std::optional<Told> value(std::initializer_list<std::string_view> names) const;

    /// All values of a flag that may be given several times; those of the place that wins.
    [[nodiscard]] std::vector<std::string> values(std::string_view name) const;

    /// Whether a flag without a value is set.
    [[nodiscard]] bool is_set(std::string_view name) const;

  private:
    struct Entry {
        std::string name;
        std::string value;
        std::string where;
        bool adds = false;
    };

    Arguments() = default;
    void add_words(const std::vector<std::string>& words, const std::string& where);
    void add_file(const std::string& path);
    /// Entries of `names` in the places that count, what wins last.
    [[nodiscard]] std::vector<const Entry*> counting(
        std::initializer_list<std::string_view> names) const;

    std::vector<std::string> words_;
    std::vector<Entry> entries_;  ///< The place that wins comes last.
};

}  // namespace kua::k3s
