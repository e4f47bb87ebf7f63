// SPDX-License-Identifier: Apache-2.0
#include "agent/node/journal.hpp"

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"

namespace kua::node {

namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::size_t kMaxJournal = 1U << 20U;

}  // namespace

Json to_json(const Record& record) {
    return {{"format", kFormat},
            {"plan", record.plan},
            {"planUid", record.plan_uid},
            {"hash", record.hash},
            {"intent", record.intent.spec},
            {"intentLabels", record.intent.labels},
            {"version", record.version},
            {"fromVersion", record.from_version},
            {"step", record.step},
            {"cordon", record.cordon},
            {"foreignCordon", record.foreign_cordon},
            {"liftForeign", record.lift_foreign},
            {"role", record.role},
            {"unit", record.unit},
            {"binary", record.binary.string()},
            {"next", record.next.string()},
            {"previous", record.previous.string()},
            {"staged", record.staged.string()},
            {"sha256", record.sha256},
            {"prepared", record.prepared},
            {"stagedImages", record.staged_images.string()},
            {"imagesSha256", record.images_sha256},
            {"images", record.images.string()},
            {"imagesWereThere", record.images_were_there},
            {"heartbeat", record.heartbeat},
            {"restarted", record.restarted},
            {"started", record.started},
            {"labels", record.labels},
            {"delayMilliseconds", record.delay.count()},
            {"completed", record.completed},
            {"server", record.server},
            {"etcdMember", record.etcd_member},
            {"noApiServer", record.no_api_server},
            {"failure", record.failure},
            {"undone", record.undone},
            {"stays", record.stays},
            {"datastore", record.datastore},
            {"dataDir", record.data_dir.string()},
            {"copies", record.copies.string()},
            {"snapshots", record.snapshots.string()},
            {"apiServer", record.api_server},
            {"copy", record.copy},
            {"stopped", record.stopped},
            {"lastLines", record.last_lines}};
}

Record read_record(const Json& value, const std::string& name) {
    const auto format_number = int_at(value, {"format"});
    if (!format_number || *format_number != kFormat) {
        throw Error(
            ErrorKind::invalid,
            format("{}: format: {} is not {}, the only one this agent reads; a newer agent wrote "
                   "it: install that again",
                   name, format_number ? std::to_string(*format_number) : "(missing)", kFormat));
    }
    Record record;
    record.plan = string_at(value, {"plan"});
    record.plan_uid = string_at(value, {"planUid"});
    record.hash = string_at(value, {"hash"});
    record.intent = {string_at(value, {"intent"}), string_at(value, {"intentLabels"})};
    record.version = string_at(value, {"version"});
    record.from_version = string_at(value, {"fromVersion"});
    record.step = string_at(value, {"step"});
    record.cordon = bool_at(value, {"cordon"}, false);
    record.foreign_cordon = bool_at(value, {"foreignCordon"}, false);
    record.lift_foreign = bool_at(value, {"liftForeign"}, false);
    record.role = string_at(value, {"role"});
    record.unit = string_at(value, {"unit"});
    record.binary = string_at(value, {"binary"});
    record.next = string_at(value, {"next"});
    record.previous = string_at(value, {"previous"});
    record.staged = string_at(value, {"staged"});
    record.sha256 = string_at(value, {"sha256"});
    record.prepared = bool_at(value, {"prepared"}, true);
    record.staged_images = string_at(value, {"stagedImages"});
    record.images_sha256 = string_at(value, {"imagesSha256"});
    record.images = string_at(value, {"images"});
    record.images_were_there = bool_at(value, {"imagesWereThere"}, false);
    record.heartbeat = string_at(value, {"heartbeat"});
    record.restarted = string_at(value, {"restarted"});
    record.started = string_at(value, {"started"});
    if (const auto* labels = find(value, {"labels"})) {
        for (const auto& [key, label] : labels->items()) {
            record.labels[key] = label.is_string() ? label.get<std::string>() : std::string();
        }
    }
    record.delay = Duration(int_at(value, {"delayMilliseconds"}).value_or(0));
    record.completed = string_at(value, {"completed"});
    record.server = bool_at(value, {"server"}, false);
    record.etcd_member = bool_at(value, {"etcdMember"}, false);
    record.no_api_server = bool_at(value, {"noApiServer"}, false);
    record.failure = string_at(value, {"failure"});
    record.undone = string_at(value, {"undone"});
    record.stays = bool_at(value, {"stays"}, false);
    record.datastore = string_at(value, {"datastore"});
    record.data_dir = string_at(value, {"dataDir"});
    record.copies = string_at(value, {"copies"});
    record.snapshots = string_at(value, {"snapshots"});
    record.api_server = string_at(value, {"apiServer"});
    record.copy = string_at(value, {"copy"});
    record.stopped = bool_at(value, {"stopped"}, false);
    if (const auto* lines = find(value, {"lastLines"})) {
        for (const auto& line : *lines) {
            record.last_lines.push_back(line.is_string() ? line.get<std::string>() : std::string());
        }
    }
    if (record.plan.empty() || record.step.empty()) {
        throw Error(ErrorKind::invalid, format("{}: plan or step is missing", name));
    }
    return record;
}

void Journal::begin(const Record& record) const {
    fs::write_file(path_,
                   to_json(record).dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::optional<Record> Journal::read() const {
    const auto text = fs::read_file(path_, kMaxJournal);
    if (!text) {
        return std::nullopt;
    }
    return read_record(parse_json(*text, path_.string()), path_.string());
}

std::filesystem::path Journal::put_aside() const {
    auto aside = path_;
    aside += ".broken";
    fs::rename_durably(path_, aside);
    return aside;
}

void Journal::end() const { fs::remove_durably(path_); }

}  // namespace kua::node
