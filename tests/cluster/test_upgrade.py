# SPDX-License-Identifier: Apache-2.0
"""The whole road, on real hosts: from `kubectl apply` of a Plan to k3s running the new version, or the old one again."""

import os

import pytest

from . import now, until
from .agent import BINARY, LOCK, NAMESPACE, STATE
from .kubernetes import minor, patch
from .watched import conditions, is_cordoned, plan_label, slots, version_of
from .workload import (bare_pod, blocked_drain, deploy_everywhere, deploy_on, documented, end_guard, invocation, pods,
                       until_running)


@pytest.mark.every_kubernetes
def test_the_two_documented_plans_upgrade_the_server_first_and_then_one_agent_after_the_other(fleet):
    hosts = fleet.cluster.hosts
    new, old = fleet.next_version(*hosts), {h.name: h.k3s_version() for h in hosts}
    odd = fleet.workers[1].path(BINARY)
    odd.chmod(0o750)
    os.chown(odd, 0, 4)
    # Time for the coordinator to see each slot, and to write so; its own API is away in the middle of the first.
    for host in hosts:
        host.misbehave(readySeconds=6)
    fleet.cluster.apply(documented(new))
    plans = {name: fleet.wait_complete(name) for name in ("server-plan", "agent-plan")}

    order = []
    for node in fleet.seen(fleet.nodes):
        if version_of(node) == new and node["metadata"]["name"] not in order:
            order.append(node["metadata"]["name"])
    assert order[0] == fleet.server.name and sorted(order[1:]) == [h.name for h in fleet.workers]
    assert fleet.most_slots() == 1
    down = [sum(is_cordoned(n) for n in moment.values()) for moment in fleet.moments()]
    assert max(down) == 1, "each node is cordoned for its upgrade, and no two at a time"

    for host in hosts:
        node = host.node()
        plan = "server-plan" if host is fleet.server else "agent-plan"
        last = fleet.agent(host).upgraded(fleet.begun)
        assert host.is_ready(new) and host.k3s_version() == new
        assert fleet.was_cordoned(host) and not is_cordoned(node)
        assert "k3s-upgrade-agent/cordoned-by" not in node["metadata"]["annotations"]
        assert plan_label(node, plan) == plans[plan]["status"]["latestHash"]
        assert sha256(host) == fleet.release_sha256(new)
        stat = host.path(BINARY).stat()
        assert (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) == (
            (0o750, 0, 4) if host is fleet.workers[1] else (0o755, 0, 0))
        assert [f.name for f in host.path("/usr/local/bin").glob(".k3s*.next")] == []
        assert not host.path(f"{STATE}/journal.json").exists()
        assert (last["result"], last["plan"], last["fromVersion"], last["version"]) == ("Succeeded", plan, old[host.name], new)
    fleet.until_no_slots()
    odd = fleet.workers[1].path(BINARY)
    odd.chmod(0o755)
    os.chown(odd, 0, 0)

    for plan in plans.values():
        status = plan["status"]
        assert status["latestVersion"] == new.replace("+", "-") and "applying" not in status
        assert {k: (c["status"], c["reason"]) for k, c in conditions(plan).items()} == {
            "LatestResolved": ("True", "Version"), "Validated": ("True", "PlanIsValid"), "Complete": ("True", "Complete")}
        fleet.until_events(plan["metadata"]["name"], "Resolved", "SyncJob", "Complete")
    applied = {tuple(p["status"]["applying"]) for p in fleet.seen(fleet.plans) if p.get("status", {}).get("applying")}
    assert applied == {("server-1",), ("agent-1",), ("agent-2",)}


def sha256(host):
    return host.run("sha256sum", BINARY).stdout.split()[0]


