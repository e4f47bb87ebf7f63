// SPDX-License-Identifier: Apache-2.0
// The steps of an upgrade that keep a server's data store as it was, and k3s stopped meanwhile.
#include <vector>

#include "agent/node/restart.hpp"
#include "agent/plan/version.hpp"
#include "agent/upgrade/upgrade.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/process.hpp"
#include "lib/log/log.hpp"

namespace kua::upgrade {

namespace {

/// k3s gives an upload to S3 five minutes.
constexpr Duration kLongestSnapshot{600'000};
/// systemd has the job then; a stopping agent need not see its end.
constexpr Duration kEnqueue{10'000};

bool is_there(const std::filesystem::path& path) {
    std::error_code code;
    return std::filesystem::exists(path, code);
}

}  // namespace

std::string Upgrade::version_in_place(const std::stop_token& stop) const {
    fs::Command command;
    command.program = record_.binary;
    command.arguments = {"--version"};
    // Without it k3s reads its configuration first, and ends when it can't.
    command.environment.emplace_back("K3S_CONFIG_FILE=/dev/null");
    try {
        if (const auto version = plan::parse_version_output(fs::run(command, stop).output)) {
            return version->text();
        }
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        log::warning(format("the version of {}: {}", record_.binary.string(), error.what()),
                     {{"plan", record_.plan}});
    }
    return record_.from_version;
}

std::filesystem::path Upgrade::snapshot_folder() const {
    return record_.snapshots.empty() ? node::default_snapshot_folder(record_.data_dir)
                                     : record_.snapshots;
}

node::Snapshots Upgrade::snapshots() const {
    return node::Snapshots(tools_.journal.path().parent_path());
}

void Upgrade::save_snapshot(const std::stop_token& stop) {
    const auto unit = tools_.units.state(record_.unit);
    if (!unit) {
        throw Error(ErrorKind::failed, record_.unit + " is gone");
    }
    const auto text = version_in_place(stop);
    const auto version = plan::parse_version(text);
    const auto saved =
        node::save_snapshot({record_.binary, record_.data_dir, snapshot_folder(),
                             record_.api_server, version && node::snapshot_takes_server(*version),
                             *unit, !version || node::snapshot_has_commands(*version)},
                            tools_.clock, within_deadline(kLongestSnapshot), stop);
    record_.copy = saved.file;
    if (saved.ours) {
        snapshots().add(saved.file, text);
    }
    journal(true);
    log::info(format("etcd as it was at {} is in the snapshot {}", text, record_.copy),
              {{"plan", record_.plan}, {"snapshot", record_.copy}});
}

void Upgrade::stop_k3s(const std::stop_token& stop) {
    note_heartbeat(stop);
    record_.stopped = true;
    try {
        journal(true);
    } catch (const Error&) {
        record_.stopped = false;
        throw;
    }
    node::stop_unit(tools_.units, tools_.clock, record_.unit, within_deadline(limits_.restart),
                    stop);
    node::wait_until_closed(tools_.units, tools_.clock, record_.unit,
                            within_deadline(limits_.restart), stop);
    node::sync_sqlite(record_.data_dir);
}

void Upgrade::copy_datastore(const std::stop_token& stop) {
    const auto ensure_stopped = [this, &stop] {
        const auto state = tools_.units.state(record_.unit);
        if (state && (state->main_pid != 0 || state->active_state == "activating")) {
            throw Error(ErrorKind::failed,
                        format("somebody has started {} while its data store was to be copied",
                               record_.unit));
        }
        node::wait_until_closed(tools_.units, tools_.clock, record_.unit, Duration::zero(), stop);
    };
    ensure_stopped();
    const auto version = version_in_place(stop);
    record_.copy = node::name_of_copy(record_.copies, tools_.clock.wall(), version);
    journal(true);
    node::copy_sqlite(record_.data_dir, record_.copy, stop);
    ensure_stopped();
    log::info(format("the data store as it was at {} is in {}", version, record_.copy),
              {{"plan", record_.plan}, {"copy", record_.copy}});
}

void Upgrade::discard_copy() {
    if (record_.copy.empty()) {
        return;
    }
    if (copies_sqlite()) {
        node::discard_copy(record_.copy);
    } else {
        snapshots().discard(record_.copy);
    }
    record_.copy.clear();
}

void Upgrade::discard_older_copies(bool failed) const {
    if (record_.copy.empty()) {
        return;
    }
    try {
        const node::Kept kept{release::kept_versions(places()), failed};
        if (copies_sqlite()) {
            node::discard_older_copies(record_.copy, kept);
        } else {
            snapshots().discard_older(snapshot_folder(), kept);
        }
    } catch (const std::exception& error) {
        log::warning(format("older copies of the data store stay: {}", error.what()),
                     {{"plan", record_.plan}});
    }
}

bool Upgrade::copies_sqlite() const {
    return record_.datastore == node::name_of(node::Datastore::sqlite);
}

void Upgrade::start_k3s(const std::stop_token& stop) {
    if (!record_.stopped) {
        return;
    }
    node::start_unit(tools_.units, tools_.clock, record_.unit, limits_.restart, stop);
    record_.stopped = false;
    // k3s writes its certificates anew when it starts.
    tools_.api.forget_credentials();
}

void Upgrade::leave_running() {
    if (!record_.stopped || !record_.restarted.empty()) {
        return;
    }
    log::warning(format("stopping while {} is stopped; starting it", record_.unit),
                 {{"plan", record_.plan}, {"step", record_.step}});
    try {
        tools_.units.start(record_.unit, kEnqueue, {});
    } catch (const Error& error) {
        log::warning(error.what(), {{"plan", record_.plan}});
    }
}

std::string Upgrade::way_back_in_words(const std::filesystem::path& old_binary) const {
    const auto db = record_.data_dir / "server" / "db";
    const bool has_copy = !record_.copy.empty() && is_there(record_.copy);
    const bool from_snapshot = has_copy && !copies_sqlite();
    std::vector<std::string> words;
    words.push_back(format("stop {}{}", record_.unit, from_snapshot ? " on all servers" : ""));
    if (has_copy && copies_sqlite()) {
        words.push_back(format("put the data store of {} (all files) in place of {}*", record_.copy,
                               (db / "state.db").string()));
    } else if (record_.server && !has_copy) {
        words.push_back("bring back a copy of the data store from before");
    }
    if (old_binary != record_.binary) {
        words.push_back(is_there(old_binary)
                            ? format("`cp -p {} {}`", old_binary.string(), record_.binary.string())
                            : format("put the k3s of {} in place of {}", record_.from_version,
                                     record_.binary.string()));
    }
    if (from_snapshot) {
        words.push_back(
            format("`{} server --data-dir {} --cluster-reset "
                   "--cluster-reset-restore-path={}`",
                   record_.binary.string(), record_.data_dir.string(), record_.copy));
    }
    words.push_back("start " + record_.unit);
    if (from_snapshot) {
        words.push_back(format("on each other server move {} away and start k3s", db.string()));
    }
    return join(words, ", ");
}

}  // namespace kua::upgrade
