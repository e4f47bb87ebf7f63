// SPDX-License-Identifier: Apache-2.0
#include "agent/release/inspect.hpp"

#include <algorithm>
#include <iterator>

#include "agent/release/elf.hpp"
#include "agent/release/scratch.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/fs/files.hpp"
#include "lib/log/log.hpp"
#include "lib/yaml/yaml.hpp"

namespace kua::release {

namespace {

constexpr Duration kVersionTimeout{20'000};
/// k3s unpacks itself for this, onto an SD card on the smallest hosts.
constexpr Duration kUnpackTimeout{300'000};
/// k3s 1.20 to 1.36 unpack to some three and a half times their size.
constexpr std::uint64_t kUnpacksTo = 5;
constexpr auto kTrial = "trial-";
/// k3s reads its configuration before anything else: the host's may be readable to root alone, and
/// names the folder that is unpacked to.
constexpr auto kNoConfiguration = "K3S_CONFIG_FILE=/dev/null";

/// k3s says what it does, a line each, and last why it ends.
std::string_view telling_line(std::string_view errors) {
    const auto text = trim(errors);
    const auto fatal = text.rfind("level=fatal");
    const auto end = fatal == std::string_view::npos ? text.size() : text.find('\n', fatal);
    const auto line = text.substr(0, end);
    return line.substr(line.rfind('\n') + 1);
}

/// `folder` has another name each time, and a reason that changes with it would be told anew.
std::string without_folder(std::string text, const std::filesystem::path& folder) {
    const auto name = folder.filename().string();
    for (auto at = text.find(name); !name.empty() && at != std::string::npos;
         at = text.find(name, at)) {
        text.replace(at, name.size(), "…");
    }
    return text;
}

std::string why(const fs::Finished& finished, const std::filesystem::path& folder = {}) {
    const auto how = finished.timed_out     ? std::string("does not end")
                     : finished.signal != 0 ? format("was ended by signal {}", finished.signal)
                                            : format("ends with status {}", finished.exit_code);
    const auto said = without_folder(std::string(telling_line(finished.errors)), folder);
    return format("{}: {}", how, excerpt(said, 300));
}

std::uint64_t bytes_in(const std::filesystem::path& folder) {
    std::uint64_t sum = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
        if (entry.is_regular_file() && !entry.is_symlink()) {
            sum += entry.file_size();
        }
    }
    return sum;
}

void check_room(const std::filesystem::path& binary, const std::filesystem::path& folder) {
    const auto needed = std::filesystem::file_size(binary) * kUnpacksTo;
    const auto free = fs::free_bytes(folder);
    if (free < needed) {
        throw Error(ErrorKind::failed,
                    format("{}: {} are free, {} are needed to unpack k3s for a trial; make room",
                           folder.string(), human_bytes(free), human_bytes(needed)));
    }
}

std::string build_date_in(const std::string& output, const std::filesystem::path& binary) {
    try {
        return string_at(yaml::parse(output, binary.string() + " kubectl version"),
                         {"clientVersion", "buildDate"});
    } catch (const Error& error) {
        log::debug(format("the build date of {} is not known: {}", binary.string(), error.what()));
        return {};
    }
}

}  // namespace

Inspector::Inspector()
    : Inspector([](const std::filesystem::path& binary) { check_elf(binary); }, run_in_sandbox) {}

Inspector Inspector::of_installed() {
    const auto run = [](const Trial& trial, std::stop_token stop) {
        fs::Command command;
        command.program = trial.program;
        command.arguments = trial.arguments;
        std::ranges::copy(trial.environment, std::back_inserter(command.environment));
        command.timeout = trial.timeout;
        return fs::run(command, std::move(stop));
    };
    return {[](const std::filesystem::path& binary) { check_elf(binary); }, run};
}

plan::Version Inspector::version(const std::filesystem::path& binary, std::stop_token stop) const {
    check_(binary);
    const auto finished =
        run_({binary, {"--version"}, kVersionTimeout, {kNoConfiguration}}, std::move(stop));
    if (!finished.succeeded()) {
        throw Error(ErrorKind::invalid, format("{} --version {}", binary.string(), why(finished)));
    }
    const auto version = plan::parse_version_output(finished.output);
    if (!version) {
        throw Error(ErrorKind::invalid, format("{} --version says \"{}\", which is no k3s version",
                                               binary.string(), excerpt(finished.output, 80)));
    }
    return *version;
}

TriedOut Inspector::try_out(const std::filesystem::path& binary,
                            const std::filesystem::path& folder, std::stop_token stop) const {
    check_(binary);
    check_room(binary, folder);
    const Scratch scratch(folder, kTrial);
    std::filesystem::permissions(scratch.path(), std::filesystem::perms::all);
    const auto finished = run_({binary,
                                {"kubectl", "version", "--client", "-o", "yaml"},
                                kUnpackTimeout,
                                {kNoConfiguration},
                                scratch.path()},
                               std::move(stop));
    if (!finished.succeeded()) {
        const bool full = finished.errors.find("no space left on device") != std::string::npos;
        throw Error(full ? ErrorKind::failed : ErrorKind::invalid,
                    format("{} can't unpack itself and run: `kubectl version --client` {}{}",
                           binary.string(), why(finished, scratch.path()),
                           full ? "" : "; the file is damaged, whatever its checksum says"));
    }
    return {build_date_in(finished.output, binary), bytes_in(scratch.path())};
}

void Inspector::remove_leftovers(const std::filesystem::path& folder) {
    std::error_code code;
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
        if (entry.path().filename().string().starts_with(kTrial)) {
            found.push_back(entry.path());
        }
    }
    for (const auto& path : found) {
        std::filesystem::remove_all(path, code);
    }
}

}  // namespace kua::release
