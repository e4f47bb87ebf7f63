# SPDX-License-Identifier: Apache-2.0
"""Hosts as people have them: units that lie there and never ran, scripts that start k3s, roles and folders that only the
environment or a configuration file tells. The agent goes by what runs, and touches nothing where it can't tell."""

import contextlib
import hashlib

from . import now, until
from .agent import BINARY, STATE, UNIT
from .watched import is_cordoned
from .workload import invocation

CONFIG = "/etc/rancher/k3s/config.yaml"
SCRIPT = "/usr/local/sbin/start-k3s"


@contextlib.contextmanager
def unit_changed(host, lines, files=None):
    """k3s's unit with a drop-in, and files beside it, inside; k3s runs with them, and without them afterwards."""
    drop_in = f"/etc/systemd/system/{host.unit}.d/test.conf"
    host.run("mkdir", "-p", f"/etc/systemd/system/{host.unit}.d")
    for path, text in (files or {}).items():
        host.push(path, text, 0o755)
    host.push(drop_in, "[Service]\n" + "\n".join(lines) + "\n")
    host.run("systemctl", "daemon-reload")
    host.restart_k3s()
    try:
        yield
    finally:
        host.run("systemctl", "stop", host.unit)  # as the drop-in says it: a k3s that is left running would go on reporting
        for path in [drop_in, *(files or {})]:
            host.path(path).unlink(missing_ok=True)
        host.run("systemctl", "daemon-reload")
        host.restart_k3s()


def steps(fleet, host) -> list:
    return [r["K3S_UPGRADE_STEP"] for r in fleet.agent(host).records(fleet.begun) if r.get("K3S_UPGRADE_STEP")]


def checked(host) -> list:
    """What check-config prints, a line for each finding."""
    return host.run("k3s-upgrade-agent", "check-config", check=False).stdout.splitlines()


def upgrade(fleet, host) -> str:
    version = fleet.next_version(host)
    fleet.plan("plan", [host], version=version)
    fleet.wait_complete("plan", version)
    assert host.is_ready(version)
    return version


def blocked(fleet, host, text):
    """A Plan is Blocked for the reason, and the host is as it was."""
    started = invocation(host)
    fleet.plan("plan", [host], version=fleet.next_version(host))
    said = fleet.until_condition("plan", "Complete", "False", text)
    assert said["reason"] == "Blocked" and said["message"].startswith(f"{host.name}: ")
    assert not fleet.was_cordoned(host) and invocation(host) == started and fleet.most_slots() == 0
    return said["message"]


def test_check_config_says_what_was_found_and_by_what(fleet):
    for host in (fleet.server, fleet.workers[0]):
        version, pid = host.k3s_version(), host.unit_state()["MainPID"]
        lines = checked(host)
        assert all(line.startswith("ok     ") for line in lines), lines
        assert f"ok     k3s unit: {host.unit} (active)" in lines
        assert f'ok     k3s role: {host.role} (process {pid}, "{BINARY} {host.role}")' in lines
        assert f"ok     k3s program: {BINARY}, {version} (process {pid})" in lines
        assert "ok     k3s data-dir: /var/lib/rancher/k3s (k3s's default)" in lines


def test_a_unit_that_never_ran_is_left_alone(fleet):
    # As k3s-ansible leaves it on agents.
    host = fleet.workers[0]
    other = "/etc/systemd/system/k3s.service"
    host.push(other, f"[Service]\nType=notify\nExecStart={BINARY} server\n")
    host.run("systemctl", "daemon-reload")
    try:
        upgrade(fleet, host)
        assert host.unit_state("k3s.service")["ActiveState"] == "inactive"
        assert host.unit_state("k3s.service", "ExecMainStartTimestampMonotonic")["ExecMainStartTimestampMonotonic"] == "0"
        assert "node-role.kubernetes.io/control-plane" not in host.node()["metadata"]["labels"]
    finally:
        host.path(other).unlink()
        host.run("systemctl", "daemon-reload")


