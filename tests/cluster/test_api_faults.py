# SPDX-License-Identifier: Apache-2.0
"""An API server that answers badly, at telling moments of an upgrade: what the agent makes of it, and what it costs the server."""

import re
import time

import pytest

from . import now
from .agent import CONFIGURATION
from .bad_way import BadWay
from .crash_report import all_wanted
from .faults import ends_well, go_on, standing_still
from .watched import is_cordoned
from .workload import deploy_on, invocation

pytestmark = pytest.mark.usefixtures("without_pauses")
# Shorter than the faults: what the agent would take for a node that does not come up.
IMPATIENT = "restart: {timeout: 10s}\nhealth: {timeout: 10s, settle: 1s}\n"
SECONDS = 15


@pytest.fixture
def way(fleet):
    with BadWay(fleet.workers[0]) as bad_way:
        fleet.agent(bad_way.host).until_status("Idle: no Plans")
        fleet.mark()
        yield bad_way


def memory(agent) -> int:
    """The most that the agent has had in memory, in MB."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", agent.host.run("cat", f"/proc/{agent.pid}/status").stdout)[1]) // 1024


CASES = [(mode, point) for mode in ("500", "429", "403", "slow", "huge") for point in ("cordon:before", "verify:before")]
ORDINARY = {("500", "verify:before"), ("403", "cordon:before"), ("huge", "cordon:before")}


@pytest.mark.parametrize("mode, point", [case for case in CASES if all_wanted() or case in ORDINARY])
def test_an_upgrade_outlasts_an_api_that_answers_badly(fleet, way, mode, point):
    host, agent = way.host, fleet.agent(way.host)
    agent.configure(IMPATIENT)
    with standing_still(fleet, host, point) as version:
        started = invocation(host)
        way.mode(mode)
        go_on(agent)
        asked = way.meet(mode, SECONDS)
        assert memory(agent) < 150
    # The pace of who waits for one answer and of the watches, with some room for what the moment asks for once.
    assert len(asked) < 8 * SECONDS, f"{len(asked)} requests in {SECONDS} s"
    ends_well(fleet, host, version)
    assert not any("rolled back" in str(r["MESSAGE"]) for r in agent.records(fleet.begun))
    if point == "verify:before":
        assert invocation(host) == started, "k3s was restarted for an outage of the API"


@pytest.mark.parametrize("mode, said", [("403", "loading its RBAC rules after a start"), ("404", "loading its CRDs after a start")])
def test_what_a_server_that_starts_refuses_alarms_nobody(fleet, way, mode, said):
    agent = fleet.agent(way.host)
    with way.bad(mode):
        agent.until_status(said)
        time.sleep(SECONDS)
    agent.until_status("Idle: no Plans")
    assert not agent.records(fleet.begun, "apply")
    told = agent.records(fleet.begun, said)
    assert len(told) <= 1 and all(r["PRIORITY"] == "6" for r in told)


def test_a_drain_outlasts_an_api_that_is_overrun(fleet, way):
    host, agent = way.host, fleet.agent(way.host)
    deploy_on(fleet, host, "slow", terminationGracePeriodSeconds=5)
    with standing_still(fleet, host, "drain:before", drain={}) as version:
        way.mode("429")
        go_on(agent)
        asked = way.meet("429", SECONDS)
        assert is_cordoned(host.node())
    assert len(asked) < 8 * SECONDS
    ends_well(fleet, host, version)


@pytest.mark.every_kubernetes
def test_watches_that_are_cut_each_second_cost_little_and_hold_nothing_up(fleet, way):
    host, agent = way.host, fleet.agent(way.host)
    asked = way.meet("cut", SECONDS)
    assert 3 < len(asked) < 2 * SECONDS, f"{len(asked)} requests of an idle agent in {SECONDS} s"
    begun = now()
    with way.bad("cut"):
        version = fleet.next_version(host)
        fleet.plan("upgrades", [host], version=version, drain={})
        ends_well(fleet, host, version)
    assert not any("undone" in str(r["MESSAGE"]) for r in agent.records(begun))


def test_a_server_whose_own_api_is_not_ready_is_rolled_back(fleet):
    host = fleet.server
    old = host.k3s_version()
    with BadWay(host) as way:
        fleet.agent(host).configure(IMPATIENT)
        bad = fleet.next_version(host)
        with way.bad("unready"):
            fleet.plan("breaks", [host], version=bad)
            said = fleet.until_condition("breaks", "Complete", "False", "the API server of this host is not ready after")
        assert "(/readyz): failing checks: etcd" in said["message"] and said["reason"] == "JobFailed"
        assert host.is_ready(old) and host.k3s_version() == old and not is_cordoned(host.node())
        fleet.agent(host).configure(CONFIGURATION)
