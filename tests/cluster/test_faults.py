# SPDX-License-Identifier: Apache-2.0
"""Faults in the middle of an upgrade that test_crash.py does not have: files, folders, clocks, certificates.

After each the node is schedulable, k3s runs a verified release, and the Plan that was under way comes to its end.
"""

import pytest

from . import clocks, now, until
from .agent import LOCK, NAMESPACE, STATE, UNIT
from .faults import ends_well, go_on, some, standing_still
from .watched import is_cordoned, plan_label, slots, version_of


pytestmark = pytest.mark.usefixtures("without_pauses")


@pytest.mark.parametrize("point, broken", some(
    pytest.param("swap:after", "", id="empty after the swap"),
    pytest.param("verify:before", '{"format": 99, "steps": {}}', id="of a newer agent after the restart")))
def test_a_journal_that_is_broken_is_put_aside_and_the_upgrade_begins_again(fleet, point, broken):
    host = fleet.workers[0]
    agent = fleet.agent(host)
    with standing_still(fleet, host, point) as version:
        assert is_cordoned(host.node())
        host.push(f"{STATE}/journal.json", broken)
        begun = now()
        agent.kill()
        assert f"{STATE}/journal.json.broken" in agent.heard("put aside as", begun)["MESSAGE"]
    ends_well(fleet, host, version)
    assert host.read(f"{STATE}/journal.json.broken") == broken


def test_a_folder_that_becomes_read_only_at_the_swap_leaves_the_node_schedulable(fleet):
    host = fleet.workers[1]
    old = host.k3s_version()
    host.run("mkdir", "-p", "/run/empty")
    with standing_still(fleet, host, "swap:before") as version:
        host.run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=/usr/local/bin:/run/empty", "/usr/local/bin")
        try:
            go_on(fleet.agent(host))
            fleet.agent(host).heard("undone, the node is as it was", fleet.begun)
            fleet.until_node(host, lambda n: not is_cordoned(n), "schedulable")
            assert host.is_ready(old)
            fleet.agent(host).until_status("k3s can't be replaced there")
        finally:
            host.run("umount", "/usr/local/bin")
    ends_well(fleet, host, version)


def test_a_clock_that_is_set_back_a_day_in_mid_upgrade_changes_nothing(fleet):
    host = fleet.workers[1]
    agent = fleet.agent(host)
    with standing_still(fleet, host, "restart:before", postCompleteDelay="2s") as version:
        agent.kill()
        clocks.set_wrong(host, UNIT, "-1d")
    try:
        ends_well(fleet, host, version)
    finally:
        clocks.set_right(host, UNIT)


def test_the_kubelets_certificate_is_a_new_one_after_the_restart(fleet):
    host = fleet.workers[0]
    certificate = "/var/lib/rancher/k3s/agent/client-kubelet.crt"
    with standing_still(fleet, host, "restart:before") as version:
        before = host.read(certificate)
        go_on(fleet.agent(host))
    ends_well(fleet, host, version)
    assert host.read(certificate) != before
    assert plan_label(host.node(), "upgrades")


@pytest.mark.parametrize("role", ["server", "agent"])
def test_a_restart_by_hand_of_what_is_being_verified_is_no_crash(fleet, role):
    host = fleet.server if role == "server" else fleet.workers[0]
    fleet.agent(host).configure("health: {settle: 10s}\n")
    version = fleet.next_version(host)
    fleet.plan("upgrades", [host], version=version)
    fleet.agent(host).heard("Verifying", fleet.begun)
    host.run("systemctl", "restart", host.unit)
    fleet.agent(host).heard(f"somebody restarts {host.unit}", fleet.begun)
    ends_well(fleet, host, version)
    assert not any("failed" in str(r["MESSAGE"]) for r in fleet.agent(host).records(fleet.begun))


def test_a_node_that_is_deleted_after_its_cordon_is_upgraded_and_registers_anew(fleet):
    host = fleet.workers[0]
    with standing_still(fleet, host, "drain:before", drain={}) as version:
        uid = host.node()["metadata"]["uid"]
        fleet.cluster.kubectl("delete", "node", host.name)
        go_on(fleet.agent(host))
    fleet.until_node(host, lambda n: n["metadata"]["uid"] != uid, "registered anew")
    ends_well(fleet, host, version)


def test_a_node_that_is_deleted_after_the_restart_is_rolled_back_and_registers_anew(fleet):
    """A kubelet registers when it starts, and never later: such a node does not come back by itself."""
    host = fleet.workers[1]
    old = host.k3s_version()
    fleet.agent(host).configure("restart: {timeout: 10s}\nhealth: {timeout: 10s, settle: 1s}\n")
    with standing_still(fleet, host, "verify:before") as bad:
        fleet.until_node(host, lambda n: version_of(n) == bad, "registered by the new k3s")
        fleet.cluster.kubectl("delete", "node", host.name)
        go_on(fleet.agent(host))
    fleet.until_condition("upgrades", "Complete", "False", "the Node object is gone")
    host.wait_ready(old)
    assert host.k3s_version() == old and not is_cordoned(host.node())
    version = fleet.next_version(host).replace("+k3s1", "+k3s2")
    fleet.cluster.releases.add(version)
    fleet.patch_plan("upgrades", version=version)
    ends_well(fleet, host, version)


def test_a_second_agent_ends_with_one_line_and_leaves_the_first_ones_upgrade_alone(fleet):
    """`k3s-upgrade-agent run` by hand beside the service, as somebody who looks for a mistake may do it."""
    host = fleet.workers[0]
    agent = fleet.agent(host)
    with standing_still(fleet, host, "drain:before", drain={}) as version:
        def traces():
            files = [f"{STATE}/journal.json", f"{STATE}/agent.lock", "/run/k3s-upgrade-agent/status.json"]
            return ([host.run("cat", f).stdout for f in files], sorted(f.name for f in host.path(STATE).iterdir()), is_cordoned(host.node()),
                    sorted(slots(fleet.cluster.kubectl_json("get", "configmap", LOCK, "-n", NAMESPACE))), host.k3s_version())
        before = traces()
        assert before[2] and before[3], "the first one has cordoned the node, and has its slot"
        second = host.run("timeout", "15", "k3s-upgrade-agent", "run", check=False)
        assert second.returncode == 1, second
        assert second.stdout == "" and second.stderr.count("\n") == 1, second
        assert f"process {agent.pid}, " in second.stderr and "systemctl status k3s-upgrade-agent" in second.stderr
        assert traces() == before
        # Whoever only looks is not held up.
        assert agent.status()["running"] and agent.status()["pid"] == agent.pid
        go_on(agent)
    ends_well(fleet, host, version)


def test_an_agent_that_was_killed_leaves_no_lock_behind(fleet):
    host = fleet.workers[0]
    agent = fleet.agent(host)
    pid, begun = agent.pid, now()
    agent.kill()
    agent.heard("starts", begun)
    until(lambda: agent.pid not in (0, pid), "the next agent")
    assert host.read(f"{STATE}/agent.lock").strip() == str(agent.pid)
    assert not agent.records(begun, "another k3s-upgrade-agent")
