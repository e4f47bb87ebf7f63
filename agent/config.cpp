// SPDX-License-Identifier: Apache-2.0
#include "agent/config.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/yaml/yaml.hpp"

namespace kua {

namespace {

using Setter = std::function<void(const Json& value, const std::string& key)>;

[[noreturn]] void wrong(const std::string& key, const Json& value, std::string_view wanted) {
    throw Error(ErrorKind::invalid,
                format("{}: must be {}, is {}", key, wanted, excerpt(value.dump(), 60)));
}

std::string text(const Json& value, const std::string& key) {
    if (!value.is_string()) {
        wrong(key, value, "a text");
    }
    return value.get<std::string>();
}

std::filesystem::path absolute_path(const Json& value, const std::string& key) {
    std::filesystem::path path = text(value, key);
    if (!path.is_absolute()) {
        wrong(key, value, "an absolute path");
    }
    return path;
}

Duration duration(const Json& value, const std::string& key, Duration least, Duration most) {
    const auto wanted =
        format("a duration from {} to {} such as \"5m\" or \"90s\"", to_text(least), to_text(most));
    if (!value.is_string()) {
        wrong(key, value, wanted);
    }
    Duration read{};
    try {
        read = parse_duration(value.get<std::string>());
    } catch (const Error&) {
        wrong(key, value, wanted);
    }
    if (read < least || read > most) {
        wrong(key, value, wanted);
    }
    return read;
}

std::string https_url(const Json& value, const std::string& key) {
    auto url = text(value, key);
    if (!url.starts_with("https://") && !url.starts_with("http://")) {
        wrong(key, value, "a URL that begins with https:// or http://");
    }
    return url;
}

Setter text_into(std::string& target) {
    return [&target](const Json& value, const std::string& key) { target = text(value, key); };
}

Setter name_into(std::string& target) {
    return [&target](const Json& value, const std::string& key) {
        target = text(value, key);
        if (target.empty()) {
            wrong(key, value, "a name");
        }
    };
}

Setter path_into(std::filesystem::path& target) {
    return [&target](const Json& value, const std::string& key) {
        target = absolute_path(value, key);
    };
}

Setter duration_into(Duration& target, Duration least, Duration most) {
    return [&target, least, most](const Json& value, const std::string& key) {
        target = duration(value, key, least, most);
    };
}

Setter bool_into(bool& target) {
    return [&target](const Json& value, const std::string& key) {
        if (!value.is_boolean()) {
            wrong(key, value, "true or false");
        }
        target = value.get<bool>();
    };
}

Setter int_into(int& target, int least, int most) {
    return [&target, least, most](const Json& value, const std::string& key) {
        if (!value.is_number_integer() || value < least || value > most) {
            wrong(key, value, format("a number from {} to {}", least, most));
        }
        target = value.get<int>();
    };
}

/// Applies each key's setter, collecting what is wrong instead of stopping at the first.
class Reader {
  public:
    void section(const Json& value, const std::string& prefix,
                 const std::map<std::string, Setter>& setters) {
        if (!value.is_object()) {
            mistakes_.push_back(format("{}: must be a mapping, is {}",
                                       prefix.empty() ? "the file" : prefix,
                                       excerpt(value.dump(), 60)));
            return;
        }
        for (const auto& [name, item] : value.items()) {
            const auto key = prefix.empty() ? name : prefix + "." + name;
            const auto setter = setters.find(name);
            if (setter == setters.end()) {
                mistakes_.push_back(format("{}: unknown key; known here are {}", excerpt(key, 100),
                                           known(setters)));
                continue;
            }
            // An empty key ("health:") means the default, as a commented-out value would.
            if (item.is_null()) {
                continue;
            }
            try {
                setter->second(item, key);
            } catch (const Error& error) {
                mistakes_.emplace_back(error.what());
            }
        }
    }

    Setter nested(std::map<std::string, Setter> setters) {
        return [this, setters = std::move(setters)](const Json& value, const std::string& key) {
            section(value, key, setters);
        };
    }

    void mistake(std::string text) { mistakes_.push_back(std::move(text)); }
    [[nodiscard]] const std::vector<std::string>& mistakes() const { return mistakes_; }

  private:
    static std::string known(const std::map<std::string, Setter>& setters) {
        std::vector<std::string> names;
        for (const auto& [name, setter] : setters) {
            names.push_back(name);
        }
        return join(names, ", ");
    }

