# SPDX-License-Identifier: Apache-2.0
"""README's "Move from system-upgrade-controller" and "Go back": each command of theirs, run as it stands there."""

import json
import shlex

from . import paths, until
from .agent import LOCK, NAMESPACE, UNIT
from .watched import plan_label
from .workload import controller

SUC = "system-upgrade-controller"
LABEL = "plan.upgrade.cattle.io/plan"


def steps(heading) -> list:
    """The commands of a section of README, in their order."""
    section = (paths.REPOSITORY / "README.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line.strip() for line in section.splitlines() if line.startswith("       ") and line.strip()]


def deploy_suc(fleet, replicas):
    """The Deployment as an object only: the stand-in runs no containers, and what matters of SUC here is its Lease."""
    deployment = controller("Deployment", SUC)
    deployment["metadata"]["namespace"] = NAMESPACE
    deployment["spec"]["replicas"] = replicas
    fleet.cluster.apply(json.dumps(deployment))


def replicas(fleet):
    return fleet.cluster.kubectl_json("-n", NAMESPACE, "get", "deployment", SUC)["spec"]["replicas"]


def run(fleet, command):
    words = shlex.split(command)
    assert words[0] == "kubectl"
    return fleet.cluster.kubectl(*words[1:])


def test_the_move_from_suc_and_the_way_back(fleet):
    host = fleet.workers[1]
    deploy_suc(fleet, 1)
    version = fleet.next_version(host)
    # What SUC has done already is labelled with its hash, which is ours.
    fleet.plan("plan", [host], version=version, concurrency=0)
    latest = fleet.plans.until(lambda plans: plans["plan"].get("status", {}).get("latestHash"), "a hash")
    fleet.cluster.kubectl("label", "node", host.name, f"{LABEL}={latest}", "--overwrite")
    look, stop, nodes = steps("Move from system-upgrade-controller")
    run(fleet, look)
    run(fleet, stop)
    assert replicas(fleet) == 0
    run(fleet, nodes)
    fleet.patch_plan("plan", concurrency=1)
    fleet.agent(host).until_status("Idle: nothing to do")
    assert host.k3s_version() != version and plan_label(host.node(), "plan") == latest

    remove, *rest, start = steps("Go back")
    for each in fleet.cluster.hosts:
        each.run(*shlex.split(remove), "-y", "-q")
        assert each.run("systemctl", "is-active", UNIT, check=False).returncode != 0
    try:
        for command in rest:
            run(fleet, command)
        run(fleet, start)
        assert replicas(fleet) == 1
        assert fleet.cluster.kubectl("-n", NAMESPACE, "get", "configmap", LOCK, check=False).returncode != 0
        left = fleet.cluster.kubectl("get", "role,rolebinding,clusterrole,clusterrolebinding", "-A", "-o", "name").stdout
        assert "k3s-upgrade-agent" not in left
        assert fleet.cluster.kubectl_json("-n", NAMESPACE, "get", "plan", "plan")["status"]["latestHash"] == latest
    finally:
        fleet.cluster.kubectl("-n", NAMESPACE, "delete", "deployment", SUC)
        fleet.deploy()
        for each in fleet.cluster.hosts:
            fleet.install(each)
            fleet.agent(each).configure()
    until(lambda: LOCK in fleet.lock.objects, "the lock is there again")
