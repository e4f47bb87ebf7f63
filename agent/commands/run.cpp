// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <thread>

#include "agent/channel/channel.hpp"
#include "agent/commands/claims.hpp"
#include "agent/commands/commands.hpp"
#include "agent/commands/local_k3s.hpp"
#include "agent/commands/watchdog.hpp"
#include "agent/commands/webs.hpp"
#include "agent/config.hpp"
#include "agent/coordinator/coordinator.hpp"
#include "agent/upgrade/node_loop.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/base/pulse.hpp"
#include "lib/fs/files.hpp"
#include "lib/fs/folder_watch.hpp"
#include "lib/http/curl_client.hpp"
#include "lib/log/log.hpp"
#include "lib/systemd/dbus_units.hpp"
#include "lib/systemd/journal_tail.hpp"
#include "lib/systemd/notify.hpp"

namespace kua::commands {

namespace {

/// What is wrong with this host's files is looked at again this often; it costs nobody else
/// anything.
constexpr Duration kLookAgain{3'000};
constexpr std::size_t kLastLines = 8;
constexpr auto kLockName = "k3s-upgrade-agent";

void log_to_journal() {
    if (!systemd::stderr_is_journal()) {
        return;
    }
    log::set_sink([](log::Level level, std::string_view message, const log::Fields& fields) {
        constexpr int kDebug = 7;
        constexpr int kInfo = 6;
        constexpr int kWarning = 4;
        constexpr int kError = 3;
        int priority = kInfo;
        switch (level) {
            case log::Level::debug:
                priority = kDebug;
                break;
            case log::Level::info:
                break;
            case log::Level::warning:
                priority = kWarning;
                break;
            case log::Level::error:
                priority = kError;
                break;
        }
        systemd::journal_send(priority, message, fields);
    });
}

/// Runs a loop in a thread of its own; what escapes it ends its sibling, and is thrown again where
/// it is joined.
class Loop {
  public:
    template <typename Body>
    Loop(std::string name, std::stop_source& all, Body body)
        : thread_(watched(std::move(name), [this, &all, body = std::move(body)] {
              try {
                  body(all.get_token());
              } catch (...) {
                  error_ = std::current_exception();
                  all.request_stop();
              }
          })) {}

    void join() {
        thread_.join();
        if (error_) {
            std::rethrow_exception(error_);
        }
    }

  private:
    std::exception_ptr error_;
    std::jthread thread_;
};

/// For fault tests: stops this process at the moments that the environment names, until SIGCONT.
upgrade::Pause pauses() {
    const auto* const text = std::getenv("K3S_UPGRADE_AGENT_PAUSE");
    if (text == nullptr) {
        return [](std::string_view, upgrade::Moment) {};
    }
    upgrade::PausePoints points;
    try {
        points = upgrade::read_pause_points(text);
    } catch (const Error& error) {
        throw Error(error.kind(), format("K3S_UPGRADE_AGENT_PAUSE: {}", error.what()));
    }
    return [points](std::string_view step, upgrade::Moment moment) {
        if (points.contains({std::string(step), moment})) {
            log::warning(format("paused at {}:{} (K3S_UPGRADE_AGENT_PAUSE), until SIGCONT", step,
                                upgrade::name_of(moment)));
            std::raise(SIGSTOP);
        }
    };
}

/// By the kubelet's certificate. Where k3s can't be told from others on this host, that is why it
/// can't be read.
std::string node_name(kube::Client& api, const LocalK3s& local) {
    try {
        return kube::node_name(*api.credentials(), local.kubeconfig);
    } catch (const Error& error) {
        if (local.trouble) {
            throw Error(local.trouble->kind(),
                        format("{} ({})", local.trouble->what(), error.what()));
        }
        throw Error(error.kind(),
                    format("{}; k3s's data-dir was taken to be {} ({}): set "
                           "k3s.data_dir in the configuration if it is another",
                           error.what(), local.found->data_dir.string(), local.found->by.data_dir));
    }
}

/// The agent with one configuration, until `stop` or an Error that needs the files of this host to
/// change.
void serve(const Config& config, Clock& clock, node::Report& report, const std::stop_token& stop) {
    log::set_level(config.log.level);
    // The API server is never behind a proxy: it is this host, or the load balancer in its k3s.
    http::CurlOptions direct;
    direct.proxy_from_environment = false;
    http::CurlClient api_http(direct);
    systemd::DbusUnits units;
    auto finder = make_finder(config, units);
    const auto local = look_for_k3s(config, finder);
    if (local.found) {
        finder.remember(*local.found);
    }
    kube::Client api(api_http, local.kubeconfig);
    api.server_may_have_started();  // This host may have, and k3s with it.
    const auto node = config.node.name.empty() ? node_name(api, local) : config.node.name;
    log::set_common_fields({{"node", node}});
    report.update([&](node::Status& status) {
        status.node = node;
        status.phase = "Starting";
        status.message.clear();
    });
    Webs webs(finder);
    const node::Journal journal(config.folders.state);
    fs::remove_leftovers(journal.path());
    lock::Slots slots(api, clock, {config.plans.ns, kLockName, node, config.lock.ttl});
    lock::Rival rival(api, clock, config.plans.ns);
    coordinator::ClusterId cluster_id(api, clock);
    const release::Signatures signatures(config.verify.public_keys);
    const auto sources = sources_of(config, local.found);
    release::Staging staging(config.folders.state / "staging",
                             release::make_sources(sources, {webs.web(), webs.registry(), clock,
                                                             signatures, config.download.rate}),
                             signatures);

    Wakeup node_changed;
    Wakeup plans_changed;
    const lock::View view(api, config.plans.ns, kLockName, node, {&node_changed, &plans_changed});
    upgrade::NodeSettings settings;
    settings.node = node;
    settings.backup = config.datastore.backup;
    settings.prefetch = config.prefetch;
    settings.jitter = config.download.jitter;
    settings.limits.drain_attempts = config.drain.attempts;
    settings.patience = config.drain.patience;
    settings.lifted = config.cordon.when_lifted;
    settings.foreign = config.cordon.foreign;
    settings.limits.restart = config.restart.timeout;
    settings.limits.health = config.health.timeout;
    settings.limits.settle = config.health.settle;
    settings.limits.rollback = config.rollback;
    if (config.channel.ask) {
        settings.ask_channel = [&web = webs.web(), &cluster_id](const plan::Plan& plan,
                                                                const std::stop_token& token) {
            return channel::resolve(web, plan.channel, plan.status_latest_version,
                                    cluster_id.get(token), token);
        };
    }
    const auto pause = pauses();
    const node::Hooks hooks(config.hooks);
    const upgrade::LastLines last_lines = [](const std::string& unit, WallTime since) {
        return systemd::journal_tail(unit, since, kLastLines);
    };
    std::stop_source both;
    settings.found = [&](const k3s::Installation& found) {
        const bool moved = config.node.kubeconfig.empty() && found.kubeconfig() != local.kubeconfig;
        if (moved || sources_of(config, found) != sources) {
            // What was made of the old settings is made anew by the next round.
            log::info("k3s was told something else than when this agent looked; starting over");
            both.request_stop();
            throw Error(ErrorKind::stopped, "starting over");
        }
    };
    upgrade::NodeLoop node_loop(
        {api, clock, units, slots, rival, journal, report, &pause, &hooks, &last_lines, &api_http},
        settings, finder, staging, view, node_changed);
    coordinator::Coordinator coordinator(
        {api, webs.web(), clock, slots, rival, cluster_id},
        {config.channel.poll, config.channel.confirm}, view, plans_changed, [&](bool leading) {
            report.update([&](node::Status& status) { status.coordinator = leading; });
        });

    std::vector<std::unique_ptr<fs::FolderWatch>> bundles;
    for (const auto& source : config.sources) {
        if (const auto* bundle = std::get_if<release::BundleSettings>(&source)) {
            try {
                bundles.push_back(std::make_unique<fs::FolderWatch>(
                    bundle->directory, [&node_loop] { node_loop.try_again(); }));
            } catch (const Error& error) {
                // Kubernetes nodes run out of inotify instances; the loop looks by itself, later.
                log::warning(format("a bundle that appears is noticed late: {}", error.what()));
            }
        }
    }

    const std::stop_callback forward(stop, [&both] { both.request_stop(); });
    // Until both are gone, however they end.
    const Waiting waiting(kAsLongAsOthers);
    Loop coordinating("the coordinator", both,
                      [&](const std::stop_token& token) { coordinator.run(token); });
    Loop upgrading("the node's loop", both,
                   [&](const std::stop_token& token) { node_loop.run(token); });
    coordinating.join();
    upgrading.join();
}

/// Where nobody can tell which folder is configured, it is the default one: there is reported then.
std::filesystem::path state_folder(const std::filesystem::path& config_path) {
    try {
        return load_config(config_path).folders.state;
    } catch (const std::exception&) {
        return Config().folders.state;
    }
}

void serve_until_stopped(const std::filesystem::path& config_path, Claims& claims, Clock& clock,
                         const std::stop_token& stop) {
    std::optional<node::Report> report;
    std::string said;
    while (!stop.stop_requested()) {
        try {
            const auto config = load_config(config_path);
            // It may name another state folder than before.
            const auto claim = claims.claim(config.folders.state);
            if (claim.state == Claim::State::anothers) {
                throw Error(ErrorKind::invalid, claim.why);
            }
            report.emplace(clock, config.folders.run, config.folders.state);
            if (claim.state == Claim::State::failed) {
                throw Error(ErrorKind::failed, claim.why);
            }
            serve(config, clock, *report, stop);
        } catch (const std::exception& error) {
            if (stop.stop_requested()) {
                return;
            }
            const Config defaults;
            if (!report && claims.claim(defaults.folders.state).state != Claim::State::anothers) {
                report.emplace(clock, defaults.folders.run, defaults.folders.state);
            }
            const std::string reason = error.what();
            if (report) {
                report->update([&](node::Status& status) {
                    status.phase = "Misconfigured";
                    status.message = reason;
                });
            }
            if (reason != said) {
                said = reason;
                log::error(reason);
            }
            clock.wait_for(kLookAgain, stop);
        }
    }
}

/// Whether one of them came before it is time to look after the watchdog.
bool signal_came(const sigset_t& signals, const std::optional<Watchdog>& watchdog) {
    if (!watchdog) {
        return sigwaitinfo(&signals, nullptr) > 0;
    }
    const auto time = watchdog->look_every();
    const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
    const timespec wait{seconds.count(), std::chrono::nanoseconds(time - seconds).count()};
    return sigtimedwait(&signals, nullptr, &wait) > 0;
}

}  // namespace

int run(const std::filesystem::path& config_path) {
    // Every thread inherits this mask: signals are waited for below, and interrupt nobody.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    // One arena for all threads: they allocate little, and an arena each would be most of the
    // agent's memory.
    mallopt(M_ARENA_MAX, 1);
    log_to_journal();
    // Before anything is written, repaired or said to systemd.
    Claims claims;
    if (const auto claim = claims.claim(state_folder(config_path));
        claim.state == Claim::State::anothers) {
        log::error(format("{}; this one ends, and has changed nothing", claim.why));
        return 1;
    }
    log::info(format("k3s-upgrade-agent {} starts", KUA_VERSION));
    std::optional<Watchdog> watchdog;
    if (const auto interval = systemd::watchdog_interval()) {
        watchdog.emplace(*interval, &systemd::notify_watchdog);
    }
    SystemClock clock;
    std::jthread service(watched(watchdog ? &watchdog->pulses() : nullptr, "the service",
                                 [&](const std::stop_token& stop) {
                                     serve_until_stopped(config_path, claims, clock, stop);
                                 }));
    systemd::notify_ready();

    while (!signal_came(signals, watchdog)) {
        if (watchdog) {
            watchdog->look();
        }
    }
    systemd::notify_stopping();
    log::info("stopping");
    service.request_stop();
    service.join();
    return 0;
}

}  // namespace kua::commands