def test_two_services_that_run_k3s_are_named_and_nothing_is_touched(fleet):
    host = fleet.workers[0]
    # Something that gives itself k3s's title, and takes no port of it.
    host.run("systemd-run", "--unit=k3s-other", "bash", "-c", f"exec -a '{BINARY} server' sleep infinity")
    try:
        said = blocked(fleet, host, "several services run k3s")
        assert "k3s-agent.service, k3s-other.service" in said and "k3s.unit" in said
        assert any(line.startswith("WRONG  k3s: several services run k3s") for line in checked(host))
    finally:
        host.run("systemctl", "stop", "k3s-other")
    fleet.wait_complete("plan")


def test_a_script_that_starts_k3s_is_not_replaced(fleet):
    host = fleet.workers[0]
    script = f"#!/bin/sh\nexec {BINARY} agent\n"
    with unit_changed(host, ["ExecStart=", f"ExecStart={SCRIPT}"], {SCRIPT: script}):
        upgrade(fleet, host)
        assert host.read(SCRIPT) == script
        assert not list(host.path("/usr/local/sbin").glob(".start-k3s*"))


def test_a_script_that_would_leave_k3s_running_is_refused(fleet):
    host = fleet.workers[0]
    script = f"#!/bin/sh\n{BINARY} agent\nexit $?\n"
    with unit_changed(host, ["ExecStart=", f"ExecStart={SCRIPT}", "ExecStopPost=-/usr/bin/pkill -TERM -f ^/usr/local/bin/k3s"],
                      {SCRIPT: script}):
        said = blocked(fleet, host, "k3s is a child of that")
        assert "KillMode=process" in said and f"`exec {BINARY} …`" in said and host.read(SCRIPT) == script


def test_the_role_may_stand_in_the_environment(fleet):
    # As in every KubeKey cluster. A server's data store is copied, so it was known for one.
    host = fleet.server
    with unit_changed(host, ["Environment='K3S_CMD=server'", "ExecStart=", f"ExecStart={BINARY} $K3S_CMD"]):
        upgrade(fleet, host)
    assert "copy-datastore" in steps(fleet, host)


def test_the_data_dir_is_the_one_that_runs(fleet):
    """Where k3s's configuration names another, readable to root alone, an old folder lies at the default place."""
    host = fleet.server
    old = host.read("/var/lib/rancher/k3s/server/db/state.db")
    host.push(CONFIG, "data-dir: /srv/k3s\n", 0o600)
    try:
        host.restart_k3s()
        # The agent has looked before: it starts over by itself, with the new folder's credentials.
        begun = now()
        fleet.agent(host).restart()
        fleet.agent(host).heard("Idle: no Plans", begun)
        assert f"ok     k3s data-dir: /srv/k3s ({CONFIG})" in checked(host)
        was = host.k3s_version()
        upgrade(fleet, host)
        copy, = host.path(f"{STATE}/datastore").glob(f"*-{was}")
        assert (copy / "state.db").read_text().splitlines()[1:] == [f"opened by {was}", f"closed by {was}"]
        assert host.read("/var/lib/rancher/k3s/server/db/state.db").startswith(old)
        assert host.run("ls", "/var/lib/rancher/k3s/data", check=False).stdout != ""
    finally:
        host.path(CONFIG).unlink(missing_ok=True)
        host.restart_k3s()
        fleet.agent(host).restart()


def test_an_agent_that_looked_before_k3s_was_told_otherwise_starts_over(fleet):
    host = fleet.workers[0]
    pid = fleet.agent(host).pid
    host.push(CONFIG, "data-dir: /srv/k3s\n")
    try:
        host.restart_k3s()
        fleet.agent(host).heard("starting over", fleet.begun)
        upgrade(fleet, host)
        assert fleet.agent(host).pid == pid
    finally:
        host.path(CONFIG).unlink(missing_ok=True)
        host.restart_k3s()


def test_a_program_that_is_not_what_runs_is_not_replaced(fleet):
    """Somebody has put another version in its place, and not restarted k3s."""
    host = fleet.workers[1]
    version = host.k3s_version()
    kept = "/usr/local/bin/k3s.kept"
    host.run("cp", "-p", BINARY, kept)
    other = fleet.broken_version(host)
    host.push("/usr/local/bin/k3s.new", (fleet.cluster.releases.directory / "releases" / other / "k3s").read_bytes(), 0o755)
    host.run("mv", "/usr/local/bin/k3s.new", BINARY)
    try:
        said = blocked(fleet, host, f"{BINARY} is {other}, but the Node reports {version}")
        assert "restart k3s" in said
    finally:
        host.run("mv", kept, BINARY)
    fleet.wait_complete("plan")


