# SPDX-License-Identifier: Apache-2.0
"""What can befall a host while its agent stands still at one moment of an upgrade, and how that moment is reached.

The agent stops itself at a pause point (K3S_UPGRADE_AGENT_PAUSE, for fault tests only). The drop-in that asks for it lies in
/run, so that it goes with the power, as the agent's memory does.
"""

import contextlib
import dataclasses
import time

from .agent import BINARY, STATE, UNIT
from .crash_report import all_wanted
from .processes import PATIENCE, until
from .watched import is_cordoned, plan_label, version_of

DROP_IN = f"/run/systemd/system/{UNIT}.d/pause.conf"

# The shortest lease that the agent takes, so that the API can be away for longer.
LEASE = 30
SHORT_LEASE = f"restart: {{timeout: 10s}}\nhealth: {{timeout: 19s, settle: 1s}}\nlock: {{ttl: {LEASE}s}}\n"


@dataclasses.dataclass(frozen=True)
class Reach:
    """A kind of upgrade that comes by certain steps."""

    broken: bool = False  # by a release that does not start
    through: str = ""  # a pause point on the way, at which the upgrade outlives its deadline
    spec: dict = dataclasses.field(default_factory=dict)
    on: str = "worker"  # or server
    hook: str = ""  # the folder of one that the host has
    datastore: str = ""  # a server's; empty: as it is


FORWARD = Reach(spec={"drain": {}, "postCompleteDelay": "3s"})
ROLL_BACK = Reach(broken=True)
UNDO = Reach(through="cordon:after", spec={"jobActiveDeadlineSecs": 15})

# Every step that `k3s-upgrade-agent steps` prints stands here, or the crash test fails.
REACH = {
    **dict.fromkeys(("prepare", "cordon", "drain", "swap", "restart", "verify", "uncordon", "delay", "label", "release"), FORWARD),
    "snapshot": dataclasses.replace(FORWARD, on="server", datastore="etcd"),
    **dict.fromkeys(("stop", "copy-datastore"), dataclasses.replace(FORWARD, on="server")),
    "undo": UNDO,
    **{f"hooks-{point}": dataclasses.replace(FORWARD, hook=point) for point in ("pre-drain", "post-drain", "pre-restart", "post-upgrade")},
    "hooks-on-failure": dataclasses.replace(ROLL_BACK, hook="on-failure"),
    **dict.fromkeys(("restore", "restart-previous", "verify-previous", "uncordon-previous", "report-failure"), ROLL_BACK),
}


def pause_at(agent, *points):
    """Starts the agent with these pause points."""
    agent.host.run("sh", "-c", f"mkdir -p {DROP_IN.rpartition('/')[0]} && cat >{DROP_IN}",
                   input=f"[Service]\nWatchdogSec=0\nEnvironment=K3S_UPGRADE_AGENT_PAUSE={','.join(points)}\n")
    agent.host.run("systemctl", "daemon-reload")
    agent.restart()


def pause_no_more(agent):
    """For its next start."""
    agent.host.run("rm", "-f", DROP_IN)
    agent.host.run("systemctl", "daemon-reload")


def is_stopped(agent) -> bool:
    stat = agent.host.run("cat", f"/proc/{agent.pid}/stat", check=False).stdout
    return stat.rpartition(")")[2].split()[:1] == ["T"]


def go_on(agent):
    agent.host.run("systemctl", "kill", "--signal=CONT", UNIT)


def until_paused(agent, point, since, timeout=PATIENCE):
    agent.heard(f"paused at {point} ", since, timeout)
    until(lambda: is_stopped(agent), f"{agent.name} standing still at {point}")


def nudge(agent):
    """An agent that was not killed stands still at its pause point a second time when it tries the upgrade again."""
    with contextlib.suppress(RuntimeError):  # between two agents there is no process to look at
        if is_stopped(agent):
            go_on(agent)


# The faults: each begins with an agent that stands still, and ends with one that goes on by itself.


def sigkill(agent):
    pause_no_more(agent)
    agent.kill()


def power_cut(agent):
    agent.host.power_off()
    agent.host.power_on()


def api_away(agent):
    """For longer than the lease: the time itself is what is waited for."""
    pause_no_more(agent)
    agent.host.unplug()
    try:
        go_on(agent)
        time.sleep(LEASE + 10)
    finally:
        agent.host.plug()


def dbus_restart(agent):
    pause_no_more(agent)
    agent.host.run("systemctl", "restart", "dbus.service")
    go_on(agent)


FAULTS = {"SIGKILL": sigkill, "power cut": power_cut, "API away": api_away, "dbus restart": dbus_restart}


@contextlib.contextmanager
def standing_still(fleet, host, point, **spec):
    """An upgrade of the host whose agent stands still there; yields the version. It is let go on at the end, if need be."""
    agent = fleet.agent(host)
    version = fleet.next_version(host)
    pause_at(agent, point)
    try:
        fleet.plan("upgrades", [host], version=version, **spec)
        until_paused(agent, point, fleet.begun)
        pause_no_more(agent)
        yield version
    finally:
        pause_no_more(agent)
        if is_stopped(agent):
            go_on(agent)


def ends_well(fleet, host, version):
    def upgraded():
        nudge(fleet.agent(host))
        node = host.node()
        return version_of(node) == version and plan_label(node, "upgrades")
    until(upgraded, f"{host.name} upgraded to {version}", interval=0.5)
    fleet.wait_complete("upgrades", version)
    until(lambda: not host.path(f"{STATE}/journal.json").exists(), "the end of the upgrade")
    assert host.is_ready(version) and not is_cordoned(host.node())
    assert host.run("sha256sum", BINARY).stdout.split()[0] == fleet.release_sha256(version)
    assert [f.name for f in host.path("/usr/local/bin").glob(".k3s*.next")] == []
    fleet.until_no_slots()


def some(*cases):
    """All of a test's cases with --all, else the first."""
    return cases if all_wanted() else cases[:1]
