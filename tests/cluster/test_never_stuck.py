# SPDX-License-Identifier: Apache-2.0
"""What is refused for good, what does not end, and what has failed: each ends, is told, and lets the rest go on."""

from .admission import policy
from .agent import CONFIGURATION, STATE, UNIT
from .watched import conditions, is_cordoned, plan_label, slots
from .workload import end_guard, guard

QUICK = CONFIGURATION + "drain: {attempts: 1}\n"


def complete(fleet, plan):
    return conditions(fleet.plans.objects[plan])["Complete"]


def test_a_label_that_is_refused_for_good_holds_no_slot_and_no_other_node(fleet):
    first, second = fleet.workers
    version = fleet.next_version(*fleet.workers)
    with policy(fleet.cluster.control_plane, "label", first.name):
        fleet.plan("labels", [first], version=version)
        said = fleet.until_condition("labels", "Complete", "False", "a policy of this cluster says no")
        assert said["reason"] == "Blocked" and said["message"].startswith(f"{first.name}: ")
        assert first.is_ready(version) and not is_cordoned(first.node()) and plan_label(first.node(), "labels") is None
        assert not first.path(f"{STATE}/journal.json").exists()
        # Another Plan, and another node of it, are looked at meanwhile.
        fleet.plan("others", [second], version=version)
        fleet.wait_complete("others")
    fleet.agent(first).restart()
    fleet.wait_complete("labels")
    assert len(fleet.agent(first).records(fleet.begun, "Restarting for")) == 1


def test_a_node_that_may_not_be_uncordoned_stops_the_rollout(fleet):
    first, second = fleet.workers
    version = fleet.next_version(*fleet.workers)
    with policy(fleet.cluster.control_plane, "uncordon", first.name):
        fleet.plan("cordons", [first], version=version)
        said = fleet.until_condition("cordons", "Complete", "False", f"kubectl uncordon {first.name}")
        assert said["reason"] == "JobFailed" and "a policy of this cluster says no" in said["message"]
        assert first.is_ready(version) and is_cordoned(first.node())
        # Now the Plan is for both; the one that failed keeps the slot.
        fleet.plan("cordons", fleet.workers, version=version)
        fleet.agent(second).until_status("1 of 1 slots held: agent-1 (Failed")
        assert not fleet.was_cordoned(second)
    first.run("systemctl", "restart", UNIT)
    fleet.until_node(first, lambda n: not is_cordoned(n), "uncordoned by its agent, whose cordon it is")
    first.run("k3s-upgrade-agent", "release")
    fleet.wait_complete("cordons")
    assert second.is_ready(version)


def test_a_deadline_that_passes_is_a_failure_that_names_the_pods(fleet):
    host = fleet.workers[0]
    fleet.agent(host).configure(CONFIGURATION + "drain: {attempts: 2}\n")
    old, version = host.k3s_version(), fleet.next_version(host)
    guard(fleet, host)
    fleet.plan("late", [host], version=version, drain={}, jobActiveDeadlineSecs=10)
    said = fleet.until_condition("late", "Complete", "False", "attempt 2 of 2")
    assert said["reason"] == "JobFailed"
    assert "DeadlineExceeded" in said["message"] and "default/guarded-" in said["message"]
    told = [e["message"] for e in fleet.until_events("late", "JobFailed") if e["reason"] == "JobFailed"]
    assert any("DeadlineExceeded" in m and "attempt 1 of 2" in m for m in told)
    assert not is_cordoned(host.node()) and host.k3s_version() == old
    # A drain that lasts names its pods in the Plan while it does; and the Plan's change frees the node by itself.
    fleet.patch_plan("late", jobActiveDeadlineSecs=300)
    said = fleet.until_condition("late", "Complete", "False", "agent-1 (Draining, 1 pod left: default/guarded-")
    end_guard(fleet)
    fleet.wait_complete("late")
    assert host.is_ready(version)


def test_what_has_failed_is_tried_again_in_its_own_slot_and_walks_nowhere(fleet):
    first, second = fleet.workers
    for host in fleet.workers:
        fleet.agent(host).configure(QUICK)
    version = fleet.next_version(*fleet.workers)
    guard(fleet, first)
    fleet.plan("walks", [first], version=version, drain={"timeout": "3s"})
    slot = fleet.until_slot("Failed", "walks", first, "spec.drain.timeout")
    assert "; undone, uncordoned; when it is mended: `k3s-upgrade-agent release`" in slot["detail"]
    fleet.plan("walks", fleet.workers, version=version, drain={"timeout": "3s"})
    fleet.agent(second).until_status("1 of 1 slots held: agent-1 (Failed")
    # Paused and gone on with: nothing is mended.
    fleet.patch_plan("walks", concurrency=0)
    fleet.agent(second).until_status("Paused")
    fleet.patch_plan("walks", concurrency=1)
    fleet.agent(second).until_status("1 of 1 slots held: agent-1 (Failed")
    assert slots(fleet.lock.objects["k3s-upgrade-agent"])["walks.agent-1"]["acquired"] == slot["acquired"]
    # Another way to drain.
    fleet.patch_plan("walks", drain={"timeout": "3m"})
    fleet.until_slot("Draining", "walks", first, "1 pod left")
    end_guard(fleet)
    fleet.wait_complete("walks")
    assert first.is_ready(version) and second.is_ready(version)
    order = [k for held in fleet.held() for k in held]
    assert order.index("walks.agent-2") > order.index("walks.agent-1")
    assert fleet.most_slots("walks") == 1


def test_a_cordon_that_was_there_before_is_told_of_and_lifted_where_that_is_wanted(fleet):
    host = fleet.workers[1]
    version = fleet.next_version(host)
    fleet.cluster.kubectl("cordon", host.name)
    fleet.until_node(host, is_cordoned, "cordoned")
    fleet.plan("kept", [host], version=version)
    fleet.wait_complete("kept")
    said = fleet.until_condition("kept", "Complete", "True", "left cordoned: it was cordoned before this upgrade")
    assert f"kubectl uncordon {host.name}" in said["message"] and is_cordoned(host.node())
    assert "left cordoned" in fleet.agent(host).status()["last"]["message"]
    fleet.agent(host).until_status("left cordoned")
    fleet.until_events("kept", "LeftCordoned")
    fleet.cluster.kubectl("uncordon", host.name)
    fleet.plans.until(lambda plans: "left cordoned" not in conditions(plans["kept"])["Complete"].get("message", ""),
                      "the Plan says it no more")

    fleet.agent(host).configure(CONFIGURATION + "cordon: {foreign: lift}\n")
    fleet.cluster.kubectl("cordon", host.name)
    fleet.until_node(host, is_cordoned, "cordoned")
    version = fleet.next_version(host)
    fleet.plan("lifted", [host], version=version)
    fleet.wait_complete("lifted")
    assert host.is_ready(version) and not is_cordoned(host.node())


def test_a_plan_that_selects_no_node_says_so(fleet):
    fleet.plan("empty", version=fleet.next_version(fleet.server), nodeSelector={"matchLabels": {"no": "such"}})
    said = fleet.until_condition("empty", "Complete", "True", "no node matches spec.nodeSelector")
    assert said["reason"] == "Complete"
