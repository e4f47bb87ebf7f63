// SPDX-License-Identifier: Apache-2.0
// Any YAML, as every file that people write for the agent is read.
#include "lib/yaml/yaml.hpp"

#include "fuzz/fuzz.hpp"

using namespace kua;
using fuzz::require;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto text = fuzz::text_of(data, size);
    const auto value = fuzz::accepted([&] { return yaml::parse(text, "config.yaml"); });
    if (!value) {
        return 0;
    }
    // dump() throws for strings that are no UTF-8: messages show values by it.
    require(Json::parse(value->dump()) == *value, "a value can be written as JSON and read again");
    return 0;
}
