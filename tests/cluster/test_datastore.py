# SPDX-License-Identifier: Apache-2.0
"""What becomes of a server's data store: the copy from before an upgrade, and the k3s that is stopped for it."""

import pytest

from . import now
from .agent import BINARY, CONFIGURATION, STATE, UNIT
from .faults import pause_at, pause_no_more, until_paused
from .watched import is_cordoned
from .workload import invocation

DB = "/var/lib/rancher/k3s/server/db"
COPIES = f"{STATE}/datastore"
SNAPSHOTS = f"{DB}/snapshots"


@pytest.fixture(autouse=True)
def no_copies(fleet):
    fleet.server.run("rm", "-rf", COPIES, SNAPSHOTS)


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


def test_copies_of_two_upgrades_are_kept(fleet):
    host = fleet.server
    olds = [upgrade(fleet, host)[0] for _ in range(3)]
    assert [c.name.rpartition("-v")[2] for c in copies(host)] == [old[1:] for old in olds[1:]]


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
    old, bad = host.k3s_version(), "v1.31.7+k3s1"
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


def snapshots(host) -> list:
    return [line.split()[0] for line in host.run(BINARY, "etcd-snapshot", "ls").stdout.splitlines()]


def test_etcd_is_saved_before_the_node_is_cordoned(fleet):
    host = fleet.server
    with host.data_in("etcd"):
        host.run(BINARY, "etcd-snapshot", "save")
        others = snapshots(host)
        fleet.mark()
        old, _ = upgrade(fleet, host)
        assert steps(fleet, host) == ["prepare", "snapshot", "cordon", "swap", "restart", "verify", "uncordon", "label", "release"]
        made, = set(snapshots(host)) - set(others)
        assert made.startswith(f"k3s-upgrade-agent-{host.name}-")
        assert host.read(f"{SNAPSHOTS}/{made}") == f"snapshot of {old}\n"
        assert any(f"etcd as it was at {old} is in the snapshot {made}" in str(r["MESSAGE"]) for r in fleet.agent(host).records(fleet.begun))
        for _ in range(2):
            upgrade(fleet, host)
        left = snapshots(host)
        assert set(others) <= set(left), "somebody else's stay"
        assert len(left) == len(others) + 2 and made not in left


def test_a_server_whose_etcd_cannot_be_saved_stays_as_it_is(fleet):
    host = fleet.server
    with host.data_in("etcd"):
        started = invocation(host)
        host.misbehave(failSnapshot=True)
        fleet.mark()
        version = fleet.next_version(host)
        fleet.plan("servers", [host], version=version)
        said = fleet.until_condition("servers", "Complete", "False", "`k3s etcd-snapshot save` failed with exit status 1")
        assert said["reason"] == "Blocked" and "told to fail" in said["message"]
        assert not fleet.was_cordoned(host) and invocation(host) == started and not is_cordoned(host.node())
        host.misbehave()
        fleet.wait_complete("servers", version)
        assert snapshots(host) != []
