# SPDX-License-Identifier: Apache-2.0
"""What tests apply besides Plans of their own: pods that are in the way of a drain, and k3s's documented Plans."""

import json

from .processes import until

# The two Plans of k3s's own documentation ("Automated Upgrades"), with VERSION in place of one.
DOCUMENTED = """
apiVersion: upgrade.cattle.io/v1
kind: Plan
metadata:
  name: agent-plan
  namespace: system-upgrade
spec:
  concurrency: 1
  cordon: true
  nodeSelector:
    matchExpressions:
    - key: node-role.kubernetes.io/control-plane
      operator: DoesNotExist
  prepare:
    args:
    - prepare
    - server-plan
    image: rancher/k3s-upgrade
  serviceAccountName: system-upgrade
  upgrade:
    image: rancher/k3s-upgrade
  version: VERSION
---
apiVersion: upgrade.cattle.io/v1
kind: Plan
metadata:
  name: server-plan
  namespace: system-upgrade
spec:
  concurrency: 1
  cordon: true
  nodeSelector:
    matchExpressions:
    - key: node-role.kubernetes.io/control-plane
      operator: In
      values:
      - "true"
  serviceAccountName: system-upgrade
  upgrade:
    image: rancher/k3s-upgrade
  version: VERSION
"""


# What the channel in documented() points at.
CHANNEL = "https://update.k3s.io/v1-release/channels/stable"


def documented(version=None, agents_at_once=1):
    """The two Plans; without a version, with a channel."""
    agents, servers = DOCUMENTED.replace("version: VERSION", f"version: {version}" if version else f"channel: {CHANNEL}").split("---\n")
    return agents.replace("concurrency: 1", f"concurrency: {agents_at_once}") + "---\n" + servers


def controller(kind, name, **spec):
    """A ReplicaSet or DaemonSet whose pods do nothing; `spec` goes into the pods' own."""
    spec = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "pause"}], **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}}, "spec": spec}}}


def bare_pod(name, node):
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
                       "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1,
                                "containers": [{"name": "main", "image": "pause"}]}})


def pods(cluster, app):
    """Those that are to stay: not what is being deleted, of this test's or of the one before."""
    return [p for p in cluster.kubectl_json("get", "pods", "-l", f"app={app}")["items"]
            if "deletionTimestamp" not in p["metadata"]]


def until_running(cluster, app, count) -> list:
    """Until so many pods run, and no others are there; gives them."""
    def ask():
        found = pods(cluster, app)
        ready = [p for p in found for c in p["status"].get("conditions", []) if (c["type"], c["status"]) == ("Ready", "True")]
        return found if len(found) == len(ready) == count else None
    return until(ask, f"{count} pods of {app} running", interval=0.5)


def deploy_on(fleet, host, app, replicas=1, **spec):
    """Pods on the host, whatever the scheduler would say; those that follow them find themselves another node."""
    manifest = controller("ReplicaSet", app, nodeName=host.name, **spec)
    manifest["spec"]["replicas"] = replicas
    fleet.cluster.apply(json.dumps(manifest))
    until_running(fleet.cluster, app, replicas)
    # A Deployment would begin anew when its template changes; a ReplicaSet's counts for the next pod only.
    elsewhere = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [host.name]}]}]}}}
    fleet.cluster.kubectl("patch", "replicaset", app, "--type=merge", "-p", json.dumps(
        {"spec": {"template": {"spec": {
            "nodeName": None, "affinity": elsewhere, "terminationGracePeriodSeconds": 1}}}}))

    def observed():
        replica_set = fleet.cluster.kubectl_json("get", "replicaset", app)
        return replica_set["status"].get("observedGeneration", 0) >= replica_set["metadata"]["generation"]
    until(observed, f"the change of {app} to be seen by its controller", interval=0.5)


def deploy_everywhere(fleet, app):
    """A pod on each node; gives them."""
    fleet.cluster.apply(json.dumps(controller("DaemonSet", app)))
    return until_running(fleet.cluster, app, len(fleet.cluster.hosts))


def guard(fleet, host):
    """A pod on the host that can be evicted, but does not go before end_guard(): its object has a finalizer.

    A budget would not do: while one holds a pod, the node is not even cordoned.
    """
    deploy_on(fleet, host, "guarded")
    for pod in pods(fleet.cluster, "guarded"):
        fleet.cluster.kubectl("patch", "pod", pod["metadata"]["name"], "--type=merge", "-p",
                              json.dumps({"metadata": {"finalizers": ["k3s-upgrade-agent.test/guard"]}}))


def end_guard(fleet):
    for pod in fleet.cluster.kubectl_json("get", "pods", "-l", "app=guarded")["items"]:
        if pod["metadata"].get("finalizers"):
            fleet.cluster.kubectl("patch", "pod", pod["metadata"]["name"], "--type=merge", "-p",
                                  json.dumps({"metadata": {"finalizers": None}}), check=False)


def blocked_drain(fleet, host):
    """A Plan that stands still in the drain of the host, for a guarded pod's sake; returns its version."""
    guard(fleet, host)
    version = fleet.next_version(host)
    fleet.plan("careful", [host], version=version, drain={})
    fleet.until_slot("Draining", "careful", host, "1 pod left")
    return version


def invocation(host):
    """Changes with every start of k3s."""
    return host.unit_state(None, "InvocationID")["InvocationID"]