    std::vector<std::string> mistakes_;
};

/// What may stand in one item of `source`, and where it is put.
std::map<std::string, Setter> kinds_of_source(Reader& reader,
                                              std::vector<release::SourceSettings>& found) {
    return {
        {"bundle",
         [&](const Json& value, const std::string& key) {
             release::BundleSettings bundle;
             reader.section(value, key, {{"directory", path_into(bundle.directory)}});
             found.emplace_back(std::move(bundle));
         }},
        {"registry",
         [&](const Json& value, const std::string& key) {
             release::RegistrySettings registry;
             reader.section(value, key, {{"registries", path_into(registry.registries)}});
             found.emplace_back(std::move(registry));
         }},
        {"http",
         [&](const Json& value, const std::string& key) {
             release::HttpSettings http;
             reader.section(
                 value, key,
                 {{"base_url", [&](const Json& url,
                                   const std::string& at) { http.base_url = https_url(url, at); }},
                  {"ca_file",
                   [&](const Json& file, const std::string& at) {
                       http.ca_file = absolute_path(file, at).string();
                   }},
                  {"credentials_file", [&](const Json& file, const std::string& at) {
                       http.credentials_file = absolute_path(file, at).string();
                   }}});
             found.emplace_back(std::move(http));
         }},
    };
}

void read_sources(Reader& reader, const Json& value, const std::string& key,
                  std::vector<release::SourceSettings>& sources) {
    if (!value.is_array()) {
        wrong(key, value, "a list of sources such as [{http: {}}]");
    }
    std::size_t index = 0;
    for (const auto& item : value) {
        const auto where = format("{}[{}]", key, index++);
        auto filled = item;
        if (filled.is_object()) {
            for (auto& settings : filled) {
                if (settings.is_null()) {
                    settings = Json::object();  // `- http:` alone is the source with its defaults.
                }
            }
        }
        std::vector<release::SourceSettings> found;
        reader.section(filled, where, kinds_of_source(reader, found));
        if (found.size() == 1) {
            sources.push_back(std::move(found.front()));
        } else if (found.size() > 1) {
            reader.mistake(format("{}: names {} sources; write each as an item of its own", where,
                                  found.size()));
        } else if (item.is_object() && item.empty()) {
            reader.mistake(
                format("{}: names no source; write bundle: {{}}, registry: {{}} or http: {{}}, or "
                       "remove it",
                       where));
        }
    }
}

/// `5MB`, `800kB`: decimal, as bandwidth is counted.
std::uint64_t rate(const Json& value, const std::string& key) {
    constexpr auto kWanted = "bytes per second such as \"800kB\" or \"5MB\", at least 1kB";
    if (!value.is_string()) {
        wrong(key, value, kWanted);
    }
    const auto written = value.get<std::string>();
    std::uint64_t number = 0;
    const auto [end, code] =
        std::from_chars(written.data(), written.data() + written.size(), number);
    const std::map<std::string, std::uint64_t> units = {
        {"kB", 1'000}, {"MB", 1'000'000}, {"GB", 1'000'000'000}};
    const auto unit = units.find(std::string(end, written.data() + written.size()));
    constexpr std::uint64_t kMost = 1'000'000;
    if (code != std::errc() || unit == units.end() || number == 0 || number > kMost) {
        wrong(key, value, kWanted);
    }
    return number * unit->second;
}

void read_keys(const Json& value, const std::string& key,
               std::vector<std::filesystem::path>& files) {
    if (!value.is_array()) {
        wrong(key, value, "a list of files such as [/etc/k3s-upgrade-agent/release.pem]");
    }
    std::size_t index = 0;
    for (const auto& item : value) {
        files.push_back(absolute_path(item, format("{}[{}]", key, index++)));
    }
}

upgrade::Prefetch prefetch(const Json& value, const std::string& key) {
    const std::map<std::string, upgrade::Prefetch> words = {
        {"always", upgrade::Prefetch::always},
        {"in-window", upgrade::Prefetch::in_window},
        {"never", upgrade::Prefetch::never}};
    const auto word = value.is_string() ? words.find(value.get<std::string>()) : words.end();
    if (word == words.end()) {
        wrong(key, value, "always, in-window or never");
    }
    return word->second;
}

upgrade::Rollback rollback(const Json& value, const std::string& key) {
    const std::map<std::string, upgrade::Rollback> words = {{"auto", upgrade::Rollback::automatic},
                                                            {"always", upgrade::Rollback::always},
                                                            {"never", upgrade::Rollback::never}};
    const auto word = value.is_string() ? words.find(value.get<std::string>()) : words.end();
    if (word == words.end()) {
        wrong(key, value, "auto, always or never");
    }
    return word->second;
}

upgrade::Lifted lifted(const Json& value, const std::string& key) {
    if (value == "stop") {
        return upgrade::Lifted::stop;
    }
    if (value != "again") {
        wrong(key, value, "stop or again");
    }
    return upgrade::Lifted::again;
}

upgrade::Foreign foreign(const Json& value, const std::string& key) {
    if (value == "keep") {
        return upgrade::Foreign::keep;
    }
    if (value != "lift") {
        wrong(key, value, "keep or lift");
    }
    return upgrade::Foreign::lift;
}

bool backup(const Json& value, const std::string& key) {
    if (value != "auto" && value != "never") {
        wrong(key, value, "auto or never");
    }
    return value == "auto";
}

}  // namespace

Config read_config(const Json& value, const std::string& name) {
    using std::chrono::hours;
    using std::chrono::minutes;
    using std::chrono::seconds;
    Config config;
    Reader reader;
    const std::
        map<std::string, Setter>
            top =
                {
                    {"node", reader.nested({{"name", text_into(config.node.name)},
                                            {"kubeconfig", path_into(config.node.kubeconfig)}})},
                    {"k3s", reader.nested({{"unit", text_into(config.k3s.unit)},
                                           {"binary", path_into(config.k3s.binary)},
                                           {"data_dir", path_into(config.k3s.data_dir)}})},
                    {"plans", reader.nested({{"namespace", name_into(config.plans.ns)}})},
                    {"source",
                     [&](const Json& list, const std::string& key) {
                         read_sources(reader, list, key, config.sources);
                     }},
                    {"verify", reader.nested({{"public_keys",
                                               [&](const Json& list, const std::string& key) {
                                                   read_keys(list, key, config.verify.public_keys);
                                               }}})},
                    {"cordon", reader.nested({{"when_lifted",
                                               [&](const Json& word, const std::string& key) {
                                                   config.cordon.when_lifted = lifted(word, key);
                                               }},
                                              {"foreign",
                                               [&](const Json& word, const std::string& key) {
                                                   config.cordon.foreign = foreign(word, key);
                                               }}})},
                    {"prefetch", [&](const Json& word,
                                     const std::
                                         string& key) { config.prefetch = prefetch(word, key); }},
                    {"download", reader
                                     .nested({{"rate",
                                               [&](const Json& number, const std::string& key) {
                                                   config.download.rate = rate(number, key);
                                               }},
                                              {"jitter", duration_into(config.download.jitter,
                                                                       seconds(0), hours(24))}})},
                    {"restart", reader
                                    .nested({{"timeout", duration_into(config.restart.timeout,
                                                                       seconds(10), hours(1))}})},
                    {"hooks",
                     reader.nested({{"directory", path_into(config.hooks.folder)},
                                    {"timeout",
                                     duration_into(config.hooks.timeout, seconds(1), hours(1))}})},
                    {"health", reader
                                   .nested({{"timeout", duration_into(config.health.timeout,
                                                                      seconds(10), hours(1))},
                                            {"settle", duration_into(config.health.settle,
                                                                     seconds(0), minutes(10))}})},
                    {"rollback", [&](const Json& word,
                                     const std::
                                         string& key) { config.rollback = rollback(word, key); }},
                    {"datastore", reader.nested({{"backup",
                                                  [&](const Json& word, const std::string& key) {
                                                      config.datastore.backup = backup(word, key);
                                                  }}})},
                    {"drain",
                     reader.nested({{"patience",
                                     duration_into(config.drain.patience, seconds(0), hours(24))},
                                    {"attempts", int_into(config.drain.attempts, 1, 100)}})},
                    {"lock", reader.nested({{"ttl", duration_into(config.lock.ttl,
                                                                  seconds(15), hours(24))}})},
                    {"channel", reader.nested({{"poll", duration_into(config.channel.poll,
                                                                      seconds(10), hours(24))},
                                               {"confirm", duration_into(config.channel.confirm,
                                                                         seconds(1), hours(1))},
                                               {"ask", bool_into(config.channel.ask)}})},
                    {"log", reader.nested({{"level",
                                            [&](const Json& level, const std::string& key) {
                                                try {
                                                    config.log.level =
                                                        log::parse_level(text(level, key));
                                                } catch (const Error&) {
                                                    wrong(key, level,
                                                          "debug, info, warning or error");
                                                }
                                            }}})},
                    {"folders", reader.nested({{"state", path_into(config.folders.state)},
                                               {"run", path_into(config.folders.run)}})},
                };
    if (!value.is_null()) {
        reader.section(value, "", top);
    }
    // A server can't renew its slot while its own k3s is down: the lease must outlast that.
    // A third of the time to live is the margin in which a step that was begun has to be over
    // (lock::fence_of).
    const auto least_ttl =
        std::max(config.restart.timeout + config.health.settle + config.health.timeout,
                 3 * config.restart.timeout);
    if (find(value, {"lock", "ttl"}) == nullptr) {
        config.lock.ttl = std::max(config.lock.ttl, least_ttl);
    } else if (config.lock.ttl < least_ttl) {
        reader.mistake(
            format("lock.ttl: must be at least three times restart.timeout, and restart.timeout + "
                   "health.settle + health.timeout ({}), is {}",
                   to_text(least_ttl), to_text(config.lock.ttl)));
    }
    if (!reader.mistakes().empty()) {
        throw Error(ErrorKind::invalid, format("{}: {}", name, join(reader.mistakes(), "; ")));
    }
    if (config.sources.empty()) {
        config.sources = {release::BundleSettings{}, release::RegistrySettings{},
                          release::HttpSettings{}};
    }
    return config;
}

Config load_config(const std::filesystem::path& path) {
    std::error_code code;
    if (!std::filesystem::exists(path, code) && !code) {
        if (path != kConfigFile) {
            // The defaults ask for no signature: they are not what somebody meant who named a file.
            throw Error(ErrorKind::invalid,
                        format("{}: there is no such file; name one that exists (only {} may be "
                               "missing: then the defaults hold)",
                               path.string(), kConfigFile));
        }
        return read_config(Json(), path.string());
    }
    return read_config(yaml::parse_file(path), path.string());
}

}  // namespace kua
