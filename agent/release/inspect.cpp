// SPDX-License-Identifier: Apache-2.0
#include "agent/release/inspect.hpp"

#include "agent/release/elf.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/log/log.hpp"
#include "lib/yaml/yaml.hpp"

namespace kua::release {

namespace {

constexpr Duration kVersionTimeout{20'000};
/// k3s unpacks itself for this, onto an SD card on the smallest hosts.
constexpr Duration kDateTimeout{120'000};

}  // namespace

Inspector::Inspector()
    : Inspector([](const std::filesystem::path& binary) { check_elf(binary); }, run_in_sandbox) {}

plan::Version Inspector::version(const std::filesystem::path& binary, std::stop_token stop) const {
    check_(binary);
    const auto finished = run_({binary, {"--version"}, kVersionTimeout}, std::move(stop));
    if (!finished.succeeded()) {
        throw Error(
            ErrorKind::invalid,
            format("{} --version {}: {}", binary.string(),
                   finished.timed_out     ? std::string("does not end")
                   : finished.signal != 0 ? format("was ended by signal {}", finished.signal)
                                          : format("ends with status {}", finished.exit_code),
                   excerpt(finished.errors, 200)));
    }
    const auto version = plan::parse_version_output(finished.output);
    if (!version) {
        throw Error(ErrorKind::invalid, format("{} --version says \"{}\", which is no k3s version",
                                               binary.string(), excerpt(finished.output, 80)));
    }
    return *version;
}

std::string Inspector::build_date(const std::filesystem::path& binary, std::stop_token stop) const {
    try {
        check_(binary);
        const auto finished =
            run_({binary, {"kubectl", "version", "--client", "-o", "yaml"}, kDateTimeout},
                 std::move(stop));
        if (!finished.succeeded()) {
            return {};
        }
        return string_at(yaml::parse(finished.output, binary.string() + " kubectl version"),
                         {"clientVersion", "buildDate"});
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        log::debug(format("the build date of {} is not known: {}", binary.string(), error.what()));
        return {};
    }
}

}  // namespace kua::release