def test_prepare_waits_for_the_plan_it_names_and_for_its_nodes(fleet):
    worker = fleet.workers[0]
    new = fleet.next_version(*fleet.cluster.hosts)
    agent = fleet.agent(worker)
    fleet.plan("workers", [worker], version=new, prepare={"image": "rancher/k3s-upgrade", "args": ["prepare", "servers"]})
    agent.until_status("for the Plan servers that spec.prepare names: it does not exist")
    fleet.plan("servers", [fleet.server], version=new, concurrency=0)
    agent.until_status(f"for 1 of 1 servers (server-1 at {minor(new)}.")
    assert not fleet.was_cordoned(worker)
    fleet.patch_plan("servers", concurrency=1)
    fleet.wait_complete("workers")
    first = [n["metadata"]["name"] for n in fleet.seen(fleet.nodes) if version_of(n) == new]
    assert first[0] == fleet.server.name and worker.is_ready(new)


def test_a_drain_moves_what_can_be_moved_and_leaves_daemonsets(fleet):
    host = fleet.workers[0]
    deploy_on(fleet, host, "web", replicas=2)
    deploy_on(fleet, host, "scratch", volumes=[{"name": "data", "emptyDir": {}}])
    logs = {p["metadata"]["name"]: p["metadata"]["uid"] for p in deploy_everywhere(fleet, "logs")}
    version = fleet.next_version(host)
    fleet.plan("drains", [host], version=version, drain={"force": False})
    fleet.wait_complete("drains")
    assert host.is_ready(version)
    assert {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods(fleet.cluster, "logs")} == logs
    for app, count in (("web", 2), ("scratch", 1)):
        assert host.name not in [p["spec"]["nodeName"] for p in until_running(fleet.cluster, app, count)]
    evicted = [r["MESSAGE"] for r in fleet.agent(host).records(fleet.begun, "evicting pod default/")]
    assert len(evicted) == 3 and not any("logs" in text for text in evicted)
    mine = {"user": f"system:node:{host.name}", "agent": "k3s-upgrade-agent", "since": fleet.begun}
    assert list(fleet.cluster.audit_log(**mine, verb="delete")) == [], "evicted, not deleted"


def test_a_pod_without_controller_blocks_before_the_cordon_and_is_named_in_the_plan(fleet):
    host = fleet.workers[0]
    fleet.cluster.apply(bare_pod("lonely", host.name))
    fleet.cluster.kubectl("wait", "--for=condition=Ready", "pod/lonely", "--timeout=120s")
    version = fleet.next_version(host)
    fleet.plan("drains", [host], version=version, drain={})
    said = fleet.until_condition("drains", "Complete", "False", "default/lonely")
    assert said["reason"] == "Blocked"
    assert said["message"].startswith("agent-1: ") and "spec.drain.force" in said["message"]
    line = fleet.agent(host).until_status("default/lonely")
    assert line.startswith(f"Blocked {version} for drains: ")
    assert not fleet.was_cordoned(host)
    fleet.patch_plan("drains", drain={"force": True})
    fleet.wait_complete("drains")
    assert host.is_ready(version) and fleet.was_cordoned(host)
    assert fleet.cluster.kubectl("get", "pod", "lonely", check=False).returncode != 0


def test_a_node_that_somebody_else_cordoned_stays_cordoned(fleet):
    host = fleet.workers[1]
    fleet.cluster.kubectl("cordon", host.name)
    fleet.until_node(host, is_cordoned, "cordoned")
    version = fleet.next_version(host)
    fleet.plan("upgrades", [host], version=version)
    fleet.wait_complete("upgrades")
    assert host.is_ready(version) and is_cordoned(host.node())


def test_concurrency_zero_pauses_and_raising_it_goes_on(fleet):
    host = fleet.workers[0]
    version = fleet.next_version(host)
    fleet.plan("paused", [host], version=version, concurrency=0)
    said = fleet.until_condition("paused", "Complete", "False", "paused: spec.concurrency is 0")
    assert said["reason"] == "Paused" and "agent-1" in said["message"]
    fleet.agent(host).until_status(f"Paused {version} for paused")
    assert slots(fleet.lock.objects[LOCK]) == {} and not fleet.was_cordoned(host)
    fleet.patch_plan("paused", concurrency=1)
    fleet.wait_complete("paused")
    assert host.is_ready(version)


