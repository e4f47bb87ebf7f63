# SPDX-License-Identifier: Apache-2.0
"""What becomes of a server's data store: the copy from before an upgrade, and the k3s that is stopped for it."""

import json
import re

import pytest

from . import now
from .agent import BINARY, CONFIGURATION, LOCK, STATE, UNIT
from .faults import pause_at, pause_no_more, until_paused
from .processes import until
from .watched import is_cordoned, slots
from .workload import invocation

DB = "/var/lib/rancher/k3s/server/db"
COPIES = f"{STATE}/datastore"
SNAPSHOTS = f"{DB}/snapshots"


@pytest.fixture(autouse=True)
def no_copies(fleet):
    fleet.server.run("rm", "-rf", COPIES, SNAPSHOTS, f"{STATE}/snapshots.json")
    yield
    fleet.server.misbehave()


def copies(host) -> list:
    """By time, the oldest first."""
    return sorted(host.path(COPIES).iterdir()) if host.path(COPIES).exists() else []


def notes(state_db) -> list:
    """Who has opened and closed it, by the stand-in's own list."""
    return state_db.read_text().splitlines()[1:]


def steps(fleet, host) -> list:
    return [r["K3S_UPGRADE_STEP"] for r in fleet.agent(host).records(fleet.begun) if r.get("K3S_UPGRADE_STEP")]


def upgrade(fleet, host, **spec) -> tuple:
    """Gives the versions before and after it."""
    old, new = host.k3s_version(), fleet.next_version(host)
    fleet.plan("servers", [host], version=new, **spec)
    fleet.wait_complete("servers", new)
    return old, new


def test_sqlite_is_copied_while_k3s_is_stopped(fleet):
    host = fleet.server
    before = len(notes(host.path(f"{DB}/state.db")))
    old, new = upgrade(fleet, host)
    assert steps(fleet, host) == ["prepare", "cordon", "stop", "copy-datastore", "swap", "restart", "verify", "uncordon", "label", "release"]
    copy, = copies(host)
    assert [f.name for f in copy.iterdir()] == ["state.db"]
    assert notes(copy / "state.db")[before:] == [f"closed by {old}"]
    assert notes(host.path(f"{DB}/state.db"))[before:] == [f"closed by {old}", f"opened by {new}"]
    assert copy.name.endswith(f"-{old}") and host.run("stat", "-c", "%U %a", f"{COPIES}/{copy.name}").stdout == "root 700\n"
    assert any(f"the data store as it was at {old} is in {COPIES}/{copy.name}" in str(r["MESSAGE"])
               for r in fleet.agent(host).records(fleet.begun))


def versions(host) -> list:
    """Of the copies, the oldest first."""
    return [c.name.partition("Z-")[2] for c in copies(host)]


def test_copies_of_the_last_two_versions_are_kept(fleet):
    host = fleet.server
    olds = [upgrade(fleet, host)[0] for _ in range(4)]
    assert versions(host) == olds[-2:]


def test_an_upgrade_that_fails_again_and_again_leaves_the_copies_of_what_worked(fleet):
    host = fleet.server
    before, worked = upgrade(fleet, host)
    fleet.agent(host).configure("health: {timeout: 10s, settle: 1s}\n")
    for _ in range(3):
        bad = fleet.broken_version(host, neverReady=True)
        fleet.plan("servers", [host], version=bad)
        fleet.lock.until(lambda c: [s for s in slots(c[LOCK]).values() if s["phase"] == "Failed" and s["version"] == bad],
                         f"{bad} Failed in the lock")
        assert host.k3s_version() == worked
    # The failure is told before what it has left is removed.
    until(lambda: not host.path(f"{STATE}/journal.json").exists(), "the agent is done with it")
    # The first is the only one that no version which failed has had open, the last the newest.
    assert versions(host) == [before, worked, worked]
    assert notes(copies(host)[-1] / "state.db")[-1] == f"closed by {worked}"


def test_sqlite_is_copied_when_the_last_k3s_has_ended(fleet):
    """With --log, systemd waits for the main process only: the child that does the work may outlive it."""
    host = fleet.server
    drop_in = "/etc/systemd/system/k3s.service.d/log.conf"
    try:
        host.misbehave(childOutlives=5)
        host.push(drop_in, f"[Service]\nExecStart=\nExecStart={BINARY} server --log /var/log/k3s.log\n")
        host.run("systemctl", "daemon-reload")
        host.restart_k3s()
        fleet.mark()
        old, _ = upgrade(fleet, host)
        copy, = copies(host)
        assert notes(copy / "state.db")[-1] == f"closed by {old}"
        assert not (copy / "state.db-wal").exists(), "k3s had it open"
    finally:
        host.misbehave()
        host.path(drop_in).unlink(missing_ok=True)
        host.run("systemctl", "daemon-reload")
        host.restart_k3s()


