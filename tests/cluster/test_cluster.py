# SPDX-License-Identifier: Apache-2.0
"""The test cluster itself: that what the other tests stand on is as real as it says."""

import contextlib
import hashlib
import json
import pathlib
import re
import subprocess
import sys

import pytest

from . import now, paths, processes, teardown, until
from .processes import PATIENCE
from .releases import build_date
from .workload import until_running


def pod(name, node, grace=1, annotations=None):
    return json.dumps({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": grace,
                 "containers": [{"name": "main", "image": "pause"}]}})


def fetch(cluster, url, *more):
    """A download from this machine, inside the cluster's network, with the CA that the hosts trust."""
    return subprocess.run(
        ["nsenter", f"--net=/run/netns/{cluster.network.name}", "--", "curl", "-sS", "--cacert", cluster.releases.ca,
         "--connect-to", "::10.63.0.1:443", *more, url], capture_output=True, check=False)


def test_nodes_are_registered_with_their_version_and_labels(cluster):
    for host in cluster.hosts:
        node = host.node()
        labels = node["metadata"]["labels"]
        assert node["status"]["nodeInfo"]["kubeletVersion"] == cluster.version
        assert labels["kubernetes.io/hostname"] == host.name
        assert (labels.get("node-role.kubernetes.io/control-plane") == "true") == (host.role == "server")
        assert "node-role.kubernetes.io/etcd" not in labels  # one server: SQLite


def of_kubelet(cluster, host, since, **wanted):
    """What the host's kubelet asked for since then: verb and answer."""
    return [(e["verb"], e["responseStatus"]["code"])
            for e in cluster.audit_log(user=f"system:node:{host.name}", agent="kubelet/", since=since, **wanted)]


def readiness(host) -> dict:
    return next(c for c in host.node()["status"]["conditions"] if c["type"] == "Ready")


@contextlib.contextmanager
def running(cluster, host, version):
    """The host with that k3s, restarted just now."""
    cluster.replace_k3s(host, version)
    host.restart_k3s()
    yield host
    host.misbehave()
    cluster.replace_k3s(host, cluster.version)
    host.restart_k3s()


@pytest.fixture
def newest(healthy):
    """An agent with a k3s of the API server's own version."""
    with running(healthy, healthy.agents[0], healthy.k3s(minors=1)) as host:
        yield host


@pytest.fixture
def oldest(healthy):
    with running(healthy, healthy.agents[1], "v1.30.4+k3s1") as host:
        yield host


def test_an_idle_kubelet_renews_its_lease_and_leaves_its_node_alone(healthy, newest):
    begun = now()
    until(lambda: len(of_kubelet(healthy, newest, begun, resource="leases")) >= 4, "four renewals", 60 + PATIENCE, 1)
    assert set(of_kubelet(healthy, newest, begun, resource="leases")) == {("update", 200)}
    # One that has missed how the watch ended may say it once more; it does not ask.
    assert [said for said in of_kubelet(healthy, newest, begun, resource="nodes") if said[0] != "watch"] in ([], [("patch", 200)])
    lease = healthy.kubectl_json("-n", "kube-node-lease", "get", "lease", newest.name)
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseDurationSeconds"]) == (newest.name, 40)
    assert lease["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": newest.name, "uid": newest.node()["metadata"]["uid"]}]