def test_a_node_labelled_disabled_is_left_out(fleet):
    out, other = fleet.workers
    old = out.k3s_version()
    version = fleet.next_version(*fleet.workers)
    # Paused, until the agent has heard of its label: that and the Plan come to it by different watches.
    fleet.plan("upgrades", fleet.workers, version=version, concurrency=0)
    fleet.agent(out).until_status(f"Paused {version} for upgrades")
    fleet.cluster.kubectl("label", "node", out.name, "plan.upgrade.cattle.io/upgrades=disabled")
    fleet.agent(out).until_status("Idle: nothing to do")
    fleet.patch_plan("upgrades", concurrency=2)
    fleet.wait_complete("upgrades")
    assert other.is_ready(version)
    assert out.k3s_version() == old and plan_label(out.node(), "upgrades") == "disabled" and not fleet.was_cordoned(out)
    fleet.cluster.kubectl("label", "node", out.name, "plan.upgrade.cattle.io/upgrades-")
    fleet.until_node(out, lambda n: version_of(n) == version and plan_label(n, "upgrades"), "upgraded after all")


def test_nodes_that_run_the_version_already_are_only_labelled(fleet):
    host = fleet.workers[0]
    version = host.k3s_version()
    before = invocation(host)
    fleet.plan("same", [host], version=version)
    plan = fleet.wait_complete("same")
    assert plan_label(host.node(), "same") == plan["status"]["latestHash"]
    assert not fleet.was_cordoned(host) and invocation(host) == before
    assert fleet.most_slots() == 0


def test_a_channel_names_the_version(fleet):
    host = fleet.workers[1]
    version = fleet.next_version(host)
    fleet.cluster.releases.channel("stable", version)
    asked = len(fleet.cluster.releases.requests())
    fleet.plan("follows", [host], channel="https://update.k3s.io/v1-release/channels/stable")
    plan = fleet.wait_complete("follows")
    assert host.is_ready(version)
    assert plan["status"]["latestVersion"] == version.replace("+", "-")
    assert conditions(plan)["LatestResolved"]["reason"] == "Channel"
    questions = [r for r in fleet.cluster.releases.requests()[asked:] if r["path"].endswith("/channels/stable")]
    assert questions and all(r["host"] == "update.k3s.io" for r in questions)
    coordinators = [r for r in questions if r["client"].startswith(fleet.server.ip + ":")]
    assert len(coordinators) == 1, "asked once, not at each change"


def test_an_agent_killed_while_draining_puts_the_node_back_and_starts_over(fleet):
    host = fleet.workers[0]
    version = blocked_drain(fleet, host)
    begun, before, seen = now(), invocation(host), fleet.nodes.mark()
    fleet.agent(host).kill()
    fleet.agent(host).heard('interrupted at "drain"', begun)
    fleet.agent(host).heard("undone, the node is as it was", begun)
    # It starts over at once: the node may be cordoned again before anybody has looked.
    fleet.until_node_was(seen, host, lambda n: not is_cordoned(n), "uncordoned")
    end_guard(fleet)
    fleet.wait_complete("careful")
    assert host.is_ready(version) and not is_cordoned(host.node())
    assert invocation(host) != before


def test_an_agent_killed_while_the_server_restarts_finishes_the_upgrade(fleet):
    host = fleet.server
    version = fleet.next_version(host)
    host.misbehave(startSeconds=15)  # READY=1 comes late: there is time to be killed in
    fleet.plan("servers", [host], version=version)
    begun = fleet.begun
    fleet.agent(host).heard("Restarting for", begun)
    until(lambda: host.unit_state()["ActiveState"] == "activating", "k3s starting")
    assert host.k3s_version() == version, "the swap is done"
    killed = now()
    fleet.agent(host).kill()
    fleet.agent(host).heard('interrupted at "restart"', killed)
    fleet.wait_complete("servers")
    assert host.is_ready(version) and not is_cordoned(host.node())
    assert fleet.agent(host).upgraded(killed)["result"] == "Succeeded"
    fleet.until_no_slots()