def test_without_room_for_the_copy_nothing_is_touched(fleet):
    host = fleet.server
    log = f"{DB}/state.db-wal"
    started = invocation(host)
    host.run("truncate", "-s", "4T", log)  # a hole: it takes no room itself
    try:
        version = fleet.next_version(host)
        fleet.plan("servers", [host], version=version)
        said = fleet.until_condition("servers", "Complete", "False", "are needed for a copy of the data store")
        assert said["reason"] == "Blocked" and "datastore.backup: never" in said["message"]
        assert not fleet.was_cordoned(host) and invocation(host) == started
    finally:
        host.run("truncate", "-s", "0", log)
    fleet.wait_complete("servers", version)


def test_no_copy_is_made_where_that_is_wanted(fleet):
    host = fleet.server
    fleet.agent(host).configure(CONFIGURATION + "datastore: {backup: never}\n")
    upgrade(fleet, host)
    assert "stop" not in steps(fleet, host) and copies(host) == []


def test_an_agent_that_is_told_to_end_while_k3s_is_stopped_starts_it_first(fleet):
    host, agent = fleet.server, fleet.agent(fleet.server)
    old, new = host.k3s_version(), fleet.next_version(host)
    pause_at(agent, "copy-datastore:before")
    try:
        fleet.plan("servers", [host], version=new)
        until_paused(agent, "copy-datastore:before", fleet.begun)
        assert host.unit_state()["ActiveState"] == "failed", "that is how a server ends when it is stopped"
        pause_no_more(agent)
        begun = now()
        host.run("systemctl", "stop", UNIT)  # systemd lets what stands still go on after its SIGTERM
        host.wait_ready(old, since=begun)
        assert host.k3s_version() == old
    finally:
        pause_no_more(agent)
        host.run("systemctl", "start", UNIT)
    fleet.wait_complete("servers", new)
    assert len(copies(host)) == 1, "the copy of the first attempt went with it"


def test_by_hand_a_server_goes_back_to_the_copy_as_the_message_says(fleet):
    host = fleet.server
    old, bad = host.k3s_version(), fleet.cluster.k3s(minors=1, patch=7)
    fleet.cluster.releases.add(bad, {"neverReady": True})
    fleet.agent(host).configure("health: {timeout: 10s, settle: 1s}\n")
    fleet.plan("servers", [host], version=bad)
    said = fleet.until_condition("servers", "Complete", "False", "nothing was rolled back: ")["message"]
    copy, = copies(host)
    assert f"put the data store of {COPIES}/{copy.name} (all files) in place of {DB}/state.db*" in said
    kept = f"/usr/local/bin/.k3s.k3s-upgrade-agent.kept-{old}"
    assert f"`cp -p {kept} {BINARY}`" in said

    fleet.cluster.kubectl("-n", "system-upgrade", "delete", "plan", "servers")
    host.run("sh", "-c", f"systemctl stop k3s && rm {DB}/state.db* && cp {COPIES}/{copy.name}/* {DB} && cp -p {kept} {BINARY}")
    host.run("systemctl", "start", "k3s")
    host.wait_ready(old)
    assert notes(host.path(f"{DB}/state.db"))[-2:] == [f"closed by {old}", f"opened by {old}"]
    upgrade(fleet, host)


def test_a_server_that_is_down_for_good_says_so_on_the_host(fleet):
    host, agent = fleet.server, fleet.agent(fleet.server)
    old, bad = host.k3s_version(), fleet.cluster.k3s(minors=1, patch=8)
    fleet.cluster.releases.add(bad, {"failStart": True})
    agent.configure("health: {timeout: 10s, settle: 1s}\nrestart: {timeout: 10s}\n")
    fleet.plan("servers", [host], version=bad)

    def asked():
        said = host.run("k3s-upgrade-agent", "status", "--json", check=False)
        return said if said.returncode == 2 and json.loads(said.stdout)["phase"] == "Failed" else None
    message = json.loads(until(asked, "status exits 2").stdout)["message"]
    copy, = copies(host)
    kept = f"/usr/local/bin/.k3s.k3s-upgrade-agent.kept-{old}"
    assert f"{COPIES}/{copy.name}" in message and f"`cp -p {kept} {BINARY}`" in message
    host.run("sh", "-c", f"systemctl stop k3s; rm {DB}/state.db* && cp {COPIES}/{copy.name}/* {DB} && cp -p {kept} {BINARY}")
    host.run("systemctl", "start", "k3s")
    host.wait_ready(old)
    fleet.until_slot("Failed", "servers", host)


