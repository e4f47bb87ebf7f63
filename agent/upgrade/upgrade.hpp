// SPDX-License-Identifier: Apache-2.0
// One node's upgrade as a list of named steps, journalled before each, and the way back.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/lock/rival.hpp"
#include "agent/lock/slots.hpp"
#include "agent/node/cordon.hpp"
#include "agent/node/datastore.hpp"
#include "agent/node/drain_timeouts.hpp"
#include "agent/node/health.hpp"
#include "agent/node/hooks.hpp"
#include "agent/node/journal.hpp"
#include "agent/node/report.hpp"
#include "agent/node/snapshots.hpp"
#include "agent/plan/plan.hpp"
#include "agent/release/install.hpp"
#include "agent/upgrade/rollback.hpp"
#include "agent/upgrade/steps.hpp"
#include "lib/base/clock.hpp"
#include "lib/base/error.hpp"
#include "lib/http/client.hpp"
#include "lib/kube/client.hpp"
#include "lib/systemd/units.hpp"

namespace kua::upgrade {

/// The last lines that a unit has written since a moment, the latest last. May throw Error.
using LastLines = std::function<std::vector<std::string>(const std::string& unit, WallTime since)>;

/// What an upgrade works with; all of it outlives the upgrade.
struct Tools {
    kube::Client& api;
    Clock& clock;
    systemd::Units& units;
    lock::Slots& slots;
    lock::Rival& rival;
    const node::Journal& journal;
    node::Report& report;
    const Pause* pause = nullptr;           ///< Null: none.
    const node::Hooks* hooks = nullptr;     ///< Null: none.
    const LastLines* last_lines = nullptr;  ///< Null: nobody asks.
    http::Client* this_host = nullptr;      ///< For this host's own ports. Null: nobody asks.
};

/// Of a reason in the lock, where all nodes share a megabyte.
inline constexpr std::size_t kMostReason = 500;

struct Limits {
    Duration restart{300'000};
    Duration health{300'000};
    Duration settle{30'000};  ///< k3s must stay up for so long.
    /// From the slot until the node is healthy at the new version (without the Plan's
    /// postCompleteDelay); SUC's default for jobActiveDeadlineSecs.
    Duration deadline{900'000};
    Rollback rollback = Rollback::automatic;
    /// So many attempts in a row may run into spec.drain.timeout or the deadline before k3s is
    /// restarted; the last of them is a failure.
    int drain_attempts = 3;
};

enum class Ending {
    succeeded,  ///< The node runs the version, is labelled, the slot is given back.
    undone,     ///< Nothing was changed that stays; the slot is given back; may be tried again.
    failed,     ///< Rolled back, stopped where that is not done, or undone for the last time
             ///< (Limits::drain_attempts); `phase: Failed` keeps the slot until the Plan changes.
};

struct Outcome {
    Ending ending = Ending::succeeded;
    std::string reason;
};

/// What is asked for while an upgrade is under way and k3s was not restarted yet; each may be
/// empty. What has changed later no longer matters: the quickest way out is through.
struct Meanwhile {
    /// Why the upgrade is no longer wanted; absent while it is.
    std::function<std::optional<std::string>()> unwanted{};
    /// True when somebody has uncordoned the node and it is to be cordoned again.
    std::function<bool()> cordon_again{};
};

/// One upgrade, from the files to the release. A step is begun only when the journal holds its
/// name; every step is safe to repeat.
class Upgrade {
  public:
    /// `record.step` is where `resume` goes on. `slot_since` is Choice::decided of the slot that
    /// was taken; absent for `resume`, which looks what has become of it. A Plan that `meanwhile`
    /// says is no longer wanted is undone.
    Upgrade(Tools tools, Limits limits, std::string node, node::Record record,
            std::optional<plan::DrainSpec> drain, std::optional<Monotonic> slot_since,
            Meanwhile meanwhile = {});

    /// Goes all the way, undoing or rolling back what fails. Throws only Error{stopped}: the
    /// journal says then where the next start has to go on.
    Outcome run(const std::stop_token& stop);

    /// Goes on after a restart of the agent or the host, from what the journal says: before the
    /// swap everything is undone, after it finished (or rolled back, where that had begun).
    Outcome resume(const std::stop_token& stop);

  private:
    /// Those of `steps()` that go this way and that this upgrade has, from the named one on.
    [[nodiscard]] std::vector<const StepInfo*> going(Way way, std::string_view from = {}) const;
    [[nodiscard]] bool has(const StepInfo& step) const;
    [[nodiscard]] bool cordons() const;
    /// The hooks' folder that a step runs; empty for one that is none of theirs.
    static std::string_view hook_point(const StepInfo& step);
    [[nodiscard]] bool has_hooks(std::string_view point) const;
    /// What fails is thrown where the upgrade can still be stopped, and logged otherwise.
    void run_hooks(std::string_view point, bool may_stop, const std::stop_token& stop);
    /// The last of undo and of rolling back.
    Outcome end_after_hooks(Outcome outcome, const std::stop_token& stop);
    Outcome go_on(const std::stop_token& stop);
    void act(const StepInfo& step, const std::stop_token& stop);
    void pause(const StepInfo& step, Moment moment) const;
    void perform(const StepInfo& step, const std::stop_token& stop);
    Outcome forward_from(std::string_view name, const std::stop_token& stop);
    Outcome recover(const Error& error, const std::stop_token& stop);
    Outcome undo(const std::string& reason, const std::stop_token& stop);
    Outcome roll_back_from(std::string_view name, const std::stop_token& stop);
    /// Leaves the new version in place: the end of the way back only, and words for what to do.
    Outcome stop_there(const std::string& why, const std::stop_token& stop);
    /// The end of an upgrade that works, but for what the API server refuses for good.
    Outcome leave_as_it_is(const std::string& why, const std::stop_token& stop);
    /// A name for the old binary that no later upgrade takes away.
    std::filesystem::path keep_old_binary();
    /// The files of a rollback: what an earlier one has kept is what the node ran.
    [[nodiscard]] release::Places way_back() const;
    void note_last_lines();
    /// The Event with them.
    void tell_last_lines(const std::stop_token& stop);
    /// A warning about the Plan.
    [[nodiscard]] Json event(const std::string& reason, const std::string& message) const;
    /// Makes an Event about the Plan; whatever is the matter with that is only logged.
    void tell(Json event, const std::stop_token& stop);

    [[nodiscard]] release::Places places() const {
        return {record_.binary, record_.next, record_.previous};
    }
    /// True when the new binary lies in k3s's place.
    [[nodiscard]] bool swapped() const;
    Outcome resume_after_swap(const std::stop_token& stop);
    /// How long ago this node's slot was renewed, where it can still be relied on.
    std::optional<Duration> fresh_slot_age(const std::stop_token& stop);
    struct RunningK3s {
        bool is_up = true;
        std::optional<WallTime> started{};  ///< By the wall clock as it is set now.
    };
    /// k3s counts as up, and its start is not known, when systemd can't be asked.
    [[nodiscard]] RunningK3s look_at_k3s();
    /// Renews the slot from now on; the lease runs since `since`.
    void hold(Monotonic since);
    /// Logs what failed on the way back and adds it to `reason`.
    void trouble(std::string_view deed, const std::exception& error, std::string& reason);
    void prepare(const std::stop_token& stop);
    void cordon(const std::stop_token& stop);
    void drain(const std::stop_token& stop);
    /// `limit` says why no more was tried: an attempt that counts, and after Limits::drain_attempts
    /// of them the last.
    [[noreturn]] void out_of_time(const std::string& what, const std::string& limit,
                                  const std::stop_token& stop);
    /// Counts this Plan's drains that timed out.
    [[nodiscard]] node::DrainTimeouts drain_timeouts() const;
    [[nodiscard]] std::string key() const;  ///< Candidate::key
    [[nodiscard]] lock::Subject subject() const;
    void restart(Duration timeout, const std::stop_token& stop);
    /// k3s stays up, the node is Ready at the new version, and a server's API is ready.
    void verify_new(const std::stop_token& stop);
    void verify(const std::string& version, const node::Patience& patience,
                const std::stop_token& stop);
    /// `record_.heartbeat`, as it is while k3s still runs.
    void note_heartbeat(const std::stop_token& stop);
    void save_snapshot(const std::stop_token& stop);
    void stop_k3s(const std::stop_token& stop);
    void copy_datastore(const std::stop_token& stop);
    /// Of the k3s that has the data store open, or had: the Node may say another's where the last
    /// upgrade was left at a version that never came up.
    [[nodiscard]] std::string version_in_place(const std::stop_token& stop) const;
    [[nodiscard]] std::filesystem::path snapshot_folder() const;
    /// Those that this agent has made.
    [[nodiscard]] node::Snapshots snapshots() const;
    void discard_copy();
    /// Whatever is the matter with it is only logged.
    void discard_older_copies(bool failed) const;
    [[nodiscard]] bool copies_sqlite() const;
    /// Where it was stopped for the copy.
    void start_k3s(const std::stop_token& stop);
    /// The agent may be away for long: k3s is started, and not waited for.
    void leave_running();
    /// `act`, with `leave_running` where it is stopped.
    Outcome or_leave_running(const std::function<Outcome()>& act);
    /// What somebody has to do for the old version to run again: only files that are there are
    /// named. `old_binary` may be the one in k3s's place.
    [[nodiscard]] std::string way_back_in_words(const std::filesystem::path& old_binary) const;
    void uncordon(const std::stop_token& stop);
    /// Of a node that was cordoned before: tells that it stays so, or lifts that.
    void end_foreign_cordon(const std::stop_token& stop);
    void delay(const std::stop_token& stop);
    void label(const std::stop_token& stop);
    void give_back(const std::stop_token& stop);
    void undo_all(const std::stop_token& stop);
    void report_failure(const std::stop_token& stop);
    void ensure_may_go_on(const std::stop_token& stop);
    void ensure_wanted() const;
    /// True when the node had been uncordoned, and was cordoned again.
    bool keep_cordoned(const std::stop_token& stop);
    /// `longest`, or what is left of the deadline.
    [[nodiscard]] Duration within_deadline(Duration longest) const;
    void finish(const Outcome& outcome);
    /// After a success the previous version's go, otherwise those of this one.
    void tidy_images(const Outcome& outcome) const;
    /// Repeats `act` with back-off until it works. With `until`, while it throws Error{transient}
    /// and no longer. Without, for as long as the API server is away; what a server that answers
    /// refuses is asked for again for a while (permissions come back), and is thrown then.
    void insist(std::string_view deed, std::optional<Monotonic> until, const std::stop_token& stop,
                const std::function<void()>& act);
    /// `insist` without `until`, where the upgrade goes on all the same: gives what was refused for
    /// good, which is logged.
    std::optional<std::string> insist_or_go_on(std::string_view deed, const std::stop_token& stop,
                                               const std::function<void()>& act);
    /// Whether the API server answers this node at all.
    bool api_answers(const std::stop_token& stop);
    /// `must`: what can't be written is thrown, else logged.
    void journal(bool must);
    void show(std::string_view phase, const std::string& detail, bool waits = false);
    /// Not in the slot.
    void show_on_host(std::string_view phase, const std::string& detail);

    Tools tools_;
    Limits limits_;
    std::string node_name_;
    node::OwnNode own_node_;
    node::Record record_;
    std::optional<plan::DrainSpec> drain_;
    Meanwhile meanwhile_;
    std::unique_ptr<lock::HeldSlot> slot_;
    /// As it was right after the restart.
    std::optional<systemd::UnitState> active_;
    Monotonic began_;
    Monotonic deadline_;
    std::string phase_;
    bool going_back_ = false;
    std::string undoing_;  ///< Why it is undone, and what failed meanwhile.
    std::string note_;     ///< Of a success: what somebody has to know, or to do.
    Json timings_ = Json::object();
};

}  // namespace kua::upgrade
