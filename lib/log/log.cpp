// SPDX-License-Identifier: Apache-2.0
#include "lib/log/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::log {

namespace {

spdlog::level::level_enum to_spdlog(Level level) {
    switch (level) {
        case Level::debug:
            return spdlog::level::debug;
        case Level::info:
            return spdlog::level::info;
        case Level::warning:
            return spdlog::level::warn;
        case Level::error:
            return spdlog::level::err;
    }
    return spdlog::level::info;
}

struct State {
    State() {
        logger.set_level(
            spdlog::level::debug);  // `level` below decides, before a record costs anything.
        logger.set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
        logger.flush_on(spdlog::level::debug);
    }

    std::atomic<Level> level{Level::info};
    std::mutex mutex;
    Sink sink;
    Fields common;
    spdlog::logger logger{"k3s-upgrade-agent", std::make_shared<spdlog::sinks::stderr_sink_st>()};
};

/// Never destroyed: a thread or a destructor at the very end of the program may still log.
State& state() {
    static State* const forever = new State;
    return *forever;
}

/// Bare when it can be read back without quotes.
std::string field_value(const std::string& value) {
    if (!value.empty() && value.find_first_of(" \"=\\") == std::string::npos) {
        return value;
    }
    std::string quoted = "\"";
    for (const char character : value) {
        if (character == '"' || character == '\\') {
            quoted += '\\';
        }
        quoted += character;
    }
    return quoted + '"';
}

void write_to_stderr(State& state, Level level, std::string_view message, const Fields& fields) {
    std::string line(message);
    for (const auto& [name, value] : fields) {
        line += format(" {}={}", name, field_value(value));
    }
    state.logger.log(to_spdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

void write(Level level, std::string_view message, const Fields& fields) {
    State& shared = state();
    if (level < shared.level.load(std::memory_order_relaxed)) {
        return;
    }
    const std::lock_guard lock(shared.mutex);
    const std::string text = one_line(message);
    Fields all;
    all.reserve(shared.common.size() + fields.size());
    for (const Fields& group : {std::cref(shared.common), std::cref(fields)}) {
        for (const auto& [name, value] : group) {
            all.emplace_back(one_line(name), one_line(value));
        }
    }
    if (!shared.sink) {
        write_to_stderr(shared, level, text, all);
        return;
    }
    try {
        shared.sink(level, text, all);
    } catch (const std::exception& error) {
        // Whoever logs has no answer to a broken sink; the record is not lost, and the reason
        // stands beside it.
        all.emplace_back("sink_error", one_line(error.what()));
        write_to_stderr(shared, level, text, all);
    }
}

}  // namespace

Level parse_level(std::string_view name) {
    if (name == "debug") {
        return Level::debug;
    }
    if (name == "info") {
        return Level::info;
    }
    if (name == "warning") {
        return Level::warning;
    }
    if (name == "error") {
        return Level::error;
    }
    throw Error(
        ErrorKind::invalid,
        format("unknown log level \"{}\": debug, info, warning or error", excerpt(name, 40)));
}

void set_level(Level level) { state().level.store(level, std::memory_order_relaxed); }

void set_sink(Sink sink) {
    const std::lock_guard lock(state().mutex);
    state().sink = std::move(sink);
}

void set_common_fields(Fields fields) {
    const std::lock_guard lock(state().mutex);
    state().common = std::move(fields);
}

void debug(std::string_view message, const Fields& fields) { write(Level::debug, message, fields); }
void info(std::string_view message, const Fields& fields) { write(Level::info, message, fields); }
void warning(std::string_view message, const Fields& fields) {
    write(Level::warning, message, fields);
}
void error(std::string_view message, const Fields& fields) { write(Level::error, message, fields); }

}  // namespace kua::log
