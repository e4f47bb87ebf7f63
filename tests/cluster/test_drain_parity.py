# SPDX-License-Identifier: Apache-2.0
"""kubectl drain and the agent's drain decide the same, but where they are meant not to (drain_rows.py).

Each row is made twice in a real API server: for `kubectl drain` and for the agent's own code (tests/agent/node/drain_by_hand.cpp), which
speaks as the node. What they did is read from the API server: its audit log, its pods, its Node. Unlike a cluster it has no
controllers, so that owners, budgets' status and namespaces are what the row says; a thread stands in for the kubelets, and
deletes the pods that are told to go. kubectl is the control plane's, and so are its rules and the version of its evictions.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import subprocess
import threading
import time

import pytest

from . import api, paths
from .control_plane import ControlPlane
from .drain_rows import COMES_BACK, HANGS, LASTS, ROWS, SUC
from .processes import run

pytestmark = pytest.mark.every_kubernetes

DRIVER = pathlib.Path(os.environ.get("KUA_BUILD_DIR") or paths.REPOSITORY / "build") / "tests/agent/drain-by-hand"
FLAGS = {"ignoreDaemonSets": "ignore-daemonsets", "deleteEmptydirData": "delete-emptydir-data", "deleteLocalData": "delete-emptydir-data",
         "force": "force", "disableEviction": "disable-eviction", "gracePeriod": "grace-period", "timeout": "timeout",
         "skipWaitForDeleteTimeout": "skip-wait-for-delete-timeout"}


class Server:
    """An API server, its administrator, and the kubelets of all its nodes."""

    def __init__(self, directory):
        self.plane = ControlPlane(directory)
        self.grace = {}  # seconds, by uid, of each pod that was seen going
        self._local = threading.local()
        self._closed = threading.Event()

    def start(self):
        self.plane.prepare()
        self.plane.start_etcd()
        self.plane.start_api_server()
        self.plane.kubectl("apply", "-f", paths.REPOSITORY / "deploy")
        self.access = api.Access.of(self.plane)
        # policy/v1 came with 1.21, v1beta1 went with 1.25.
        served = {v["groupVersion"] for v in self.request("GET", "/apis/policy")["versions"]}
        self.policy = "policy/v1" if "policy/v1" in served else "policy/v1beta1"
        threading.Thread(target=self._delete_what_goes, daemon=True).start()

    def close(self):
        self._closed.set()
        self.plane.down()

    def request(self, method, path, body=None, **more):
        if not hasattr(self._local, "api"):
            self._local.api = api.Api(self.access)
        return self._local.api.request(method, path, body, **more)

    def _delete_what_goes(self):
        with contextlib.suppress(*api.AWAY):
            for _, pods in api.watch(self.access, "/api/v1/pods"):
                if self._closed.is_set():
                    return
                for pod in pods:
                    metadata, told = pod["metadata"], pod["metadata"].get("annotations", {})
                    if "deletionTimestamp" not in metadata or metadata["uid"] in self.grace:
                        continue
                    self.grace[metadata["uid"]] = metadata["deletionGracePeriodSeconds"]
                    if HANGS not in told:
                        threading.Timer(int(told.get(LASTS, 0)), self._end, [pod]).start()

    def _end(self, pod):
        metadata = pod["metadata"]
        pods = f"/api/v1/namespaces/{metadata['namespace']}/pods"
        with contextlib.suppress(api.Refused):
            self.request("DELETE", f"{pods}/{metadata['name']}", {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}})
            if COMES_BACK in metadata.get("annotations", {}):
                self.request("POST", pods, again(pod))


def again(pod):
    """The pod that a controller makes in another's place."""
    metadata = {k: pod["metadata"][k] for k in ("name", "labels", "ownerReferences") if k in pod["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}


class Site:
    """One row as it is made for one of the two."""

    def __init__(self, server, number, row, who):
        self.server, self.row = server, row
        self.node = f"node-{number}-{who}"
        self.made = {}  # (namespace's ending, pod): uid

    def namespace(self, ending=""):
        return f"{self.node}{ending and '-'}{ending}"

    def prepare(self):
        self.kubeconfig = self.server.plane.kubelet_kubeconfig(self.node)
        for ending in sorted({"", *(p.namespace for p in self.row.pods)}):
            self.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace(ending)}})
            self.server.request("POST", f"/api/v1/namespaces/{self.namespace(ending)}/serviceaccounts", {"metadata": {"name": "default"}})
        for name in self.row.daemon_sets:
            labels = {"daemon": name}
            self.server.request("POST", f"/apis/apps/v1/namespaces/{self.namespace()}/daemonsets", {
                "metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": {
                    "metadata": {"labels": labels}, "spec": {"containers": [CONTAINER]}}}})
        for pod in self.row.pods:
            self.make(pod)
        for budget in self.row.budgets:
            self.make_budget(budget)
        for ending in self.row.ends:
            self.server.request("DELETE", f"/api/v1/namespaces/{self.namespace(ending)}")
        time.sleep(self.row.later)

    def make(self, pod):
        owner = {"apiVersion": "v1" if pod.owner in ("Node", "ReplicationController") else "apps/v1", "kind": pod.owner,
                 "name": pod.name, "uid": "00000000-0000-0000-0000-000000000001", "controller": pod.controller}
        told = {HANGS: pod.hangs, LASTS: pod.lasts, COMES_BACK: pod.comes_back}
        annotations = {**pod.annotations, **{what: str(value) for what, value in told.items() if value}}
        pods = f"/api/v1/namespaces/{self.namespace(pod.namespace)}/pods"
        made = self.server.request("POST", pods, {
            "metadata": {"name": pod.name, "labels": pod.labels, "annotations": annotations,
                         "ownerReferences": [owner] if pod.owner else []},
            "spec": {"nodeName": "elsewhere" if pod.elsewhere else self.node, "containers": [CONTAINER], "volumes": list(pod.volumes),
                     "terminationGracePeriodSeconds": pod.grace, "automountServiceAccountToken": False}})
        self.made[pod.namespace, pod.name] = made["metadata"]["uid"]
        self.server.request("PATCH", f"{pods}/{pod.name}/status", {"status": {
            "phase": pod.phase, "conditions": [{"type": "Ready", "status": "True"}]}}, content_type=api.MERGE)
        if pod.deleted:
            deleted = self.server.request("DELETE", f"{pods}/{pod.name}", {"gracePeriodSeconds": pod.deleted})
            assert "deletionTimestamp" in deleted["metadata"]

    def make_budget(self, budget):
        budgets = f"/apis/{self.server.policy}/namespaces/{self.namespace()}/poddisruptionbudgets"
        self.server.request("POST", budgets, {"metadata": {"name": budget.name}, "spec": {
            "minAvailable": 1, "selector": {"matchLabels": budget.labels}}})
        self.allow(budget)

    def allow(self, budget):
        self.server.request("PATCH", f"/apis/{self.server.policy}/namespaces/{self.namespace()}/poddisruptionbudgets/{budget.name}/status", {
            "status": {"observedGeneration": 1, "disruptionsAllowed": budget.allowed, "currentHealthy": 3, "desiredHealthy": 1,
                       "expectedPods": 3, "disruptedPods": None}}, content_type=api.MERGE)

    @contextlib.contextmanager
    def refilling(self):
        """A budget is full again when what went is gone, as a controller has it when a replacement is up."""
        done = threading.Event()

        def refill():
            while not done.wait(0.5):
                for budget in self.row.budgets:
                    if budget.refills:
                        self.allow(budget)
        thread = threading.Thread(target=refill)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    # What came of it

    def outcome(self, verdict, user_agent):
        asked = self.asked(user_agent)
        left = {p["metadata"]["uid"] for ending in {"", *(p.namespace for p in self.row.pods)}
                for p in self.server.request("GET", f"/api/v1/namespaces/{self.namespace(ending)}/pods")["items"]}
        pods = {"/".join(key): (asked.get(key, "left alone"), "there" if uid in left else "gone", self.server.grace.get(uid))
                for key, uid in self.made.items()}
        cordoned = self.server.request("GET", f"/api/v1/nodes/{self.node}")["spec"].get("unschedulable", False)
        return {"verdict": verdict, "cordoned": cordoned, "pods": pods}

    def asked(self, user_agent) -> dict:
        """What was asked for of each pod; a dry run asks for nothing."""
        found = {}
        for event in self.server.plane.audit.events(resource="pods", agent=user_agent, stage="RequestReceived"):
            ref = event["objectRef"]
            if not re.fullmatch(rf"{self.node}(-[a-z]+)?", ref.get("namespace", "")) or "dryRun" in event["requestURI"]:
                continue
            key = ref["namespace"][len(self.node) + 1:], ref.get("name")
            if event["verb"] == "create" and ref.get("subresource") == "eviction":
                found[key] = "evicted"
            elif event["verb"] == "delete":
                found[key] = "deleted"
        return found