def test_a_kubelet_says_what_its_version_knows(newest, oldest):
    older, status = oldest.node()["status"], newest.node()["status"]
    for each in (older, status):
        assert [c["type"] for c in each["conditions"]] == ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
        assert each["capacity"]["hugepages-2Mi"] == "0" and each["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250
    assert older["nodeInfo"]["kubeProxyVersion"] == oldest.k3s_version()
    if newest.cluster.control_plane.kubernetes.minor >= 37:  # where the run has no newer one
        assert status["nodeInfo"]["kubeProxyVersion"] == ""
        assert status["declaredFeatures"] == sorted(status["declaredFeatures"]) != []
        assert status["features"] == {"supplementalGroupsPolicy": True} and len(status["runtimeHandlers"]) == 2
        assert status["nodeInfo"]["runningInUserNamespace"] is False
    annotations = newest.node()["metadata"]["annotations"]
    assert json.loads(annotations["k3s.io/node-env"])["K3S_TOKEN"] == "********" and annotations["k3s.io/node-config-hash"]
    assert annotations["k3s.io/internal-ip"] == annotations["alpha.kubernetes.io/provided-node-ip"] == newest.ip


def test_a_kubelet_finds_its_node_and_its_first_report_says_not_ready(healthy, newest):
    newest.misbehave(readySeconds=600)
    newest.run("systemctl", "stop", newest.unit)
    begun = now()
    newest.run("systemctl", "start", newest.unit)
    until(lambda: readiness(newest)["status"] == "False", "not Ready")
    assert (readiness(newest)["reason"], readiness(newest)["message"]) == ("KubeletNotReady", "CSINode is not yet initialized")
    assert of_kubelet(healthy, newest, begun, resource="nodes", verb="create") == [("create", 409)]


def test_a_node_that_was_deleted_comes_back_with_the_next_start(healthy):
    host = healthy.agents[1]
    begun = now()
    healthy.kubectl("delete", "node", host.name)
    until(lambda: ("get", 404) in of_kubelet(healthy, host, begun, resource="nodes"), "the kubelet's look at its Node")
    assert ("create", 201) not in of_kubelet(healthy, host, begun, resource="nodes")
    host.restart_k3s()
    assert ("create", 201) in of_kubelet(healthy, host, begun, resource="nodes")
    assert host.is_ready(healthy.version) and "k3s.io/node-args" in host.node()["metadata"]["annotations"]


def test_hosts_run_their_own_systemd_and_dbus(cluster):
    for host in cluster.hosts:
        assert host.run("hostname").stdout.strip() == host.name
        state = host.unit_state(None, "Type", "KillMode", "Delegate", "Restart")
        assert state["ActiveState"] == "active"
        assert state["Type"] == ("notify" if host.role == "server" else "exec")
        assert (state["KillMode"], state["Delegate"], state["Restart"]) == ("process", "yes", "always")
        assert "org.freedesktop.systemd1" in host.run("busctl", "--system", "list").stdout


def test_k3s_tells_its_version_in_two_lines(cluster):
    host = cluster.agents[0]
    assert re.fullmatch(rf"k3s version {re.escape(cluster.version)} \([0-9a-f]{{8}}\)\ngo version go[0-9.]+\n", host.run("k3s", "--version").stdout)
    assert f'buildDate: "{build_date(cluster.version)}"' in host.run("k3s", "kubectl", "version", "--client", "-o", "yaml").stdout


def test_the_kubelets_identity_is_signed_anew_at_each_start(cluster):
    host = cluster.agents[0]
    kubeconfig = host.read("/var/lib/rancher/k3s/agent/kubelet.kubeconfig")
    assert f"server: https://{host.api}\n" in kubeconfig
    assert "client-certificate: /var/lib/rancher/k3s/agent/client-kubelet.crt\n" in kubeconfig
    show = ["openssl", "x509", "-noout", "-subject", "-serial", "-in", "/var/lib/rancher/k3s/agent/client-kubelet.crt"]
    before = host.run(*show).stdout
    assert f"subject=O = system:nodes, CN = system:node:{host.name}" in before
    host.restart_k3s()
    assert host.run(*show).stdout != before


def test_a_node_may_change_itself_and_nobody_else(cluster):
    one, other = cluster.agents
    kubectl = cluster.control_plane.kubectl_command()[:-1] + [f"--kubeconfig={one.kubeconfig()}"]

    def try_to(*args):
        return subprocess.run([*kubectl, *args], capture_output=True, text=True, check=False)
    assert try_to("cordon", one.name).returncode == 0
    assert try_to("uncordon", one.name).returncode == 0
    refused = try_to("label", "node", other.name, "mine=yes")
    # Since 1.32 a node can't even read another's Node, which kubectl does first.
    assert refused.returncode != 0 and re.search("is not allowed to modify node|only its own Node object", refused.stderr)


def test_the_api_goes_away_with_k3s_and_an_agents_comes_back_elsewhere(healthy):
    for host in (healthy.agents[0], healthy.servers[0]):
        def reachable(api):
            return host.run("bash", "-c", f"exec 3<>/dev/tcp/{api.replace(':', '/')}", check=False).returncode == 0
        before = host.api
        assert reachable(before)
        host.run("systemctl", "stop", host.unit)
        assert not reachable(before)
        host.restart_k3s()
        assert reachable(host.api)
        assert (host.api == before) == (host.role == "server")


def test_a_pod_runs_and_its_deletion_ends_with_its_grace_period(cluster):
    cluster.apply(pod("graceful", "agent-1", grace=3))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/graceful", "--timeout=120s")
    begun = now()
    cluster.kubectl("delete", "pod", "graceful", "--timeout=120s")
    assert (now() - begun).total_seconds() >= 2


def test_a_pod_that_stops_sooner_is_gone_sooner(cluster):
    cluster.apply(pod("quick", "agent-1", grace=300, annotations={"stand-in/stops-after": "1s"}))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/quick", "--timeout=120s")
    cluster.kubectl("delete", "pod", "quick", "--timeout=120s")


def test_a_pod_stays_while_k3s_is_down_and_goes_when_it_returns(healthy):
    host = healthy.agents[1]
    healthy.apply(pod("patient", host.name))
    healthy.kubectl("wait", "--for=condition=Ready", "pod/patient", "--timeout=120s")
    host.run("systemctl", "stop", host.unit)
    healthy.kubectl("delete", "pod", "patient", "--wait=false")
    still = healthy.kubectl("wait", "--for=delete", "pod/patient", "--timeout=3s", check=False)
    assert "timed out" in still.stderr
    host.run("systemctl", "start", host.unit)
    healthy.kubectl("wait", "--for=delete", "pod/patient", "--timeout=120s")


def test_a_deployment_is_scheduled_drained_and_scheduled_elsewhere(healthy):
    healthy.apply("""{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"terminationGracePeriodSeconds": 1,
                "nodeSelector": {"kubernetes.io/os": "linux"}, "containers": [{"name": "main", "image": "pause"}]}}}}""")
    try:
        healthy.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
        healthy.kubectl("drain", "agent-1", "--ignore-daemonsets", "--timeout=120s")
        assert "agent-1" not in {p["spec"]["nodeName"] for p in until_running(healthy, "web", 2)}
    finally:
        healthy.kubectl("uncordon", "agent-1")
        healthy.kubectl("delete", "deployment", "web", "--timeout=120s")


def test_a_release_matches_its_sums_and_is_found_with_either_spelling(cluster):
    new = cluster.k3s(minors=1)
    cluster.releases.add(new)
    base = "https://github.com/k3s-io/k3s/releases/download/"
    for tag in (new, new.replace("+", "%2B")):
        sums = fetch(cluster, f"{base}{tag}/sha256sum-amd64.txt", "-L").stdout.decode()
        assert "  k3s-airgap-images-amd64.tar.zst\n" in sums
        digest = re.search(r"^([0-9a-f]{64})  k3s$", sums, re.MULTILINE).group(1)
        assert hashlib.sha256(fetch(cluster, f"{base}{tag}/k3s", "-L").stdout).hexdigest() == digest
    redirect = fetch(cluster, f"{base}{new}/k3s", "-I").stdout.decode()
    assert " 302" in redirect and "https://objects.githubusercontent.com/" in redirect
    part = fetch(cluster, f"{base}{new}/k3s", "-L", "-r", "1-3").stdout
    assert part == b"ELF"
    assert b"Not Found" in fetch(cluster, f"{base}v9.9.9+k3s1/k3s").stdout


def test_a_channel_redirects_to_the_release(cluster):
    new = cluster.k3s(minors=1)
    cluster.releases.channel("stable", new)
    answer = fetch(cluster, "https://update.k3s.io/v1-release/channels/stable", "-I").stdout.decode().lower()
    assert " 302" in answer and f"location: https://github.com/k3s-io/k3s/releases/tag/{new}" in answer


def test_hosts_trust_the_release_server(cluster):
    answer = cluster.agents[0].run("curl", "-sSf", "https://update.k3s.io/v1-release/channels/stable", "-L").stdout
    assert answer.startswith("Release v1.")


def test_faults_of_the_release_server(healthy):
    new = healthy.k3s(minors=1)
    url = f"https://github.com/k3s-io/k3s/releases/download/{new}/k3s"
    healthy.releases.add(new)
    whole = fetch(healthy, url, "-L").stdout
    healthy.releases.fault("objects.githubusercontent.com", wrongByte=True)
    wrong = fetch(healthy, url, "-L").stdout
    assert len(wrong) == len(whole) and wrong != whole
    healthy.releases.heal()
    healthy.releases.fault("objects.githubusercontent.com", cutAfter=1000, times=1)
    assert fetch(healthy, url, "-L").returncode != 0
    assert fetch(healthy, url, "-L").stdout == whole
    healthy.releases.heal()
    healthy.releases.fault("/download/", status=500)
    assert b"500" in fetch(healthy, url, "-I").stdout
    assert healthy.releases.requests()[-1]["status"] == 500


def test_a_swapped_binary_reports_its_version_after_the_restart(healthy):
    new = healthy.k3s(minors=1)
    host = healthy.agents[0]
    healthy.replace_k3s(host, new)
    host.restart_k3s()
    assert host.is_ready(new) and host.k3s_version() == new
    healthy.replace_k3s(host, healthy.version)
    host.restart_k3s()
    assert host.is_ready(healthy.version)


def test_a_servers_api_is_refused_then_not_ready_then_forbidden_then_there_with_the_old_node(healthy):
    new = healthy.k3s(minors=1)
    host = healthy.servers[0]
    agent = "/var/lib/rancher/k3s/agent"
    host.misbehave(refusedSeconds=1, unavailableSeconds=1, forbiddenSeconds=1, oldStatusSeconds=2)
    healthy.replace_k3s(host, new)
    try:
        host.run("systemctl", "restart", host.unit)  # it returns at READY=1
        ask = (f"curl -s --cacert {agent}/server-ca.crt --cert {agent}/client-kubelet.crt --key {agent}/client-kubelet.key "
               f"-w '\\n%{{http_code}}' https://127.0.0.1:6443/api/v1/nodes/{host.name}")
        seen = []
        while f"200 {new}" not in seen:
            body, _, code = host.run("sh", "-c", ask, check=False).stdout.rpartition("\n")
            said = json.loads(body) if body else {}
            if code == "403":
                assert said["reason"] == "Forbidden" and said["message"].endswith("can only read resources of this type")
                assert f'User "system:node:{host.name}" cannot get resource "nodes"' in said["message"]
            each = f"200 {said['status']['nodeInfo']['kubeletVersion']}" if code == "200" else code
            seen += [each] if seen[-1:] != [each] else []
        assert seen == ["000", "503", "403", f"200 {healthy.version}", f"200 {new}"]
    finally:
        healthy.replace_k3s(host, healthy.version)
        host.misbehave()
        host.restart_k3s()


def test_a_server_that_is_stopped_has_failed_and_can_be_started(healthy):
    host = healthy.servers[0]
    host.run("systemctl", "stop", host.unit)
    state = host.unit_state()
    assert (state["ActiveState"], state["Result"]) == ("failed", "exit-code")
    assert 'level=fatal msg="context canceled"' in host.journal_text(host.unit)
    host.restart_k3s()


def test_a_host_keeps_its_data_where_its_configuration_says(healthy):
    host = healthy.agents[0]
    config = host.path("/etc/rancher/k3s/config.yaml")
    host.push("/etc/rancher/k3s/config.yaml", "data-dir: /mnt/k3s\ntoken: secret\n", 0o600)
    try:
        host.restart_k3s()
        assert "/mnt/k3s/agent/client-kubelet.key" in host.read("/mnt/k3s/agent/kubelet.kubeconfig")
        args = json.loads(host.node()["metadata"]["annotations"]["k3s.io/node-args"])
        assert args == ["agent", "--data-dir", "/mnt/k3s", "--token", "********"]
    finally:
        config.unlink()
        host.restart_k3s()
    assert json.loads(host.node()["metadata"]["annotations"]["k3s.io/node-args"]) == ["agent"]


def test_a_server_that_logs_to_a_file_is_the_child_of_what_systemd_knows(healthy):
    host = healthy.servers[0]
    host.push("/etc/rancher/k3s/config.yaml", "log: /var/log/k3s.log\n")
    try:
        host.misbehave(childOutlives=2)
        host.restart_k3s()
        processes = host.run("systemctl", "status", host.unit, "--no-pager", "--full").stdout
        assert "/usr/local/bin/k3s init" in processes and "k3s server" in processes
        child = host.run("pgrep", "-fx", "k3s server").stdout.strip()
        host.run("systemctl", "stop", host.unit)
        assert host.unit_state()["ActiveState"] == "inactive"
        assert host.run("cat", f"/proc/{child}/comm").stdout, "it outlives what systemd waits for"
        until(lambda: not host.path(f"/proc/{child}").exists() and host.run("pgrep", "-fx", "k3s server", check=False).returncode, "its end")
    finally:
        host.path("/etc/rancher/k3s/config.yaml").unlink()
        host.misbehave()
        host.restart_k3s()


@pytest.mark.parametrize("how", [{"failStart": True}, {"crashAfter": 1}, {"neverReady": True},
                                 {"reportVersion": "v1.2.3+k3s1"}, {"hangStart": True}], ids=lambda how: next(iter(how)))
def test_a_release_can_be_broken(healthy, how):
    host = healthy.servers[0]
    try:
        healthy.replace_k3s(host, healthy.k3s(minors=1, patch=9), how)
        host.run("systemctl", "restart", "--no-block", host.unit)
        if "failStart" in how or "crashAfter" in how:
            until(lambda: int(host.unit_state()["NRestarts"]) > 0, "a restart by systemd")
        elif "hangStart" in how:
            until(lambda: host.unit_state()["ActiveState"] == "activating", "activating")
        elif "neverReady" in how:
            healthy.kubectl("wait", "--for=condition=Ready=false", f"node/{host.name}", "--timeout=120s")
        else:
            host.wait_ready("v1.2.3+k3s1")
    finally:
        healthy.replace_k3s(host, healthy.version)
        host.restart_k3s()


def test_a_power_cut_loses_what_was_not_synced_and_nothing_else(healthy):
    host = healthy.agents[1]
    host.run("sh", "-c", "cd /root && echo kept >synced && sync -f synced && mv synced renamed && sync -f . && "
             "echo lost >unsynced")
    host.power_off()
    assert not host.is_on
    begun = now()
    host.power_on()
    host.wait_ready(since=begun)
    assert host.read("/root/renamed") == "kept\n"
    unsynced = host.path("/root/unsynced")
    assert not unsynced.exists() or unsynced.read_text() == ""
    boots = {entry["_BOOT_ID"] for entry in host.journal()}
    assert len(boots) == 2


def test_a_package_is_installed_by_apt_without_a_network(cluster, tmp_path):
    control = tmp_path / "package" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text("Package: probe\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody <nobody@example.org>\n"
                       "Depends: libsdbus-c++1, libcurl4, libssl3, libyaml-cpp0.7, libarchive13, libspdlog1.10, "
                       "libfmt9, libdate-tz3, libsystemd0, libstdc++6, ca-certificates\nDescription: nothing\n")
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tmp_path / "package", tmp_path / "probe_1_amd64.deb"],
                   check=True, capture_output=True)
    cluster.agents[0].install_package(tmp_path / "probe_1_amd64.deb")
    assert "ok installed" in cluster.agents[0].run("dpkg", "-s", "probe").stdout


