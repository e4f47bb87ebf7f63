# SPDX-License-Identifier: Apache-2.0
"""What a Plan may ask for, and what may happen to it, on real hosts: windows, delays, labels, conflicts, changes, and SUC."""

import contextlib
import datetime
import json
import threading

from . import now
from .agent import NAMESPACE
from .processes import PATIENCE
from .watched import is_cordoned, plan_label, slots, version_of
from .workload import blocked_drain, end_guard

EVERY_DAY = ["su", "mo", "tu", "we", "th", "fr", "sa"]


def window(opens, closes):
    return {"days": EVERY_DAY, "startTime": f"{opens:%H:%M}", "endTime": f"{closes:%H:%M}"}


def test_a_window_is_waited_for_and_said_when_it_opens(fleet):
    host = fleet.workers[0]
    version = fleet.next_version(host)
    opens = (now() + datetime.timedelta(hours=3)).replace(second=0, microsecond=0)
    hours = datetime.timedelta(hours=2)
    fleet.plan("nightly", [host], version=version, window=window(opens, opens + hours))
    said = fleet.until_condition("nightly", "Complete", "False", f"{opens:%Y-%m-%dT%H:%M:%SZ}")
    assert said["reason"] == "Waiting" and "spec.window" in said["message"]
    fleet.agent(host).until_status(f"which opens at {opens:%Y-%m-%dT%H:%M:%SZ}")
    assert not fleet.was_cordoned(host) and fleet.most_slots() == 0
    fleet.patch_plan("nightly", window=window(now() - hours, now() + hours))
    fleet.wait_complete("nightly")
    assert host.is_ready(version)


def test_a_node_is_labelled_after_the_delay_and_takes_pods_meanwhile(fleet):
    host = fleet.workers[1]
    version = fleet.next_version(host)
    fleet.plan("slow", [host], version=version, postCompleteDelay="6s",
               postCompleteLabels={"example.com/k3s": "$(LATEST_VERSION)", "example.com/hash": "$(LATEST_HASH)"})
    plan = fleet.wait_complete("slow")
    labels = host.node()["metadata"]["labels"]
    latest = plan["status"]["latestHash"]
    assert (labels["example.com/k3s"], labels["example.com/hash"]) == (version.replace("+", "-"), latest)
    assert plan_label(host.node(), "slow") == latest
    delayed = [n for n in fleet.seen(fleet.nodes) if n["metadata"]["name"] == host.name and version_of(n) == version
               and not is_cordoned(n) and "example.com/k3s" not in n["metadata"]["labels"]]
    assert delayed and all(plan_label(n, "slow") is None for n in delayed)
    assert fleet.agent(host).upgraded(fleet.begun)["timings"]["delay"] >= 6
    fleet.cluster.kubectl("label", "node", host.name, "example.com/k3s-", "example.com/hash-")


def test_two_plans_at_different_versions_for_one_node_are_reported_and_not_fought_out(fleet):
    host = fleet.workers[0]
    old, lower = host.k3s_version(), fleet.next_version(host)
    higher = lower.replace("+k3s1", "+k3s2")
    fleet.cluster.releases.add(higher)
    for name, version in (("one", lower), ("two", higher)):
        fleet.plan(name, version=version, nodeSelector={"matchLabels": {"wanted": "twice"}})
    # Plans are heard of in their order: whoever has done this one knows both.
    fleet.plan("third", [host], version=old)
    fleet.until_node(host, lambda n: plan_label(n, "third"), "labelled")
    fleet.cluster.kubectl("label", "node", host.name, "wanted=twice")  # both Plans see the node in the same moment
    text = "want this node at different versions"
    try:
        for name in ("one", "two"):
            said = fleet.until_condition(name, "Complete", "False", text)
            assert said["reason"] == "Blocked" and f"one ({lower}), two ({higher})" in said["message"]
        fleet.agent(host).until_status(text)
        assert host.k3s_version() == old and not fleet.was_cordoned(host) and fleet.most_slots() == 0
        fleet.cluster.kubectl("-n", NAMESPACE, "delete", "plan", "two")
        fleet.wait_complete("one")
        assert host.is_ready(lower)
    finally:
        fleet.cluster.kubectl("label", "node", host.name, "wanted-")


def test_a_plan_that_is_deleted_in_the_middle_of_a_drain_is_undone(fleet):
    host = fleet.workers[0]
    old = host.k3s_version()
    blocked_drain(fleet, host)
    fleet.cluster.kubectl("-n", NAMESPACE, "delete", "plan", "careful")
    fleet.agent(host).heard("undone, the node is as it was", fleet.begun)
    fleet.until_no_slots()
    fleet.until_node(host, lambda n: not is_cordoned(n), "uncordoned")
    fleet.agent(host).until_status("Idle: no Plans")
    assert host.is_ready(old) and host.k3s_version() == old


def test_a_plan_that_is_changed_in_the_middle_of_a_drain_is_undone_and_followed_anew(fleet):
    host = fleet.workers[1]
    old, first = host.k3s_version(), blocked_drain(fleet, host)
    second = first.replace("+k3s1", "+k3s2")
    fleet.cluster.releases.add(second)
    mark, changed = fleet.nodes.mark(), now()
    fleet.patch_plan("careful", version=second)
    fleet.agent(host).heard("undone, the node is as it was", changed)
    fleet.until_node_was(mark, host, lambda n: not is_cordoned(n), "uncordoned")
    end_guard(fleet)
    fleet.wait_complete("careful", second)
    assert host.is_ready(second) and not is_cordoned(host.node())
    assert {version_of(n) for n in fleet.seen(fleet.nodes) if n["metadata"]["name"] == host.name} == {old, second}


@contextlib.contextmanager
def system_upgrade_controller(fleet):
    """Its Lease, renewed as long as the block lasts; yields what waits for so many renewals, a second each at least."""
    def lease():
        return json.dumps({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                           "metadata": {"name": "system-upgrade-controller", "namespace": NAMESPACE},
                           # Long enough for a machine that is slow to renew it.
                           "spec": {"holderIdentity": "suc-1", "leaseDurationSeconds": 20,
                                    "renewTime": f"{now():%Y-%m-%dT%H:%M:%S.%fZ}"}})
    ended, renewals = threading.Event(), threading.Semaphore(0)

    def renew():
        while not ended.wait(1):
            fleet.cluster.apply(lease())
            renewals.release()
    fleet.cluster.apply(lease())
    thread = threading.Thread(target=renew)
    thread.start()

    def wait(times):
        for _ in range(times):
            assert renewals.acquire(timeout=PATIENCE), "the Lease is no longer renewed"
    try:
        yield wait
    finally:
        ended.set()
        thread.join()


def test_nothing_is_touched_while_system_upgrade_controller_is_alive(fleet):
    host = fleet.workers[0]
    version = fleet.next_version(host)
    try:
        with system_upgrade_controller(fleet) as wait_for_renewals:
            wait_for_renewals(6)  # who has found no Lease believes so for five seconds
            fleet.plan("upgrades", [host], version=version)
            fleet.agent(host).until_status("system-upgrade-controller")
            events = fleet.until_events("upgrades", "SystemUpgradeControllerAlive")
            assert any("touches nothing meanwhile" in e["message"] for e in events)
            wait_for_renewals(4)
            assert not fleet.was_cordoned(host) and not any(map(slots, fleet.seen(fleet.lock)))
            assert not any("status" in p for p in fleet.seen(fleet.plans))
        fleet.wait_complete("upgrades")
        assert host.is_ready(version)
    finally:
        fleet.cluster.kubectl("-n", NAMESPACE, "delete", "lease", "system-upgrade-controller")