CONTAINER = {"name": "c", "image": "none"}


def flags(spec):
    """SUC's words for kubectl: what stands in spec.drain, and that its own pods are left alone."""
    given = {"ignoreDaemonSets": True, **({} if "deleteLocalData" in spec else {"deleteEmptydirData": True}), **spec}
    selector = [f"!{next(iter(SUC))}"]
    if "podSelector" in given:
        chosen = given.pop("podSelector")
        selector += [f"{k}={v}" for k, v in chosen.get("matchLabels", {}).items()]
        words = {"In": "{key} in ({values})", "NotIn": "{key} notin ({values})", "Exists": "{key}", "DoesNotExist": "!{key}"}
        selector += [words[e["operator"]].format(key=e["key"], values=",".join(e.get("values", []))) for e in chosen.get("matchExpressions", [])]
    if isinstance(given.get("timeout"), int):
        given["timeout"] = f"{given['timeout'] // 1_000_000_000}s"
    return [f"--{FLAGS[k]}={str(v).lower() if isinstance(v, bool) else v}" for k, v in given.items()] + [f"--pod-selector={','.join(selector)}"]


def by_kubectl(site):
    site.prepare()
    with site.refilling():
        done = subprocess.run([*site.server.plane.kubectl_command(), "drain", site.node, *flags(site.row.spec)],
                              capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    verdict = ("drained" if done.returncode == 0 else "refused" if "cannot delete" in said else
               "timed out" if re.search("timeout reached|context deadline exceeded", said) else "failed")
    return site.outcome(verdict, "kubectl/"), said


def by_the_agent(site):
    site.prepare()
    plan = {"apiVersion": "upgrade.cattle.io/v1", "kind": "Plan", "metadata": {"name": "p", "namespace": "system-upgrade"}, "spec": {
        "concurrency": 1, "version": "v1.30.5+k3s1", "upgrade": {"image": "rancher/k3s-upgrade"}, "drain": site.row.spec,
        "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": site.node}}}}
    with site.refilling():
        done = run(DRIVER, site.kubeconfig, site.node, input=json.dumps(plan), timeout=120)
    said = json.loads(done.stdout)
    return site.outcome(said["verdict"], "k3s-upgrade-agent"), done.stdout


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of all rows, by both: several at once, since they mostly wait."""
    server = Server(tmp_path_factory.mktemp("parity"))
    try:
        server.start()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            futures = {row.name: (pool.submit(by_kubectl, Site(server, number, row, "kubectl")),
                                  pool.submit(by_the_agent, Site(server, number, row, "agent")))
                       for number, row in enumerate(ROWS)}
            yield futures
            for pair in futures.values():
                concurrent.futures.wait(pair)
    finally:
        server.close()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_drain_does_what_kubectl_does(outcomes, row):
    (kubectl, kubectl_said), (agent, agent_said) = (future.result() for future in outcomes[row.name])
    print(f"kubectl: {kubectl}\n{kubectl_said}\nagent: {agent}\n{agent_said}")
    differs = {what for what in kubectl if kubectl[what] != agent[what]}
    assert differs == row.differs, row.why
    assert bool(row.why) == bool(row.differs)