def test_an_agent_killed_while_the_node_becomes_ready_finishes_without_another_restart(fleet):
    host = fleet.workers[1]
    version = fleet.next_version(host)
    host.misbehave(readySeconds=15)
    fleet.plan("workers", [host], version=version)
    fleet.agent(host).heard("Verifying", fleet.begun)
    killed, before = now(), invocation(host)
    fleet.agent(host).kill()
    fleet.agent(host).heard('interrupted at "verify"', killed)
    fleet.wait_complete("workers")
    assert host.is_ready(version) and not is_cordoned(host.node())
    assert invocation(host) == before


def test_a_restart_of_the_servers_k3s_does_not_disturb_an_upgrade_elsewhere(fleet):
    host = fleet.workers[0]
    # The drain takes longer than the API is away.
    version = blocked_drain(fleet, host)
    fleet.server.restart_k3s()
    end_guard(fleet)
    fleet.wait_complete("careful")
    assert host.is_ready(version) and not is_cordoned(host.node())
    assert fleet.agent(host).upgraded(fleet.begun)["result"] == "Succeeded"
    assert [n for n in fleet.seen(fleet.nodes) if n["metadata"]["name"] == host.name and is_cordoned(n)
            and version_of(n) == version], "one attempt, not two"
    assert fleet.agent(host).records(fleet.begun, "undone") == []


# systemd may see a program end before its unit counts as started (restart), or only afterwards (verify).
@pytest.mark.parametrize("role, how, steps", [("agent", {"failStart": True}, ["restart", "verify"]), ("server", {"neverReady": True}, ["verify"])],
                         ids=["on an agent, k3s does not start", "on a server, the node never becomes Ready"])
def test_a_release_that_does_not_work_is_rolled_back_and_stops_there(fleet, role, how, steps):
    host = fleet.server if role == "server" else fleet.workers[0]
    # A Plan for several nodes stops after the first that fails.
    hosts = [host] if role == "server" else fleet.workers
    old = {h.name: h.k3s_version() for h in hosts}
    bad = fleet.broken_version(max(hosts, key=lambda h: patch(h.k3s_version())), **how)
    before = {h.name: invocation(h) for h in hosts}
    sums = {h.name: sha256(h) for h in hosts}
    fleet.plan("breaks", hosts, version=bad)
    said = fleet.until_condition("breaks", "Complete", "False", ": ")
    assert said["reason"] == "JobFailed"
    failed = next(h for h in hosts if said["message"].startswith(h.name + ": "))
    step = said["message"].split(": ")[1]
    assert step in steps
    rest = [h for h in hosts if h is not failed]

    assert fleet.until_slot("Failed", "breaks", failed)["detail"] in said["message"]
    assert failed.is_ready(old[failed.name]) and failed.k3s_version() == old[failed.name]
    assert sha256(failed) == sums[failed.name]
    assert fleet.was_cordoned(failed) and not is_cordoned(failed.node())
    assert plan_label(failed.node(), "breaks") is None
    events = fleet.until_events("breaks", "JobFailed")
    assert any(e["reason"] == "JobFailed" and failed.name in e["message"] for e in events)
    fleet.agent(failed).until_status(f"Failed {bad} for breaks: {step}: ")
    status = fleet.agent(failed).status()
    assert (status["phase"], status["last"]["result"]) == ("Failed", "Failed")
    for other in rest:
        assert not fleet.was_cordoned(other) and invocation(other) == before[other.name]
        assert fleet.agent(other).until_status("for a slot: 1 of 1 slots held").endswith(")")

    # Another version is another chance; what failed is forgotten.
    good = fleet.next_version(*hosts)
    fleet.patch_plan("breaks", version=good)
    fleet.wait_complete("breaks", good)
    assert all(h.is_ready(good) and not is_cordoned(h.node()) for h in hosts)
    fleet.until_no_slots()


def test_deleting_a_plan_clears_its_failure(fleet):
    host = fleet.workers[1]
    old = host.k3s_version()
    fleet.plan("breaks", [host], version=fleet.broken_version(host, failStart=True))
    fleet.until_slot("Failed", "breaks", host)
    fleet.cluster.kubectl("-n", NAMESPACE, "delete", "plan", "breaks")
    fleet.until_no_slots()
    fleet.agent(host).until_status("Idle: no Plans")
    assert host.is_ready(old)