def test_a_node_that_is_off_becomes_not_ready_and_returns(healthy):
    host = healthy.agents[0]
    host.power_off()
    healthy.kubectl("wait", "--for=condition=Ready=unknown", f"node/{host.name}", "--timeout=120s")
    host.power_on()
    host.wait_ready()


def test_the_audit_log_counts_requests_by_user(cluster):
    begun = now()
    host = cluster.agents[0]
    until(lambda: any(cluster.audit_log(user=f"system:node:{host.name}", since=begun, verb="update", resource="leases")),
          "a renewal of the lease")
    assert not list(cluster.audit_log(user="system:node:nobody"))


def test_the_journal_is_readable_from_outside(cluster):
    host = cluster.agents[0]
    host.run("logger", "-t", "k3s-test", "a line for the journal")
    until(lambda: host.journal(grep="a line for the journal"), "the line")


def test_an_unplugged_host_cannot_reach_the_api_and_a_plugged_one_can(healthy):
    host = healthy.agents[0]
    probe = ["timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/10.63.0.1/6443"]
    host.unplug()
    assert host.run(*probe, check=False).returncode != 0
    host.plug()
    until(lambda: host.run(*probe, check=False).returncode == 0, "the API")


def test_what_a_killed_run_leaves_is_removed_by_the_next():
    script = """import os, signal
from tests.cluster import Cluster
cluster = Cluster(1, name="test-killed-%d" % os.getpid())
cluster.up(owned=True)
print(cluster.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=paths.REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    directory = pathlib.Path(killed.stdout.strip())
    assert directory.exists() and processes.marked(directory)
    teardown.remove_abandoned()
    assert not directory.exists() and not processes.marked(directory)
    assert str(directory) not in pathlib.Path("/proc/mounts").read_text()
    assert not list(pathlib.Path("/run/netns").glob(f"kua-{directory.name}*"))


def test_a_control_plane_alone_for_one_program():
    begun = now()
    script = ("$KUA_TEST_KUBECTL get nodes -o name && $KUA_TEST_KUBECTL --kubeconfig $KUA_TEST_KUBELET_KUBECONFIG "
              "get node node-1 -o name && exit 7")
    result = subprocess.run([sys.executable, "-m", "tests.cluster", "control-plane", "--run", "sh", "-c", script],
                            cwd=paths.REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stdout) == (7, "node/node-1\nnode/node-1\n")
    print("seconds:", (now() - begun).total_seconds())