def test_a_release_whose_payload_is_corrupt_is_refused_before_the_cordon(fleet):
    host = fleet.workers[1]
    version = fleet.broken_version(host, corrupt=True)
    started, installed = invocation(host), hashlib.sha256(host.path(BINARY).read_bytes()).hexdigest()
    fleet.plan("plan", [host], version=version)
    said = fleet.until_condition("plan", "Complete", "False", "can't unpack itself and run")
    assert said["reason"] == "Blocked" and "extracting data" in said["message"]
    assert not fleet.was_cordoned(host) and invocation(host) == started
    assert hashlib.sha256(host.path(BINARY).read_bytes()).hexdigest() == installed
    assert not list(host.path(f"{STATE}/staging").glob(f"{version}/*")), "nothing of it stays"


def test_a_good_release_is_not_taken_for_corrupt_by_k3ss_own_configuration(fleet):
    host = fleet.workers[1]
    host.push(CONFIG, "node-name: " + host.name + "\n", 0o600)
    try:
        host.restart_k3s()
        upgrade(fleet, host)
    finally:
        host.path(CONFIG).unlink()
        host.restart_k3s()


def test_a_node_that_is_not_ready_takes_no_slot_and_holds_nobody_up(fleet):
    sick, well = fleet.workers
    sick.misbehave(neverReady=True)
    sick.run("systemctl", "restart", sick.unit)
    fleet.until_node(sick, lambda n: any(c["type"] == "Ready" and c["status"] == "False" for c in n["status"]["conditions"]), "not Ready")
    fleet.mark()
    started = invocation(sick)
    fleet.agent(sick).configure("restart: {timeout: 30s}\nhealth: {timeout: 20s, settle: 1s}\ndrain: {patience: 1s}\n")
    version = fleet.next_version(*fleet.workers)
    fleet.plan("plan", fleet.workers, version=version)
    fleet.until_node(well, lambda n: n["status"]["nodeInfo"]["kubeletVersion"] == version, f"at {version}")
    said = fleet.until_condition("plan", "Complete", "False", f"{sick.name}: the node is not Ready since 20")
    assert said["reason"] == "Blocked"
    assert invocation(sick) == started and not fleet.was_cordoned(sick)
    sick.misbehave()
    sick.restart_k3s()
    fleet.wait_complete("plan", version)


def test_k3s_that_is_stopped_by_hand_is_not_started_by_an_agent_whose_journal_is_lost(fleet):
    """A journal that can't be read may be of an upgrade that had stopped k3s: what ran here is started, and only that."""
    host = fleet.server
    agent = fleet.agent(host)
    host.run("systemctl", "stop", UNIT)
    host.push(f"{STATE}/journal.json", "{")
    host.run("systemctl", "stop", host.unit)
    host.push("/etc/systemd/system/k3s-agent.service", f"[Service]\nExecStart={BINARY} agent\n")
    host.run("systemctl", "daemon-reload")
    begun = now()
    try:
        host.run("systemctl", "start", UNIT)
        host.wait_ready(since=begun)
        assert host.unit_state("k3s-agent.service")["ActiveState"] == "inactive"
        agent.heard("Idle: no Plans", begun)
    finally:
        host.path("/etc/systemd/system/k3s-agent.service").unlink()
        host.run("systemctl", "daemon-reload")


def test_nobody_is_told_of_missing_rights_while_an_api_server_starts(fleet):
    host = fleet.server
    upgrade(fleet, host)
    for each in fleet.agents.values():
        assert not each.records(fleet.begun, "kubectl apply"), each.name
        assert not each.records(fleet.begun, "is no kubeconfig"), each.name
    assert not is_cordoned(host.node())
    until(lambda: "Idle" in fleet.agent(host).status_text or "nothing" in fleet.agent(host).status_text, "at rest")
