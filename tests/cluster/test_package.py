# SPDX-License-Identifier: Apache-2.0
"""The package as an administrator meets it: installed, asked, upgraded, removed; and what the idle agent costs."""

import datetime
import re
import subprocess

import pytest

from . import moment, now, paths, until
from .agent import ANNOUNCEMENT, BINARY, CONFIG, CONFIGURATION, LOCK, STATE, UNIT
from .processes import PATIENCE
from .watched import plan_label


@pytest.fixture
def bare(fleet):
    """A host without the package, which gets it back."""
    host = fleet.workers[1]
    host.run("apt-get", "purge", "-y", "-q", "k3s-upgrade-agent")
    yield host
    fleet.install(host)
    fleet.agent(host).configure()


def test_apt_install_enables_and_starts_the_agent(fleet, bare):
    assert bare.run("systemctl", "cat", UNIT, check=False).returncode != 0
    fleet.install(bare)
    assert bare.run("systemctl", "is-enabled", UNIT).stdout == "enabled\n"
    assert bare.run("systemctl", "is-active", UNIT).stdout == "active\n"
    # With the configuration as it comes.
    fleet.agent(bare).until_status("Idle: no Plans")
    assert bare.unit_state(UNIT)["NRestarts"] == "0"
    assert bare.run("k3s-upgrade-agent", "check-config").returncode == 0


def test_purging_removes_every_trace_and_leaves_k3s_alone(fleet, bare):
    fleet.install(bare)
    fleet.agent(bare).until_status("Idle: no Plans")
    state, binary = bare.unit_state(None, "InvocationID"), bare.path(BINARY).stat()
    bare.run("test", "-d", STATE, "-a", "-e", "/run/k3s-upgrade-agent/status.json")
    bare.run("apt-get", "purge", "-y", "-q", "k3s-upgrade-agent")
    left = bare.run("find", "/etc", "/usr", "/var/lib", "/run", "-xdev", "-name", "*k3s-upgrade-agent*",
                    "-not", "-path", "/run/systemd/*").stdout
    assert left == ""
    bare.run("test", "!", "-e", STATE, "-a", "!", "-e", "/run/k3s-upgrade-agent")
    assert bare.unit_state(None, "InvocationID") == state and bare.path(BINARY).stat() == binary
    assert bare.is_ready()


def test_removing_the_package_keeps_the_configuration(fleet, bare):
    fleet.install(bare)
    bare.push(CONFIG, CONFIGURATION)
    bare.run("apt-get", "remove", "-y", "-q", "k3s-upgrade-agent")
    assert bare.read(CONFIG) == CONFIGURATION
    assert bare.run("systemctl", "is-active", UNIT, check=False).returncode != 0


def test_a_node_without_the_package_is_named_in_its_plan(fleet, bare):
    assert ANNOUNCEMENT not in bare.node()["metadata"].get("annotations", {})
    fleet.plan("nobody", [bare], version=fleet.next_version(bare))
    fleet.until_condition("nobody", "Complete", "False", f"no agent has announced itself on: {bare.name}")
    fleet.install(bare)
    fleet.agent(bare).configure()
    fleet.wait_complete("nobody")
    assert bare.node()["metadata"]["annotations"][ANNOUNCEMENT].startswith("0.")


