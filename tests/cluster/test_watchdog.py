# SPDX-License-Identifier: Apache-2.0
"""systemd's watchdog, with a patience of seconds: an agent whose threads hang is started again, and one that only waits is not."""

import time

import pytest

from . import now, until
from .agent import UNIT
from .faults import ends_well
from .threads import Frozen

SECONDS = 20
DROP_IN = f"/run/systemd/system/{UNIT}.d/watchdog.conf"


def restarts(host) -> int:
    return int(host.unit_state(UNIT)["NRestarts"])


def said_by_systemd(host, since) -> list:
    return [str(r["MESSAGE"]) for r in host.journal(UNIT, since) if r.get("_PID") == "1"]


@pytest.fixture
def agent(fleet):
    """A worker's, with a short watchdog."""
    host = fleet.workers[0]
    host.run("mkdir", "-p", DROP_IN.rpartition("/")[0])
    host.run("sh", "-c", f"cat >{DROP_IN}", input=f"[Service]\nWatchdogSec={SECONDS}s\n")
    host.run("systemctl", "daemon-reload")
    fleet.agent(host).restart()
    yield fleet.agent(host)
    host.run("rm", "-f", DROP_IN)
    host.run("systemctl", "daemon-reload")
    fleet.agent(host).restart()


def test_an_agent_that_only_waits_is_left_alone(fleet, agent):
    """The time itself is what is waited for: an idle agent's threads sleep for an hour, in pieces."""
    agent.until_status("Idle")
    pid, begun, before = agent.pid, now(), restarts(agent.host)
    time.sleep(2 * SECONDS + 5)
    assert (agent.pid, restarts(agent.host)) == (pid, before)
    assert not agent.records(begun, "hangs")


def test_an_agent_whose_threads_hang_is_started_again_and_works(fleet, agent):
    agent.until_status("Idle")
    pid, begun, before = agent.pid, now(), restarts(agent.host)
    with Frozen(agent.host, pid) as frozen:
        assert len(frozen.threads) > 5, "the main thread is not among them"
        record = agent.heard(" hangs: it has shown no progress for ", begun)
        assert record["PRIORITY"] == "3"
        until(lambda: restarts(agent.host) > before and agent.pid not in (0, pid), "systemd starts it again")
    assert any("Watchdog timeout" in line for line in said_by_systemd(agent.host, begun))
    assert len(agent.records(begun, " hangs: it has shown no progress for ")) == 1
    version = fleet.next_version(agent.host)
    fleet.plan("upgrades", [agent.host], version=version)
    ends_well(fleet, agent.host, version)
