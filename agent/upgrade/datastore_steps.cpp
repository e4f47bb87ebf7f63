// SPDX-License-Identifier: Apache-2.0
// The steps of an upgrade that keep a server's data store as it was, and k3s stopped meanwhile.
#include <algorithm>

#include "agent/node/restart.hpp"
#include "agent/upgrade/upgrade.hpp"
#include "lib/base/format.hpp"
#include "lib/kube/objects.hpp"
#include "lib/log/log.hpp"

namespace kua::upgrade {

namespace {

/// k3s gives an upload to S3 five minutes.
constexpr Duration kLongestSnapshot{600'000};
/// systemd has the job then; a stopping agent need not see its end.
constexpr Duration kEnqueue{10'000};

/// For a name that sorts by time.
std::string compact(const std::string& rfc3339) {
    auto text = rfc3339;
    std::erase(text, ':');
    return text;
}

}  // namespace

void Upgrade::save_snapshot(const std::stop_token& stop) {
    const auto unit = tools_.units.state(record_.unit);
    if (!unit) {
        throw Error(ErrorKind::failed, record_.unit + " is gone");
    }
    record_.copy = node::save_snapshot({record_.binary, record_.data_dir, *unit}, kCopies,
                                       within_deadline(kLongestSnapshot), stop);
    log::info(
        format("etcd as it was at {} is in the snapshot {}", record_.from_version, record_.copy),
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
}

void Upgrade::copy_datastore(const std::stop_token& stop) {
    const auto ensure_stopped = [this] {
        const auto state = tools_.units.state(record_.unit);
        if (state && (state->main_pid != 0 || state->active_state == "activating")) {
            throw Error(ErrorKind::failed,
                        format("somebody has started {} while its data store was to be copied",
                               record_.unit));
        }
    };
    ensure_stopped();
    record_.copy = record_.copies /
                   format("{}-{}", compact(to_rfc3339(tools_.clock.wall())), record_.from_version);
    journal(true);
    node::copy_sqlite(record_.data_dir, record_.copy, stop);
    ensure_stopped();
    log::info(format("the data store as it was at {} is in {}", record_.from_version, record_.copy),
              {{"plan", record_.plan}, {"copy", record_.copy}});
}

void Upgrade::discard_copy() {
    if (copies_sqlite() && !record_.copy.empty()) {
        node::discard_copy(record_.copy);
        record_.copy.clear();
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
    const auto binary = format("`cp -p {} {}`", old_binary.string(), record_.binary.string());
    if (record_.copy.empty()) {
        return format("stop {}, bring back a copy of the data store from before, {}, start {}",
                      record_.unit, binary, record_.unit);
    }
    if (copies_sqlite()) {
        return format("stop {}, put the data store of {} (all files) in place of {}*, {}, start {}",
                      record_.unit, record_.copy,
                      (record_.data_dir / "server" / "db" / "state.db").string(), binary,
                      record_.unit);
    }
    return format(
        "stop {} on all servers, {}, `{} server --cluster-reset --cluster-reset-restore-path=` "
        "with the path of etcd's snapshot {}, start {}",
        record_.unit, binary, record_.binary.string(), record_.copy, record_.unit);
}

}  // namespace kua::upgrade