def snapshots(host) -> set:
    return {f.name for f in host.path(SNAPSHOTS).iterdir()}


def scheduled(host) -> set:
    """More than k3s keeps by itself, of the name that it gives them."""
    names = {f"etcd-snapshot-{host.name}-{1700000000 + n}" for n in range(7)}
    host.path(SNAPSHOTS).mkdir(parents=True, exist_ok=True)
    for name in names:
        host.push(f"{SNAPSHOTS}/{name}", "somebody else's\n")
    return names


def saved_by(fleet, host) -> list:
    """The paths that the agent has said."""
    said = (re.search(r"etcd as it was at \S+ is in the snapshot (\S+)", str(r["MESSAGE"])) for r in fleet.agent(host).records(fleet.begun))
    return [match[1] for match in said if match]


@pytest.mark.parametrize("form", ["plain", "json", "current"])
def test_etcd_is_saved_before_the_node_is_cordoned(fleet, form):
    host = fleet.server
    with host.data_in("etcd"):
        others = scheduled(host)
        host.misbehave(snapshotForm=form)
        fleet.mark()
        old, _ = upgrade(fleet, host)
        assert steps(fleet, host) == ["prepare", "snapshot", "cordon", "swap", "restart", "verify", "uncordon", "label", "release"]
        made, = snapshots(host) - others
        assert saved_by(fleet, host) == [f"{SNAPSHOTS}/{made}"]
        assert made.startswith("on-demand-" if form == "plain" else f"k3s-upgrade-agent-{host.name}-")
        assert host.read(f"{SNAPSHOTS}/{made}") == f"snapshot of {old}\n"
        for _ in range(3):
            upgrade(fleet, host)
        assert snapshots(host) == others | {path.rpartition("/")[2] for path in saved_by(fleet, host)[-2:]}, "somebody else's stay"


@pytest.mark.parametrize("form", ["plain", "json", "current"])
def test_the_message_names_the_snapshot_to_go_back_to(fleet, form):
    host = fleet.server
    old, bad = host.k3s_version(), fleet.cluster.k3s(minors=1, patch=9)
    fleet.cluster.releases.add(bad, {"neverReady": True})
    with host.data_in("etcd"):
        host.misbehave(snapshotForm=form)
        fleet.agent(host).configure("health: {timeout: 10s, settle: 1s}\n")
        fleet.plan("servers", [host], version=bad)
        said = fleet.until_condition("servers", "Complete", "False", "nothing was rolled back: ")["message"]
        path = re.search(rf"`{BINARY} server --data-dir /var/lib/rancher/k3s --cluster-reset --cluster-reset-restore-path=(\S+)`", said)[1]
        assert host.read(path) == f"snapshot of {old}\n"
        fleet.cluster.kubectl("-n", "system-upgrade", "delete", "plan", "servers")
        host.misbehave()
        host.run("sh", "-c", f"systemctl stop k3s && cp -p /usr/local/bin/.k3s.k3s-upgrade-agent.kept-{old} {BINARY} && systemctl start k3s")
        host.wait_ready(old)


def test_a_server_whose_etcd_cannot_be_saved_stays_as_it_is(fleet):
    host = fleet.server
    with host.data_in("etcd"):
        started = invocation(host)
        for how, reason in (({"failSnapshot": True}, "`k3s etcd-snapshot save` failed with exit status 1"),
                            ({"snapshotSilentFailure": True}, f"there is no new snapshot in {SNAPSHOTS}")):
            host.misbehave(**how)
            fleet.mark()
            version = fleet.next_version(host)
            fleet.plan("servers", [host], version=version)
            said = fleet.until_condition("servers", "Complete", "False", reason)
            assert said["reason"] == "Blocked"
            assert not fleet.was_cordoned(host) and invocation(host) == started and not is_cordoned(host.node())
        host.misbehave(snapshotInProgress=2)
        fleet.wait_complete("servers", version)
        assert snapshots(host) != set()
