// SPDX-License-Identifier: Apache-2.0
#include "agent/release/staging.hpp"

#include "agent/release/file_hash.hpp"
#include "agent/release/pin.hpp"
#include "agent/release/scratch.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/json.hpp"
#include "lib/fs/files.hpp"
#include "lib/log/log.hpp"

namespace kua::release {

namespace {

constexpr unsigned kPassThrough = 0711;
constexpr auto kBinary = "k3s";
constexpr auto kImages = "images";
/// Written last: without it what lies beside it is no release.
constexpr auto kRecord = "verified.json";
/// Goes with the trials' own leftovers.
constexpr auto kOpenCopy = "trial-of-installed-";

struct Record {
    std::string source;  ///< Source::origin.
    std::string keys;    ///< Signatures::fingerprint.
    std::string sha256;
    TriedOut tried;
    std::string images_name;
    std::string images_sha256;
};

void write_record(const std::filesystem::path& folder, const Record& record) {
    fs::write_file(folder / kRecord, Json{{"source", record.source},
                                          {"keys", record.keys},
                                          {"sha256", record.sha256},
                                          {"buildDate", record.tried.build_date},
                                          {"unpacked", record.tried.unpacked},
                                          {"imagesName", record.images_name},
                                          {"imagesSha256", record.images_sha256}}
                                             .dump(2, ' ', false, Json::error_handler_t::replace) +
                                         "\n");
}

std::optional<Record> read_record(const std::filesystem::path& folder) {
    const auto path = folder / kRecord;
    try {
        const auto text = fs::read_file(path);
        if (!text) {
            return std::nullopt;
        }
        const auto value = parse_json(*text, path.string());
        const auto* unpacked = find(value, {"unpacked"});
        if (unpacked == nullptr || !unpacked->is_number_unsigned()) {
            return std::nullopt;  // Of an agent that tried nothing out.
        }
        return Record{string_at(value, {"source"}),
                      string_at(value, {"keys"}),
                      string_at(value, {"sha256"}),
                      {string_at(value, {"buildDate"}), unpacked->get<std::uint64_t>()},
                      string_at(value, {"imagesName"}),
                      string_at(value, {"imagesSha256"})};
    } catch (const Error& error) {
        log::info(format("fetching again what can't be told to be verified: {}", error.what()));
        return std::nullopt;
    }
}

bool is(const std::filesystem::path& path, const std::string& sha256) {
    std::error_code code;
    return std::filesystem::is_regular_file(std::filesystem::symlink_status(path, code)) &&
           hash_file(path) == sha256;
}

/// The staged binary is asked for its version as nobody, who may pass through here and see nothing.
void make_passable(const std::filesystem::path& folder) {
    fs::make_folders(folder);
    std::filesystem::permissions(folder, std::filesystem::perms(kPassThrough));
}

}  // namespace

Staging::Staging(std::filesystem::path folder, std::vector<std::unique_ptr<Source>> sources,
                 const Signatures& signatures, Inspector inspector)
    : folder_(std::move(folder)),
      sources_(std::move(sources)),
      signatures_(signatures),
      inspector_(std::move(inspector)) {}

template <typename Result>
Result Staging::first_of(const Wanted& wanted, const std::function<Result(Source&)>& attempt) {
    // What is wrong stands before what could not be reached: a long message is cut at its end.
    std::vector<std::string> reasons;
    std::vector<std::string> unreached;
    std::vector<std::string> skipped;
    auto kind = ErrorKind::invalid;
    const auto pin = pin_of(wanted);
    for (const auto& source : sources_) {
        if (pin && !source->serves_pins()) {
            skipped.push_back(format(
                "{}: skipped: the Plan's image is pinned to {}, which only a registry can serve",
                source->name(), *pin));
            log::info(skipped.back(), {{"version", wanted.version.text()}});
            continue;
        }
        try {
            return attempt(*source);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::transient && error.kind() != ErrorKind::invalid) {
                throw;
            }
            if (error.kind() == ErrorKind::transient) {
                kind = ErrorKind::transient;
            }
            (error.kind() == ErrorKind::transient ? unreached : reasons).emplace_back(error.what());
        }
    }
    if (pin && skipped.size() == sources_.size()) {
        reasons.push_back(
            format("the Plan's image is pinned to {}, which only a registry can serve, and the "
                   "configuration has no such source: add `registry: {{}}` to `source`, or write "
                   "spec.upgrade.image without it",
                   *pin));
        skipped.clear();
    }
    reasons.insert(reasons.end(), unreached.begin(), unreached.end());
    reasons.insert(reasons.end(), skipped.begin(), skipped.end());
    throw Error(kind, format("fetching {}: {}", wanted.version.text(), join(reasons, "; ")));
}

bool Staging::is_release(const Wanted& wanted, const std::filesystem::path& binary,
                         const Destinations& destinations, std::stop_token stop) {
    bool silent = false;
    std::optional<std::string> expected;
    try {
        // Whoever can say it without a download is asked first.
        expected = first_of<std::string>(wanted, [&](Source& source) {
            const auto said = source.checksum(wanted, stop);
            if (!said) {
                silent = true;
                throw Error(ErrorKind::transient, source.name() + ": can't tell beforehand");
            }
            return *said;
        });
    } catch (const Error& error) {
        if (!silent || error.kind() == ErrorKind::stopped) {
            throw;
        }
        expected = stage(wanted, destinations, {}, stop).sha256;
    }
    return hash_file(binary) == *expected;
}