def test_systemctl_and_the_journal_tell_what_the_agent_does(fleet):
    host = fleet.workers[0]
    version = fleet.next_version(host)
    fleet.cluster.releases.fault(f"{version}/k3s", bytesPerSecond=250_000)  # some 20 s: time to be seen in
    fleet.plan("upgrades", [host], version=version)
    line = fleet.agent(host).until_status(f"Fetching {version} for upgrades ")
    assert re.search(r" for upgrades \d+%", line)
    assert f'Status: "Fetching {version} for upgrades ' in host.run("systemctl", "status", UNIT).stdout
    fleet.wait_complete("upgrades")
    fleet.agent(host).until_status("Idle: nothing to do")

    records = [r for r in fleet.agent(host).records(fleet.begun) if r.get("K3S_UPGRADE_STEP")]
    assert [r["K3S_UPGRADE_STEP"] for r in records] == ["prepare", "cordon", "swap", "restart", "verify", "uncordon", "label", "release"]
    for record in records:
        assert record["K3S_UPGRADE_PLAN"] == "upgrades"
        assert record["K3S_UPGRADE_NODE"] == host.name
        assert record["K3S_UPGRADE_VERSION"] == version
        assert record["PRIORITY"] == "6" and record["SYSLOG_IDENTIFIER"] == "k3s-upgrade-agent"
    asked = host.run("journalctl", "-o", "cat", "K3S_UPGRADE_PLAN=upgrades", "K3S_UPGRADE_RESULT=Succeeded",
                     f"--since=@{fleet.begun.timestamp():.0f}").stdout
    assert re.fullmatch(rf"upgraded from \S+ to {re.escape(version)} in [0-9.]+s\n", asked)


def test_status_says_what_runs_and_how_the_last_upgrade_ended(fleet):
    host = fleet.workers[0]
    version = fleet.next_version(host)
    fleet.plan("upgrades", [host], version=version)
    fleet.wait_complete("upgrades")
    fleet.agent(host).until_status("Idle: nothing to do")
    status = fleet.agent(host).status()
    assert (status["node"], status["unit"], status["version"]) == (host.name, host.unit, version)
    assert (status["phase"], status["running"], status["pid"]) == ("Idle", True, fleet.agent(host).pid)
    last = status["last"]
    assert (last["plan"], last["version"], last["result"]) == ("upgrades", version, "Succeeded")
    assert {"prepare", "cordon", "swap", "restart", "verify", "uncordon", "label", "release"} == set(last["timings"])
    assert sum(last["timings"].values()) <= last["seconds"]
    plain = host.run("k3s-upgrade-agent", "status").stdout
    assert re.search(rf"^version: +{re.escape(version)}$", plain, re.M)
    assert re.search(r"^last result: +Succeeded: upgrades from", plain, re.M)
    until(lambda: fleet.agent(fleet.server).status()["coordinator"], "the server coordinating")

    host.run("systemctl", "stop", UNIT)
    stopped = host.run("k3s-upgrade-agent", "status", check=False)
    host.run("systemctl", "start", UNIT)
    assert stopped.returncode == 1 and "not running" in stopped.stdout


def test_check_config_accepts_this_host_and_names_every_mistake(fleet):
    host = fleet.server
    good = host.run("k3s-upgrade-agent", "check-config").stdout
    assert "WRONG" not in good
    assert f"node {host.name} at https://127.0.0.1:6443" in good and f"k3s role: server (process {host.unit_state()['MainPID']}, \"{BINARY} server\")" in good
    host.push("/root/bad.yaml", "nod: {}\nhealth: {timeout: soon}\nsource: [{http: {base_url: 'ftp://x'}}]\n")
    bad = host.run("k3s-upgrade-agent", "check-config", "--config", "/root/bad.yaml", check=False)
    assert bad.returncode == 1
    for said in ("nod: unknown key", "health.timeout: must be a duration", "source[0].http.base_url: must be a URL"):
        assert said in bad.stdout
    host.push("/root/elsewhere.yaml", "node: {kubeconfig: /nowhere}\nk3s: {unit: k4s.service}\n")
    wrong = host.run("k3s-upgrade-agent", "check-config", "--config", "/root/elsewhere.yaml", check=False)
    assert wrong.returncode == 1 and "/nowhere" in wrong.stdout and "there is no unit k4s.service" in wrong.stdout
    assert "Traceback" not in wrong.stderr and "terminate" not in wrong.stderr


