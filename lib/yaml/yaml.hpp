// SPDX-License-Identifier: Apache-2.0
// YAML text to a JSON value, typed by YAML 1.2's core schema, bounded.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "lib/base/json.hpp"

namespace kua::yaml {

/// Parses one YAML document. `name` (a file's path) stands in messages. An empty document is null.
/// Plain scalars become null, booleans (true/false in YAML 1.2's spellings, so `yes` is a string),
/// integers, floats or strings; quoted ones and those tagged `!!str` are strings. Away from the
/// core schema on two points: `0755` is a string, because 1.1 and 1.2 read different numbers in it;
/// and so are `.inf` and `.nan`, which JSON can't carry. Anchors and aliases are followed, and so
/// is YAML 1.1's merge key, a plain `<<` (k3s's and Kubernetes' readers know it): a map's own keys
/// win, then those of the first map that is merged. Throws Error{invalid} with name, line and
/// column (`config.yaml:3:5: …`) for: bad syntax, bytes that are no UTF-8, more than one document,
/// a key twice, a key that is not a scalar, tags of other types, more than 1 MiB, aliases that
/// repeat more than that (a bomb's fuse), more than 100 levels.
Json parse(std::string_view text, std::string_view name);

/// Reads and parses a file. Throws Error{invalid} naming the file when it can't be read (with the
/// reason) or parsed.
Json parse_file(const std::filesystem::path& path);

}  // namespace kua::yaml
