# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong: one clear line in the journal, in `systemctl status` and in the Plan; the agent stays up, never cordons
its node for it, and goes on by itself when the cause is gone."""

import contextlib

import pytest

from . import now, until
from .agent import CONFIG, CONFIGURATION, LOCK, NAMESPACE, STATE, UNIT
from .kubernetes import minor
from .watched import plan_label

KUBECONFIG = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig"
CERTIFICATE = "/var/lib/rancher/k3s/agent/client-kubelet.crt"


@contextlib.contextmanager
def stays_up(fleet, host):
    """Around a test's trouble: the agent is the same process at the end, and the node was never cordoned."""
    pid, mark = fleet.agent(host).pid, fleet.nodes.mark()
    assert pid
    yield
    assert fleet.agent(host).pid == pid
    assert not [n for n in fleet.nodes.since(mark) if n["metadata"]["name"] == host.name and n["spec"].get("unschedulable")]


def one_line(fleet, host, text, since):
    """Waits until the agent says it, in the journal and in its status line; it says so once. Gives the record."""
    agent = fleet.agent(host)
    record = agent.heard(text, since)
    assert "\n" not in record["MESSAGE"]
    agent.until_status(text)
    lines = [r["MESSAGE"] for r in agent.records(since, text)]
    assert len(lines) == len(set(lines)) == 1, lines
    return record


def works(fleet, host):
    """The agent takes part again: a Plan for the version that runs already labels the node."""
    fleet.plan("probe", [host], version=host.k3s_version())
    fleet.until_node(host, lambda n: plan_label(n, "probe"), "labelled")


# This host's files


@pytest.mark.parametrize("text, said", [
    ("restart: {timeout: 20s}\nheatlh: {timeout: 15s}\n", "heatlh: unknown key; known here are channel, "),
    ("health: {timeout: 15}\n", 'health.timeout: must be a duration from 10s to 1h such as "5m" or "90s", is 15'),
    ("health: [\n", f"{CONFIG}"),
], ids=["an unknown key", "a wrong type", "no YAML"])
def test_a_mistake_in_the_configuration_is_named_and_mended_without_a_restart(fleet, text, said):
    host = fleet.workers[0]
    begun = now()
    fleet.agent(host).configure(text)
    try:
        with stays_up(fleet, host):
            record = one_line(fleet, host, said, begun)
            assert record["MESSAGE"].startswith(CONFIG) and record["PRIORITY"] == "3"
            assert fleet.agent(host).status_text.startswith("Misconfigured: ")
            assert host.unit_state(UNIT)["ActiveState"] == "active"
            host.push(CONFIG, CONFIGURATION)
            works(fleet, host)
    finally:
        host.push(CONFIG, CONFIGURATION)


def test_a_kubeconfig_that_cannot_be_read_is_named(fleet):
    host = fleet.workers[1]
    host.run("systemctl", "stop", UNIT)
    host.path(KUBECONFIG).rename(host.path(KUBECONFIG + ".away"))
    begun = now()
    host.run("systemctl", "start", UNIT)
    with stays_up(fleet, host):
        one_line(fleet, host, KUBECONFIG, begun)
        host.path(KUBECONFIG + ".away").rename(host.path(KUBECONFIG))
        works(fleet, host)


def test_an_expired_certificate_is_named_with_its_date(fleet):
    host = fleet.workers[0]
    # What runs goes on with the certificate it has; an agent that starts has none.
    host.run("systemctl", "stop", UNIT)
    host.misbehave(certSeconds=1)
    host.run("systemctl", "restart", host.unit)
    until(lambda: host.run("openssl", "x509", "-checkend", "0", "-noout", "-in", CERTIFICATE, check=False).returncode, "expiry")
    begun = now()
    host.run("systemctl", "start", UNIT)
    with stays_up(fleet, host):
        one_line(fleet, host, "the client certificate expired at 20", begun)
        host.misbehave()
        host.restart_k3s()
        works(fleet, host)


# The cluster


def test_a_missing_crd_is_named_with_the_remedy(fleet):
    host = fleet.workers[0]
    with stays_up(fleet, host):
        begun = now()
        fleet.cluster.kubectl("delete", "crd", "plans.upgrade.cattle.io", "--timeout=120s")
        record = one_line(fleet, host, "no CRD", begun)
        assert "kubectl apply" in record["MESSAGE"]
        fleet.deploy()
        fleet.agent(host).until_status("Idle: no Plans")
        works(fleet, host)