def test_manifests_are_those_of_deploy(fleet):
    printed = fleet.server.run("k3s-upgrade-agent", "manifests").stdout
    folder = paths.REPOSITORY / "deploy"
    position = 0
    for file in sorted(folder.glob("*.yaml")):
        position = printed.index(file.read_text().strip(), position)
    diff = subprocess.run([*fleet.cluster.control_plane.kubectl_command(), "diff", "-f", "-"], input=printed, text=True,
                          capture_output=True, check=False)
    assert (diff.returncode, diff.stdout) == (0, ""), diff.stderr


def test_upgrading_the_package_in_the_middle_of_an_upgrade_is_safe(fleet):
    host = fleet.workers[0]
    version = fleet.next_version(host)
    host.misbehave(readySeconds=45)  # apt takes its time
    patient = "health: {timeout: 4m}\n"
    fleet.agent(host).configure(patient)
    fleet.plan("upgrades", [host], version=version)
    fleet.agent(host).heard("Verifying", fleet.begun)
    begun, before = now(), fleet.agent(host).pid
    fleet.install(host)
    assert fleet.agent(host).pid not in (0, before)
    fleet.agent(host).heard('interrupted at "verify"', begun)
    plan = fleet.wait_complete("upgrades")
    assert host.is_ready(version) and not host.node()["spec"].get("unschedulable")
    assert plan_label(host.node(), "upgrades") == plan["status"]["latestHash"]
    assert host.read(CONFIG) == patient
    taken = {held["upgrades.agent-1"]["acquired"] for held in fleet.held() if held}
    assert len(taken) == 1, "the slot outlives the agent"
    fleet.until_no_slots()


def connections(host, pid):
    """The agent's TCP connections to the API server's port, as ss sees them on the host."""
    lines = host.run("ss", "-Htnp", "state", "established", f"dport = :{host.api.partition(':')[2]}").stdout.splitlines()
    return [line for line in lines if f"pid={pid}," in line]


def test_an_idle_agent_keeps_one_connection_and_asks_for_nothing_but_watches(fleet):
    # Work first: what it took must not stay open. The server's agent is the coordinator.
    for host in (fleet.server, fleet.workers[0]):
        version = fleet.next_version(host)
        fleet.plan(f"upgrades-{host.name}", [host], version=version)
        fleet.wait_complete(f"upgrades-{host.name}")
        fleet.until_events(f"upgrades-{host.name}", "Complete", "JobComplete")
    for agent in fleet.agents.values():
        agent.until_status("Idle: nothing to do")
    for host in fleet.cluster.hosts:
        pid = fleet.agent(host).pid
        until(lambda host=host, pid=pid: len(connections(host, pid)) == 1, f"one connection of {host.name}")

    begun = now()
    ended = begun + datetime.timedelta(seconds=60)
    # The audit log is the clock: a minute of the kubelets' own requests.
    def a_minute():
        return any(moment(e["requestReceivedTimestamp"]) > ended
                   for e in fleet.cluster.audit_log(user="system:node:agent-2", since=begun, resource="leases"))
    until(a_minute, "a minute", 60 + PATIENCE, 2)
    for host in fleet.cluster.hosts:
        asked = list(fleet.cluster.audit_log(user=f"system:node:{host.name}", agent="k3s-upgrade-agent", since=begun, until=ended))
        others = [e for e in asked if e["verb"] != "watch"]
        if host is fleet.server:  # the coordinator renews its lease: a patch of the lock, every 15 s
            assert {(e["verb"], e["objectRef"]["resource"], e["objectRef"]["name"]) for e in others} == {
                ("patch", "configmaps", LOCK)}
            assert len(others) <= 5
        else:
            assert others == []
        watched = [e for e in fleet.cluster.audit_log(user=f"system:node:{host.name}", agent="k3s-upgrade-agent", stage=None)
                   if e["verb"] == "watch" and e["stage"] == "ResponseStarted"]
        assert {e["objectRef"]["resource"] for e in watched} >= {"plans", "nodes", "configmaps"}
        assert len(connections(host, fleet.agent(host).pid)) == 1
