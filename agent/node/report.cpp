// SPDX-License-Identifier: Apache-2.0
#include "agent/node/report.hpp"

#include <unistd.h>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/fs/files.hpp"
#include "lib/log/log.hpp"
#include "lib/systemd/notify.hpp"

namespace kua::node {

namespace {

constexpr unsigned kReadableByAll =
    0644;  // Nothing secret is in it, and `status` is for everybody on the host.

/// A message may be what some program printed: what is no UTF-8 in it is replaced.
std::string as_text(const Json& value, int indent) {
    return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

void write_quietly(const std::filesystem::path& path, const Json& value) {
    try {
        fs::write_file(path, as_text(value, 2) + "\n", kReadableByAll);
    } catch (const Error& error) {
        log::warning(format("the status could not be written: {}", error.what()));
    }
}

}  // namespace

Json to_json(const Status& status) {
    return {{"agentVersion", KUA_VERSION},
            {"pid", getpid()},
            {"node", status.node},
            {"unit", status.unit},
            {"version", status.version},
            {"phase", status.phase},
            {"plan", status.plan},
            {"target", status.target},
            {"percent", status.percent ? Json(*status.percent) : Json(nullptr)},
            {"message", status.message},
            {"coordinator", status.coordinator}};
}

Json to_json(const LastResult& result) {
    return {{"plan", result.plan},
            {"version", result.version},
            {"fromVersion", result.from_version},
            {"hash", result.hash},
            {"intent", result.intent.spec},
            {"intentLabels", result.intent.labels},
            {"result", result.result},
            {"message", result.message},
            {"finished", result.finished},
            {"seconds", result.seconds},
            {"timings", result.timings}};
}

std::string status_line(const Status& status) {
    auto line = status.phase;
    if (!status.target.empty()) {
        line += " " + status.target;
    }
    if (!status.plan.empty()) {
        line += " for " + status.plan;
    }
    if (status.percent) {
        line += format(" {}%", *status.percent);
    }
    if (!status.message.empty()) {
        line += ": " + status.message;
    }
    return line;
}

Report::Report(Clock& clock, const std::filesystem::path& run_folder,
               const std::filesystem::path& state_folder)
    : clock_(clock),
      status_path_(run_folder / "status.json"),
      result_path_(state_folder / "last-result.json") {}

void Report::finished(const LastResult& result) { write_quietly(result_path_, to_json(result)); }

std::optional<LastResult> Report::last() const {
    try {
        const auto text = fs::read_file(result_path_);
        if (!text) {
            return std::nullopt;
        }
        const auto value = parse_json(*text, result_path_.string());
        LastResult result;
        result.plan = string_at(value, {"plan"});
        result.version = string_at(value, {"version"});
        result.from_version = string_at(value, {"fromVersion"});
        result.hash = string_at(value, {"hash"});
        result.intent = {string_at(value, {"intent"}), string_at(value, {"intentLabels"})};
        result.result = string_at(value, {"result"});
        result.message = string_at(value, {"message"});
        result.finished = string_at(value, {"finished"});
        return result;
    } catch (const Error& error) {
        log::warning(format("how the last upgrade ended is not known: {}", error.what()));
        return std::nullopt;
    }
}

void Report::publish() {
    auto value = to_json(status_);
    auto text = as_text(value, -1);
    if (text == published_) {
        return;
    }
    published_ = std::move(text);
    value["updated"] = to_rfc3339(clock_.wall());
    write_quietly(status_path_, value);
    auto line = status_line(status_);
    if (line != line_) {
        line_ = std::move(line);
        systemd::notify_status(line_);
    }
}

}  // namespace kua::node