def test_missing_rbac_is_named_with_the_remedy(fleet):
    host = fleet.workers[1]
    fleet.cluster.kubectl("-n", NAMESPACE, "delete", "rolebinding", "k3s-upgrade-agent")
    node = [f"--as=system:node:{host.name}", "--as-group=system:nodes"]
    until(lambda: "no" in fleet.cluster.kubectl("-n", NAMESPACE, "auth", "can-i", "list", "plans", *node, check=False).stdout.split(),
          "the right gone, which the API server hears of by a watch of its own")
    begun = now()
    fleet.agent(host).restart()
    with stays_up(fleet, host):
        record = one_line(fleet, host, "apply deploy/", begun)
        assert f"system:node:{host.name}" in record["MESSAGE"] and "forbidden" in record["MESSAGE"]
        fleet.deploy()
        fleet.agent(host).until_status("Idle: no Plans")
        works(fleet, host)


def test_nobody_is_told_to_apply_anything_while_the_api_server_starts_again(fleet):
    plane, hosts = fleet.cluster.control_plane, fleet.cluster.hosts
    begun = now()
    for round in range(5):
        plane.stop_api_server()
        # One agent starts, too: the first that it hears of the server is what that says while it starts.
        fleet.agent(hosts[round % len(hosts)]).restart()
        plane.start_api_server()
        for host in hosts:
            fleet.agent(host).until_status("Idle: no Plans")
    for host in hosts:
        agent = fleet.agent(host)
        assert not agent.records(begun, "apply"), host.name
        assert all(r["PRIORITY"] == "6" for r in agent.records(begun, "after a start")), host.name
    works(fleet, hosts[0])


def test_a_missing_lock_is_named_with_the_remedy(fleet):
    host = fleet.workers[0]
    with stays_up(fleet, host):
        begun = now()
        fleet.cluster.kubectl("-n", NAMESPACE, "delete", "configmap", LOCK)
        fleet.plan("waits", [host], version=fleet.next_version(host))
        record = one_line(fleet, host, f"ConfigMap {NAMESPACE}/{LOCK}, does not exist", begun)
        assert "kubectl apply" in record["MESSAGE"]
    fleet.deploy()
    fleet.wait_complete("waits")


def test_an_api_that_goes_away_is_said_once_and_waited_for(fleet):
    host = fleet.workers[1]
    api = host.api
    with stays_up(fleet, host):
        begun = now()
        host.run("systemctl", "stop", host.unit)
        record = fleet.agent(host).heard(api, begun)
        assert "onnect" in record["MESSAGE"]
        fleet.agent(host).until_status(api)
        host.run("systemctl", "start", host.unit)
        fleet.agent(host).until_status("Idle: no Plans")
        assert host.api != api
        assert len(fleet.agent(host).records(begun, api)) == 1
        works(fleet, host)


def test_an_agent_that_starts_on_an_unplugged_host_waits_for_the_api(fleet):
    host = fleet.workers[0]
    host.unplug()
    begun = now()
    fleet.agent(host).restart()
    with stays_up(fleet, host):
        one_line(fleet, host, host.api, begun)
        host.plug()
        fleet.agent(host).until_status("Idle: no Plans")
        works(fleet, host)


# The release


def blocked(fleet, host, version, text):
    """A Plan for that version is blocked for the reason, and says so in all three places."""
    agent = fleet.agent(host)
    fleet.plan("upgrades", [host], version=version)
    said = fleet.until_condition("upgrades", "Complete", "False", text)
    assert said["reason"] == "Blocked" and said["message"].startswith(f"{host.name}: ")
    line = agent.until_status(text)
    assert line.startswith(f"Blocked {version} for upgrades: ")
    records = agent.records(fleet.begun, text)
    assert len(records) == 1 and records[0]["MESSAGE"].startswith(f"{version} is blocked: ")
    fields = [records[0][name] for name in ("K3S_UPGRADE_PLAN", "K3S_UPGRADE_NODE", "PRIORITY")]
    assert fields == ["upgrades", host.name, "4"]
    assert fleet.most_slots() == 0