Staged Staging::stage(const Wanted& wanted, const Destinations& destinations,
                      const Progress& progress, std::stop_token stop) {
    make_passable(folder_);
    make_passable(folder_ / wanted.version.text());
    Inspector::remove_leftovers(folder_ / wanted.version.text());
    if (auto staged = here(wanted, stop)) {
        return *staged;
    }
    fs::remove_durably(folder_ / wanted.version.text() / kRecord);
    try {
        return first_of<Staged>(wanted, [&](Source& source) {
            return fetch(source, wanted, destinations, progress, stop);
        });
    } catch (const Error&) {
        std::error_code not_empty;
        std::filesystem::remove(folder_ / wanted.version.text(), not_empty);
        throw;
    }
}

Source* Staging::source_of(const std::string& origin, const Wanted& wanted) const {
    for (const auto& source : sources_) {
        if (source->origin(wanted) == origin) {
            return source.get();
        }
    }
    return nullptr;
}

std::optional<Staged> Staging::here(const Wanted& wanted, const std::stop_token& stop) {
    const auto folder = folder_ / wanted.version.text();
    const auto record = read_record(folder);
    if (!record || record->keys != signatures_.fingerprint()) {
        return std::nullopt;
    }
    auto* source = source_of(record->source, wanted);
    if (source == nullptr || (pin_of(wanted) && !source->serves_pins()) ||
        !is(folder / kBinary, record->sha256)) {
        return std::nullopt;
    }
    Staged staged{folder / kBinary, record->sha256, record->tried};
    if (!record->images_name.empty()) {
        if (!is(folder / kImages, record->images_sha256)) {
            return std::nullopt;
        }
        staged.images = {folder / kImages, record->images_name, record->images_sha256};
    }
    try {
        // Somebody may have put a good binary in a bad one's place since.
        const auto said = source->checksum(wanted, stop);
        if (said && *said != record->sha256) {
            return std::nullopt;
        }
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::stopped) {
            throw;
        }
        // A source that is away, or has the release no more, takes nothing from what was verified.
        log::debug(format("{} can't be asked again: {}", record->source, error.what()));
    }
    log::info(format("{} is here already, verified again", wanted.version.text()),
              {{"version", wanted.version.text()}});
    return staged;
}

Staged Staging::fetch(Source& source, const Wanted& wanted, const Destinations& destinations,
                      const Progress& progress, const std::stop_token& stop) {
    const auto folder = folder_ / wanted.version.text();
    Download download(folder, source.name(), destinations, progress);
    Fetched fetched;
    try {
        fetched = source.fetch(wanted, download, stop);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::transient || error.kind() == ErrorKind::stopped) {
            download.suspend();
        }
        throw;
    }
    const auto check = [&](Part part, const std::string& expected, std::string_view what) {
        const auto* written = download.written(part);
        if (written == nullptr || written->sha256 != expected) {
            throw Error(
                ErrorKind::invalid,
                format("{}: the {}'s SHA-256 is {}, {} was promised; nothing was installed",
                       source.name(), what, written ? written->sha256 : "not known", expected));
        }
        return *written;
    };
    const auto binary = check(Part::binary, fetched.sha256, "binary");
    std::optional<Download::Written> images;
    if (fetched.images) {
        images = check(Part::images, *fetched.images, "images file");
    }
    download.sync();
    const auto reported = inspector_.version(binary.path, stop);
    if (reported != wanted.version) {
        throw Error(ErrorKind::invalid,
                    format("{}: the binary for {} says it is {}; nothing was installed",
                           source.name(), wanted.version.text(), reported.text()));
    }
    const auto tried =
        with_context(source.name(), [&] { return inspector_.try_out(binary.path, folder, stop); });
    Record record{source.origin(wanted), signatures_.fingerprint(), binary.sha256, tried, {}, {}};
    Staged staged{folder / kBinary, binary.sha256, tried};
    fs::rename_durably(binary.path, staged.path);
    if (images) {
        staged.images = {folder / kImages, images->name, images->sha256};
        fs::rename_durably(images->path, staged.images->path);
        record.images_name = images->name;
        record.images_sha256 = images->sha256;
    }
    write_record(folder, record);
    log::info(format("fetched and verified {} ({}) from {}", wanted.version.text(),
                     human_bytes(binary.size), source.name()),
              {{"version", wanted.version.text()}, {"sha256", binary.sha256}});
    return staged;
}

std::string Staging::build_date_of(const std::filesystem::path& binary,
                                   const std::stop_token& stop) {
    const auto changed = std::filesystem::last_write_time(binary).time_since_epoch().count();
    const auto file =
        format("{} {} {}", binary.string(), std::filesystem::file_size(binary), changed);
    if (file == dated_) {
        return date_;
    }
    make_passable(folder_);
    try {
        // The installed one may be closed to the user that tries it out.
        const Scratch scratch(folder_, kOpenCopy);
        const auto copy = scratch.path() / "k3s";
        std::filesystem::permissions(scratch.path(), std::filesystem::perms(0711));
        std::filesystem::copy_file(binary, copy);
        std::filesystem::permissions(copy, std::filesystem::perms(0755));
        date_ = inspector_.try_out(copy, folder_, stop).build_date;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::invalid) {
            throw;
        }
        log::warning(format("when the installed k3s was built is not known: {}", error.what()));
        date_.clear();
    }
    dated_ = file;
    return date_;
}

bool Staging::has(const plan::Version& version) const {
    return std::filesystem::exists(folder_ / version.text() / kRecord);
}

void Staging::clean(const std::optional<plan::Version>& keep) const {
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, code)) {
        if (!keep || entry.path().filename() != keep->text()) {
            std::filesystem::remove_all(entry.path(), code);
        }
    }
}

}  // namespace kua::release
