# SPDX-License-Identifier: Apache-2.0
"""Releases that do not work, each in its own way: known as such, rolled back or left, and told."""

import pytest

from . import now
from .agent import BINARY, CONFIGURATION, STATE
from .faults import go_on, pause_at, pause_no_more, until_paused
from .processes import until
from .watched import is_cordoned, plan_label
from .workload import invocation


def messages(fleet, plan):
    return [e["message"] for e in fleet.until_events(plan, "JobFailed") if e["reason"] == "JobFailed"]


@pytest.mark.parametrize("role, how, reason, line", [
    ("agent", {"crashAfter": 0.3}, "verify: did not stay up for 1s (health.settle): k3s-agent.service is ", "told to crash"),
    ("agent", {"reportVersion": "v1.0.99+k3s1"}, "verify: not healthy after 10s: the kubelet reports v1.0.99+k3s1", "is up and running"),
    ("server", {"hangStart": True}, "restart: restarting k3s.service: not done after 10s", "told to hang"),
], ids=["an agent that crashes", "an agent of another version", "a server that hangs in its start"])
def test_is_rolled_back_and_its_last_lines_are_told(fleet, role, how, reason, line):
    host = fleet.server if role == "server" else fleet.workers[0]
    fleet.agent(host).configure("restart: {timeout: 10s}\nhealth: {timeout: 10s, settle: 1s}\n")
    old = host.k3s_version()
    bad = fleet.broken_version(host, **how)
    fleet.plan("breaks", [host], version=bad)
    said = fleet.until_condition("breaks", "Complete", "False", reason)
    assert said["reason"] == "JobFailed" and f"; rolled back to {old}" in said["message"]
    assert host.is_ready(old) and host.k3s_version() == old
    assert fleet.was_cordoned(host) and not is_cordoned(host.node())
    last = [m for m in messages(fleet, "breaks") if m.startswith(f"The last lines of {host.unit} on Node {host.name} at {bad}: ")]
    assert len(last) == 1 and line in last[0]


def minor_above(fleet, patch, **how):
    version = fleet.cluster.k3s(minors=1, patch=patch)
    fleet.cluster.releases.add(version, how)
    return version


def test_a_server_over_a_minor_version_stops_and_can_be_mended_or_taken_back_by_hand(fleet):
    host = fleet.server
    old = host.k3s_version()
    bad = minor_above(fleet, patch=0, neverReady=True)
    fleet.agent(host).configure("health: {timeout: 10s, settle: 1s}\n")
    fleet.plan("stops", [host], version=bad)
    said = fleet.until_condition("stops", "Complete", "False", "nothing was rolled back: ")
    assert said["reason"] == "JobFailed" and f"{bad} may have migrated the data store" in said["message"]
    kept = f"/usr/local/bin/.k3s.k3s-upgrade-agent.kept-{old}"
    assert f"cp -p {kept} {BINARY}" in said["message"]
    assert host.k3s_version() == bad and not is_cordoned(host.node())
    assert plan_label(host.node(), "stops") is None
    assert any("The last lines of k3s.service" in m for m in messages(fleet, "stops"))
    assert not any("RollingBack" in str(r["MESSAGE"]) for r in fleet.agent(host).records(fleet.begun))

    # Released while nothing is mended: not taken for a success.
    before = invocation(host)
    host.run("k3s-upgrade-agent", "release")
    fleet.agent(host).until_status("for the node, which runs the version already, to be Ready")
    # Mended.
    host.misbehave(neverReady=False)
    host.run("systemctl", "restart", "k3s")
    plan = fleet.wait_complete("stops")
    assert host.is_ready(bad) and plan_label(host.node(), "stops") == plan["status"]["latestHash"]
    assert invocation(host) != before

    # By hand, as the message says, once nothing asks for the version any more.
    fleet.cluster.kubectl("-n", "system-upgrade", "delete", "plan", "stops")
    host.run("systemctl", "stop", "k3s")
    host.run("cp", "-p", kept, BINARY)
    host.run("systemctl", "start", "k3s")
    host.wait_ready(old)
    # And the next Plan is carried out.
    good = fleet.next_version(host)
    fleet.plan("goes-on", [host], version=good)
    fleet.wait_complete("goes-on")
    assert host.is_ready(good)
    assert host.run("test", "-e", kept, check=False).returncode != 0


def test_a_server_over_a_minor_version_is_rolled_back_where_that_is_wanted(fleet):
    host = fleet.server
    old = host.k3s_version()
    bad = minor_above(fleet, patch=1, failStart=True)
    fleet.agent(host).configure(CONFIGURATION + "rollback: always\n")
    fleet.plan("breaks", [host], version=bad)
    said = fleet.until_condition("breaks", "Complete", "False", f"{host.name}: restart: ")
    assert "nothing was rolled back" not in said["message"]
    assert host.is_ready(old) and host.k3s_version() == old and not is_cordoned(host.node())


def test_what_has_failed_is_not_tried_again_when_the_data_store_is_brought_back(fleet, tmp_path):
    """The copy is from when the node was cordoned and held its slot; it knows nothing of the failure."""
    host, agent, plane = fleet.server, fleet.agent(fleet.server), fleet.cluster.control_plane
    old = host.k3s_version()
    bad = minor_above(fleet, patch=9, neverReady=True)
    agent.configure("health: {timeout: 10s, settle: 1s}\n")
    pause_at(agent, "stop:before")
    fleet.plan("breaks", [host], version=bad)
    until_paused(agent, "stop:before", fleet.begun)
    pause_no_more(agent)
    plane.keep_data_store(tmp_path / "etcd")
    go_on(agent)
    fleet.until_condition("breaks", "Complete", "False", "nothing was rolled back: ")
    until(lambda: not host.path(f"{STATE}/journal.json").exists(), "the agent is done with it")

    host.run("systemctl", "stop", "k3s")
    host.run("cp", "-p", f"/usr/local/bin/.k3s.k3s-upgrade-agent.kept-{old}", BINARY)
    begun = now()
    plane.bring_back_data_store(tmp_path / "etcd")
    host.run("systemctl", "start", "k3s")
    host.wait_ready(old)
    agent.heard("the lock is from before", begun)
    fleet.until_slot("Failed", "breaks", host, "nothing was rolled back: ")
    fleet.until_condition("breaks", "Complete", "False", "nothing was rolled back: ")
    fleet.until_node(host, lambda n: not is_cordoned(n), "schedulable")
    assert not agent.records(begun, "took a slot")
    assert host.k3s_version() == old

    # Mended and released, and no pause point any more.
    fleet.cluster.releases.add(bad, {})
    agent.restart()
    agent.until_status("Failed")
    host.run("k3s-upgrade-agent", "release")
    fleet.wait_complete("breaks", bad)
    assert host.is_ready(bad)
