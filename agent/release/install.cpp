// SPDX-License-Identifier: Apache-2.0
#include "agent/release/install.hpp"

#include "agent/release/file_hash.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/attributes.hpp"
#include "lib/fs/files.hpp"
#include "lib/fs/process.hpp"
#include "lib/log/log.hpp"

namespace kua::release {

namespace {

/// The policy's label for the binary's path, for a `next` whose model has none.
void label_by_policy(const Places& places) {
    constexpr auto kTool = "/usr/sbin/matchpathcon";
    if (!fs::selinux_is_active() || fs::selinux_label(places.binary)) {
        return;
    }
    std::error_code code;
    if (!std::filesystem::exists(kTool, code)) {
        log::warning(
            format("{} has no SELinux label, and there is no {} to tell its default; see "
                   "that k3s may run it",
                   places.binary.string(), kTool));
        return;
    }
    fs::Command command;
    command.program = kTool;
    command.arguments = {"-n", places.binary.string()};
    const auto finished = fs::run(command);
    const std::string label(trim(finished.output));
    if (!finished.succeeded() || label.find(':') == std::string::npos) {
        log::warning(format("{} {}: no label (\"{}\")", kTool, places.binary.string(),
                            excerpt(finished.output + finished.errors, 100)));
        return;
    }
    fs::set_selinux_label(places.next, label);
}

std::string why_not_in(const std::filesystem::path& folder) {
    const auto reason = fs::why_not_writable(folder);
    if (!reason) {
        return {};
    }
    if (fs::is_immutable(folder)) {
        return format("{}: is immutable; k3s can't be replaced there: `chattr -i -a {}`",
                      folder.string(), folder.string());
    }
    return format(
        "{}: {}; k3s can't be replaced there: make it writable, for the agent too "
        "(ReadWritePaths={} in a drop-in for its unit)",
        folder.string(), *reason, folder.string());
}

std::string kept_prefix(const Places& places) {
    return (places.binary.parent_path() /
            ("." + places.binary.filename().string() + ".k3s-upgrade-agent.kept-"))
        .string();
}

}  // namespace

Places places(const std::filesystem::path& link) {
    std::error_code code;
    auto binary = std::filesystem::canonical(link, code);
    if (code) {
        binary = link;
    }
    const auto folder = binary.parent_path();
    const auto name = binary.filename().string();
    return {binary, folder / ("." + name + ".k3s-upgrade-agent.next"),
            folder / ("." + name + ".k3s-upgrade-agent.previous")};
}

std::string why_not(const Places& places, std::uint64_t size) {
    const auto folder = places.binary.parent_path();
    if (auto reason = why_not_in(folder); !reason.empty()) {
        return reason;
    }
    if (fs::is_immutable(places.binary)) {
        return format("{}: is immutable; k3s can't be replaced: `chattr -i -a {}`",
                      places.binary.string(), places.binary.string());
    }
    if (fs::is_noexec(folder)) {
        return format("{}: is mounted noexec, k3s could not be started there; remount it with exec",
                      folder.string());
    }
    const auto free = fs::free_bytes(folder);
    if (free < size) {
        return format("{}: {} are free, {} are needed; make room", folder.string(),
                      human_bytes(free), human_bytes(size));
    }
    return {};
}

void prepare(const Places& places, const std::filesystem::path& staged, const std::string& sha256) {
    discard_next(places);
    fs::copy_durably(staged, places.next);
    fs::copy_attributes(places.binary, places.next);
    label_by_policy(places);
    // What lies there now is what will be run: it is that file that must be right, not the one it
    // was copied from.
    if (const auto actual = hash_file(places.next); actual != sha256) {
        discard_next(places);
        throw Error(ErrorKind::failed, format("{}: SHA-256 is {} after copying, {} before",
                                              places.next.string(), actual, sha256));
    }
    fs::remove_durably(places.previous);
    fs::link_durably(places.binary, places.previous);
}

void swap(const Places& places, const std::string& sha256) {
    if (!std::filesystem::exists(places.next)) {
        if (hash_file(places.binary) == sha256) {
            return;
        }
        throw Error(ErrorKind::failed, format("{} is gone", places.next.string()));
    }
    if (const auto actual = hash_file(places.next); actual != sha256) {
        throw Error(ErrorKind::failed, format("{}: SHA-256 is {}, {} was verified",
                                              places.next.string(), actual, sha256));
    }
    fs::rename_durably(places.next, places.binary);
}

void restore(const Places& places) {
    if (std::filesystem::exists(places.previous)) {
        fs::rename_durably(places.previous, places.binary);
    }
}

std::filesystem::path kept(const Places& places, const std::string& version) {
    return kept_prefix(places) + version;
}

std::filesystem::path keep(const Places& places, const std::string& version) {
    auto name = kept(places, version);
    if (!std::filesystem::exists(name)) {
        fs::link_durably(places.previous, name);
    }
    return name;
}

std::set<std::string> kept_versions(const Places& places) {
    const auto prefix = kept_prefix(places);
    std::set<std::string> versions;
    for (const auto& entry : std::filesystem::directory_iterator(places.binary.parent_path())) {
        if (auto path = entry.path().string(); path.starts_with(prefix)) {
            versions.insert(path.substr(prefix.size()));
        }
    }
    return versions;
}

void discard_kept(const Places& places) {
    for (const auto& version : kept_versions(places)) {
        fs::remove_durably(kept(places, version));
    }
}

void discard_next(const Places& places) { fs::remove_durably(places.next); }

}  // namespace kua::release
