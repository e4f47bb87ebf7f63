# SPDX-License-Identifier: Apache-2.0
"""The administrator's own programs around an upgrade, on real hosts: in systemd's units, outside the agent's sandbox."""

import contextlib

import pytest

from . import until
from .agent import CONFIGURATION
from .watched import is_cordoned
from .workload import invocation

FOLDER = "/etc/k3s-upgrade-agent/hooks.d"
# Where the agent's own sandbox lets nobody write.
NOTES = "/etc/hooks-ran"
POINTS = ("pre-drain", "post-drain", "pre-restart", "post-upgrade", "on-failure")
NOTE = f"""#!/bin/sh
exec >>{NOTES}
echo "$K3S_UPGRADE_HOOK $K3S_UPGRADE_NODE $K3S_UPGRADE_PLAN $K3S_UPGRADE_ROLE $K3S_UPGRADE_FROM_VERSION $K3S_UPGRADE_VERSION"
systemctl is-active --quiet k3s-agent && k3s --version | sed -n 's/^k3s version/runs/p'
"""


@contextlib.contextmanager
def hooks(host, wanted, mode=0o755):
    """These scripts, by point; what they have noted goes with them."""
    try:
        for point, script in wanted.items():
            host.push(f"{FOLDER}/{point}/10-test", script, mode)
        yield
    finally:
        for point in wanted:
            host.run("rm", "-f", f"{FOLDER}/{point}/10-test")
        host.run("rm", "-f", NOTES)


def hook_units(host) -> list:
    return host.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "k3s-upgrade-agent-hook-*").stdout.splitlines()


def test_the_package_brings_the_empty_folders(fleet):
    host = fleet.workers[0]
    found = {folder.name: list(folder.iterdir()) for folder in host.path(FOLDER).iterdir()}
    assert found == {point: [] for point in POINTS}


def test_hooks_run_in_order_as_an_administrator_would_and_know_the_upgrade(fleet):
    host = fleet.workers[0]
    old, new = host.k3s_version(), fleet.next_version(host)
    with hooks(host, dict.fromkeys(POINTS, NOTE)):
        fleet.plan("hooked", [host], version=new, drain={})
        fleet.wait_complete("hooked")
        fleet.agent(host).upgraded(fleet.begun)
        told = f"{host.name} hooked agent {old} {new}"
        expected = [line for point in ("pre-drain", "post-drain", "pre-restart", "post-upgrade")
                    for line in (f"{point} {told}", f"runs {new if point == 'post-upgrade' else old}")]
        assert [line.partition(" (")[0] for line in host.read(NOTES).splitlines()] == expected
    assert hook_units(host) == []


@pytest.mark.parametrize("point", ["pre-drain", "post-drain", "pre-restart"])
def test_a_hook_that_fails_leaves_the_node_uncordoned_and_k3s_untouched(fleet, point):
    host = fleet.workers[0]
    agent, old, before = fleet.agent(host), host.k3s_version(), invocation(host)
    left_behind = "#!/bin/sh\nsetsid sleep 987654 &\necho no backup today >&2\nexit 3\n"
    with hooks(host, {point: left_behind, "on-failure": f"#!/bin/sh\necho \"$K3S_UPGRADE_REASON\" >>{NOTES}\n"}):
        fleet.plan("refused", [host], version=fleet.next_version(host), drain={})
        agent.until_status(f"{point}/10-test failed with exit status 3: no backup today")
        assert not is_cordoned(host.node()) and fleet.was_cordoned(host)
        assert host.k3s_version() == old and invocation(host) == before
        assert "failed with exit status 3: no backup today" in host.read(NOTES)
        assert agent.records(fleet.begun, "no backup today")
        assert host.run("pgrep", "-f", "sleep 987654", check=False).stdout == "", "what a hook starts ends with it"


def test_on_failure_hooks_run_once_the_old_version_is_back(fleet):
    host = fleet.workers[0]
    old = host.k3s_version()
    bad = fleet.broken_version(host, failStart=True)
    fleet.agent(host).configure("restart: {timeout: 10s}\nhealth: {timeout: 10s, settle: 1s}\n")
    tell = f"echo \"$K3S_UPGRADE_REASON\" >>{NOTES}\n"
    with hooks(host, {"on-failure": NOTE + tell, "post-upgrade": NOTE}):
        fleet.plan("breaks", [host], version=bad)
        fleet.until_condition("breaks", "Complete", "False", "verify: did not stay up ")
        until(lambda: host.path(NOTES).exists() and "verify: " in host.read(NOTES), "the hook's note")
        line, runs, reason = host.read(NOTES).splitlines()
    assert line == f"on-failure {host.name} breaks agent {old} {bad}"
    assert runs.startswith(f"runs {old} ")
    assert reason.startswith("verify: did not stay up ")


def test_a_hook_that_takes_too_long_is_ended(fleet):
    host = fleet.workers[0]
    agent, before = fleet.agent(host), invocation(host)
    agent.configure(CONFIGURATION + "hooks: {timeout: 1s}\n")
    try:
        with hooks(host, {"pre-restart": "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 987655; done\n"}):
            fleet.plan("slow", [host], version=fleet.next_version(host))
            agent.until_status("pre-restart/10-test did not end within 1s")
            assert not is_cordoned(host.node()) and invocation(host) == before
            # The next attempt runs it again.
            fleet.cluster.kubectl("-n", "system-upgrade", "delete", "plan", "slow")
            until(lambda: hook_units(host) == [], "no hook's unit left")
            assert host.run("pgrep", "-f", "sleep 987655", check=False).stdout == ""
    finally:
        agent.configure()


def test_a_hook_that_others_may_write_is_refused_before_the_cordon(fleet):
    host = fleet.workers[0]
    with hooks(host, {"pre-drain": f"#!/bin/sh\necho ran >>{NOTES}\n"}, mode=0o757):
        fleet.plan("unsafe", [host], version=fleet.next_version(host))
        fleet.agent(host).until_status("10-test may be written by others than root")
        assert not fleet.was_cordoned(host) and not host.path(NOTES).exists()
