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


def crd_of_suc(fleet) -> dict:
    """Ours with what SUC v0.20's generated one has besides (deploy/10-plan-crd.yaml says why ours has not): integers of a format, the
    two types of an int-or-string spelled out, defaults of references; and no descriptions, of which SUC's are others."""
    ours = fleet.cluster.kubectl("create", "--dry-run=client", "-o", "json", "-f", paths.REPOSITORY / "deploy" / "10-plan-crd.yaml")
    crd = json.loads(ours.stdout)

    def change(schema, name=""):
        schema.pop("description", None)
        if schema.get("type") == "integer":
            schema["format"] = "int32" if name in ("gracePeriod", "defaultMode") else "int64"
        if schema.get("x-kubernetes-int-or-string"):
            schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        properties = schema.get("properties", {})
        if properties and name in ("configMapKeyRef", "secretKeyRef", "configMapRef", "secretRef", "imagePullSecrets"):
            properties["name"]["default"] = ""
        if properties and name == "fileKeyRef":
            properties["optional"]["default"] = False
        for key, value in properties.items():
            change(value, key)
        if "items" in schema:
            change(schema["items"], name)
    for version in crd["spec"]["versions"]:
        change(version["schema"]["openAPIV3Schema"])
    return crd


def test_the_crd_of_suc_over_ours_and_back_keeps_all_plans(fleet):
    host = fleet.workers[0]
    fleet.plan("paused", [host], version=fleet.next_version(host), concurrency=0, drain={"timeout": "5m", "gracePeriod": -1},
               secrets=[{"name": "s", "path": "/s"}])
    fleet.plan("runs", [host], version=host.k3s_version())
    fleet.wait_complete("runs")
    kept = {"metadata": ("uid", "annotations"), "spec": None, "status": None}

    def plans():
        def part(thing, keys):
            return {k: v for k, v in thing.items() if keys is None or k in keys}
        return {p["metadata"]["name"]: {k: part(p[k], keys) for k, keys in kept.items()} for p in
                fleet.cluster.kubectl_json("-n", NAMESPACE, "get", "plans")["items"]}
    # Who was told Validated=False does not write it again, and nobody works on either.
    fleet.until_condition("paused", "Validated", "False")
    before = plans()
    fleet.cluster.apply(json.dumps(crd_of_suc(fleet)))
    assert plans() == before
    fleet.deploy()
    assert plans() == before
    # And the agents have gone on meanwhile.
    version = fleet.next_version(host)
    fleet.plan("goes-on", [host], version=version)
    fleet.wait_complete("goes-on")
    assert host.is_ready(version)


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