def finishes(fleet, host, version):
    fleet.wait_complete("upgrades")
    assert host.is_ready(version) and not host.node()["spec"].get("unschedulable")


def test_a_sums_file_without_our_file_blocks(fleet):
    host = fleet.workers[0]
    version = fleet.next_version(host)
    fleet.cluster.releases.fault("sha256sum-amd64.txt", replace=f"{'0' * 64}  k3s-airgap-images-amd64.tar\n")
    with stays_up(fleet, host):
        blocked(fleet, host, version, "sha256sum-amd64.txt: no checksum for k3s")
    fleet.cluster.releases.heal()
    finishes(fleet, host, version)


def test_a_checksum_that_differs_blocks_and_nothing_of_it_stays(fleet):
    host = fleet.workers[1]
    version = fleet.next_version(host)
    sha256 = fleet.release_sha256(version)
    fleet.cluster.releases.fault(f"{version}/k3s", wrongByte=True)
    before = sorted(host.path("/usr/local/bin").iterdir())
    with stays_up(fleet, host):
        blocked(fleet, host, version, f"the checksum file says {sha256}; nothing was installed")
        assert list(host.path(f"{STATE}/staging").glob(f"{version}*")) == []
        assert sorted(host.path("/usr/local/bin").iterdir()) == before
    fleet.cluster.releases.heal()
    finishes(fleet, host, version)


def test_a_version_that_was_never_released_blocks_until_it_is(fleet):
    host = fleet.server
    version = fleet.broken_version(host)
    folder = fleet.cluster.releases.directory / "releases" / version
    folder.rename(folder.with_name("hidden"))
    with stays_up(fleet, host):
        blocked(fleet, host, version, "answers 404: there is no release")
    folder.with_name("hidden").rename(folder)
    finishes(fleet, host, version)


def test_a_folder_that_cannot_be_written_blocks(fleet):
    host = fleet.workers[1]
    version = fleet.next_version(host)
    host.run("mkdir", "-p", "/run/empty")
    # An overlay without an upper folder is a file system that is read-only for everybody.
    host.run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=/usr/local/bin:/run/empty", "/usr/local/bin")
    try:
        with stays_up(fleet, host):
            blocked(fleet, host, version, "k3s can't be replaced there")
            assert "/usr/local/bin" in fleet.agent(host).status_text
    finally:
        host.run("umount", "/usr/local/bin")
    finishes(fleet, host, version)


# The Plan


def test_a_downgrade_is_refused(fleet):
    host = fleet.workers[0]
    running = host.k3s_version()
    with stays_up(fleet, host):
        lower = fleet.cluster.k3s(minors=-1, patch=9)
        blocked(fleet, host, lower, f"refused: {lower} is lower than {running}")
        fleet.patch_plan("upgrades", version=running)
        finishes(fleet, host, running)


def test_a_skipped_minor_version_is_refused(fleet):
    host = fleet.server
    running = host.k3s_version()
    with stays_up(fleet, host):
        skips, between = (fleet.cluster.k3s(minors=n, patch=1) for n in (2, 1))
        blocked(fleet, host, skips, f"skips a minor version; upgrade to {minor(between)} first")
        fleet.patch_plan("upgrades", version=running)
        finishes(fleet, host, running)


@pytest.mark.parametrize("version, kind, said", [
    (None, "LatestResolved", "cannot resolve plan: missing channel and version"),
    ("latest", "Validated", '"latest" is not a k3s version such as v1.30.4+k3s1'),
], ids=["neither version nor channel", "a version that is none"])
def test_a_plan_without_a_usable_version_says_so(fleet, version, kind, said):
    host = fleet.server
    with stays_up(fleet, host):
        fleet.plan("upgrades", [host], version=version)
        condition = fleet.until_condition("upgrades", kind, "False", said)
        assert condition["reason"] == "Error"
        fleet.until_condition("upgrades", "Complete", "False")
        line = fleet.agent(host).until_status(said)
        assert "upgrades" in line
        assert fleet.agent(host).heard(said, fleet.begun)["K3S_UPGRADE_NODE"] == host.name
        fleet.patch_plan("upgrades", version=host.k3s_version())
        finishes(fleet, host, host.k3s_version())
