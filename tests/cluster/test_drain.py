# SPDX-License-Identifier: Apache-2.0
"""Drains that can't be: pods that a budget holds, and pods that do not go."""

import pytest

from .agent import CONFIGURATION, STATE
from .watched import is_cordoned
from .workload import deploy_on, end_guard, guard

BUDGET = "strict"


@pytest.fixture
def budget(fleet):
    """A function: a pod on the host that a budget never lets go, until the budget is deleted."""
    def make(host):
        deploy_on(fleet, host, "web")
        fleet.cluster.kubectl("create", "poddisruptionbudget", BUDGET, "--selector=app=web", "--max-unavailable=0")
    yield make
    fleet.cluster.kubectl("delete", "pdb", BUDGET, "--ignore-not-found")


@pytest.mark.every_kubernetes
def test_a_node_whose_pods_a_budget_holds_waits_uncordoned_and_names_it_in_the_plan(fleet, budget):
    host = fleet.workers[1]
    fleet.agent(host).configure(CONFIGURATION + "drain: {patience: 5s}\n")
    budget(host)
    version = fleet.next_version(host)
    fleet.plan("careful", [host], version=version, drain={})
    said = fleet.until_condition("careful", "Complete", "False", f"disruption budget {BUDGET}")
    assert said["reason"] == "Blocked" and f"{host.name}: " in said["message"] and "default/web-" in said["message"]
    fleet.agent(host).until_status(f"Blocked {version} for careful: ")
    assert not fleet.was_cordoned(host) and fleet.most_slots("careful") == 0
    fleet.cluster.kubectl("delete", "pdb", BUDGET)
    fleet.wait_complete("careful")
    assert host.is_ready(version) and fleet.was_cordoned(host) and not is_cordoned(host.node())


def test_a_drain_that_runs_into_its_timeout_is_undone_and_fails_after_as_many_attempts(fleet):
    host = fleet.workers[1]
    agent = fleet.agent(host)
    agent.configure(CONFIGURATION + "drain: {attempts: 2}\n")
    old = host.k3s_version()
    guard(fleet, host)
    version = fleet.next_version(host)
    fleet.plan("careful", [host], version=version, drain={"timeout": "3s"})
    agent.heard("undone, the node is as it was", fleet.begun)
    agent.restart()  # what it has tried it does not forget
    slot = fleet.until_slot("Failed", "careful", host, "spec.drain.timeout")
    assert "default/guarded-" in slot["detail"]
    fleet.until_condition("careful", "Complete", "False", "spec.drain.timeout")
    assert not is_cordoned(host.node()) and host.k3s_version() == old
    assert not host.path(f"{STATE}/journal.json").exists()
    assert len(agent.records(fleet.begun, "Draining for")) == 2
    end_guard(fleet)
    host.run("k3s-upgrade-agent", "release")
    fleet.wait_complete("careful")
    assert host.is_ready(version)
