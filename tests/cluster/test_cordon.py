# SPDX-License-Identifier: Apache-2.0
"""Whose the cordon is: lifted by an administrator in the middle of a drain, and found by an agent that has lost its journal."""

import pytest

from .agent import CONFIGURATION, STATE, UNIT
from .watched import is_cordoned
from .workload import deploy_on


def is_schedulable(node) -> bool:
    return not is_cordoned(node)


@pytest.fixture
def draining(fleet):
    """A function: upgrades a worker by a Plan whose drain lasts for as long as the pod's hour of grace; gives host and version."""
    def begin(configuration=CONFIGURATION):
        host = fleet.workers[0]
        fleet.agent(host).configure(configuration)
        deploy_on(fleet, host, "slow", terminationGracePeriodSeconds=3600)
        version = fleet.next_version(host)
        fleet.plan("careful", [host], version=version, drain={})
        fleet.until_slot("Draining", "careful", host, "1 pod left")
        return host, version
    yield begin
    let_go(fleet)


def let_go(fleet):
    fleet.cluster.kubectl("delete", "pods", "-l", "app=slow", "--grace-period=0", "--force", check=False)


def test_an_administrator_who_uncordons_the_node_ends_the_upgrade(fleet, draining):
    host, version = draining()
    fleet.cluster.kubectl("uncordon", host.name)
    fleet.until_condition("careful", "Complete", "False", "somebody has uncordoned the node")
    fleet.agent(host).until_status(f"Blocked {version} for careful: ")
    node = host.node()
    assert is_schedulable(node) and "k3s-upgrade-agent/cordoned-by" not in node["metadata"].get("annotations", {})
    assert host.k3s_version() != version
    let_go(fleet)
    fleet.agent(host).restart()
    fleet.wait_complete("careful")
    assert host.is_ready(version) and is_schedulable(host.node())


def test_an_uncordoned_node_is_cordoned_again_where_it_is_told_so(fleet, draining):
    host, version = draining(CONFIGURATION + "cordon: {when_lifted: again}\n")
    since = fleet.nodes.mark()
    fleet.cluster.kubectl("uncordon", host.name)
    fleet.until_node_was(since, host, is_schedulable, "uncordoned by hand")
    fleet.agent(host).heard("cordoning it again", fleet.begun)
    fleet.until_node(host, is_cordoned, "cordoned again")
    let_go(fleet)
    fleet.wait_complete("careful")
    assert host.is_ready(version) and is_schedulable(host.node())


def test_a_host_that_was_installed_anew_lifts_its_own_cordon_and_goes_on(fleet, draining):
    host, version = draining()
    since = fleet.nodes.mark()
    host.run("systemctl", "kill", "--signal=KILL", UNIT)
    host.run("systemctl", "stop", UNIT)
    host.run("find", STATE, "-mindepth", "1", "-delete")
    host.run("systemctl", "start", UNIT)
    fleet.until_node_was(since, host, is_schedulable, "uncordoned")
    let_go(fleet)
    fleet.wait_complete("careful")
    assert host.is_ready(version) and is_schedulable(host.node())


@pytest.mark.parametrize("broken", ["", '{"format": 1, "plan": "care', '{"format": 99, "plan": "careful", "step": "drain"}'],
                         ids=["empty", "truncated", "of a newer version"])
def test_a_journal_that_cannot_be_read_is_put_aside_and_the_node_comes_back(fleet, draining, broken):
    host, version = draining()
    since = fleet.nodes.mark()
    host.run("systemctl", "stop", UNIT)
    host.push(f"{STATE}/journal.json", broken)
    host.run("systemctl", "start", UNIT)
    fleet.agent(host).heard("put aside as", fleet.begun)
    assert host.read(f"{STATE}/journal.json.broken") == broken
    fleet.until_node_was(since, host, is_schedulable, "uncordoned")
    let_go(fleet)
    fleet.wait_complete("careful")
    assert host.is_ready(version) and is_schedulable(host.node())
