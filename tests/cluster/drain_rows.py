# SPDX-License-Identifier: Apache-2.0
"""Clusters in miniature, for comparing two drains of them: what lies on the node, and what is asked for."""

import dataclasses

MIRROR = {"kubernetes.io/config.mirror": "x"}
SUC = {"upgrade.cattle.io/controller": "system-upgrade-controller"}
# Annotations: of a pod that no kubelet deletes, of one that ends so many seconds after it was told to, of one that is made again.
HANGS, LASTS, COMES_BACK = "test/hangs", "test/lasts", "test/comes-back"


@dataclasses.dataclass(frozen=True)
class Pod:
    name: str
    owner: str = "ReplicaSet"  # a kind; empty: none
    controller: bool = True  # of the owner
    phase: str = "Running"
    volumes: tuple = ()
    labels: dict = dataclasses.field(default_factory=dict)
    annotations: dict = dataclasses.field(default_factory=dict)
    grace: int = 30
    elsewhere: bool = False  # on another node
    deleted: int = 0  # seconds of grace with which somebody has deleted it before
    hangs: bool = False
    lasts: int = 0
    comes_back: bool = False  # under the same name, as soon as it is gone
    namespace: str = ""  # what its namespace's name ends in


@dataclasses.dataclass(frozen=True)
class Budget:
    name: str
    labels: dict
    allowed: int
    refills: bool = False  # as a controller does when a replacement is up


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    pods: tuple
    spec: dict = dataclasses.field(default_factory=dict)  # of spec.drain
    budgets: tuple = ()
    daemon_sets: tuple = ()  # those that are there
    ends: tuple = ()  # what a namespace's name ends in that somebody has deleted
    later: int = 0  # seconds until the drain: a deletion's age can't be made, only waited for
    differs: frozenset = frozenset()  # what is not the same, and is meant not to be
    why: str = ""


EMPTY_DIR = ({"name": "d", "emptyDir": {}},)
OTHER_VOLUMES = ({"name": "c", "configMap": {"name": "c"}}, {"name": "h", "hostPath": {"path": "/tmp"}})
DAEMON = Pod("daemon", owner="DaemonSet")
WEB = Pod("web")
BARE = Pod("bare", owner="")

# kubectl cordons first and looks then: the agent touches no node that refuses.
UNCORDONED = frozenset({"cordoned"})
REFUSED = {"differs": UNCORDONED, "why": "a node that refuses its drain is not even cordoned"}
# What was not done within its time is undone by the agent, and tried again; kubectl leaves the cordon.
UNDONE = {"differs": UNCORDONED, "why": "a drain that runs into its timeout is undone"}
HELD = {"differs": frozenset({"verdict", "cordoned", "pods"}),
        "why": "a node whose pods a budget holds waits uncordoned, and no other pod of it is evicted (dryRun=All)"}


def selected(operator, values=None):
    expression = {"key": "app", "operator": operator, **({"values": values} if values else {})}
    return {"podSelector": {"matchExpressions": [expression]}}


LABELLED = (Pod("a", labels={"app": "a"}), Pod("b", labels={"app": "b"}), Pod("none"))

ROWS = (
    Row("a node without pods", ()),
    Row("pods of other nodes", (WEB, Pod("other", elsewhere=True))),
    *(Row(f"a pod of a {kind}", (Pod("web", owner=kind),))
      for kind in ("ReplicaSet", "ReplicationController", "StatefulSet", "Job", "Rollout")),
    Row("a pod of nobody", (BARE, WEB), **REFUSED),
    Row("a pod of nobody, by force", (BARE, WEB), {"force": True}),
    Row("a pod whose owner is no controller", (Pod("web", controller=False),), **REFUSED),
    Row("a finished pod of nobody", (Pod("done", owner="", phase="Succeeded"), Pod("broken", owner="", phase="Failed"))),
    Row("a pending pod", (Pod("web", phase="Pending"),)),
    Row("a mirror pod", (Pod("static", owner="", annotations=MIRROR), WEB)),
    Row("a mirror pod of a Node", (Pod("static", owner="Node", annotations=MIRROR), WEB), {"force": True}),
    Row("a DaemonSet's pod", (DAEMON, WEB), daemon_sets=("daemon",)),
    Row("a DaemonSet's pod that is not to be ignored", (DAEMON, WEB), {"ignoreDaemonSets": False}, daemon_sets=("daemon",), **REFUSED),
    Row("the same by force", (DAEMON, WEB), {"ignoreDaemonSets": False, "force": True}, daemon_sets=("daemon",), **REFUSED),
    Row("a DaemonSet's pod with an emptyDir", (Pod("daemon", owner="DaemonSet", volumes=EMPTY_DIR),),
        {"deleteEmptydirData": False}, daemon_sets=("daemon",)),
    Row("a pod whose DaemonSet is gone", (DAEMON, WEB), **REFUSED),
    Row("a pod whose DaemonSet is gone, by force", (DAEMON, WEB), {"force": True}),
    Row("a finished pod whose DaemonSet is gone", (Pod("daemon", owner="DaemonSet", phase="Succeeded"),)),
    Row("a finished pod of a DaemonSet", (Pod("daemon", owner="DaemonSet", phase="Failed"),), daemon_sets=("daemon",)),
    Row("an emptyDir", (Pod("web", volumes=EMPTY_DIR),)),
    Row("an emptyDir to be kept", (Pod("web", volumes=EMPTY_DIR), Pod("other")), {"deleteEmptydirData": False}, **REFUSED),
    Row("an emptyDir to be kept, by its old name", (Pod("web", volumes=EMPTY_DIR),), {"deleteLocalData": False}, **REFUSED),
    Row("an emptyDir to be kept, by force", (Pod("web", volumes=EMPTY_DIR),), {"deleteEmptydirData": False, "force": True}, **REFUSED),
    Row("a finished pod's emptyDir", (Pod("web", volumes=EMPTY_DIR, phase="Succeeded"),), {"deleteEmptydirData": False}),
    Row("other volumes", (Pod("web", volumes=OTHER_VOLUMES),), {"deleteEmptydirData": False}),
    Row("system-upgrade-controller's own pod", (Pod("suc", labels=SUC), Pod("bare-suc", owner="", labels=SUC), WEB)),
    Row("the pods of an app", LABELLED, selected("In", ["a", "c"])),
    Row("the pods of other apps", LABELLED, selected("NotIn", ["a"])),
    Row("the pods of any app", LABELLED, selected("Exists")),
    Row("the pods of no app", LABELLED, selected("DoesNotExist")),
    Row("the pods with a label", LABELLED, {"podSelector": {"matchLabels": {"app": "b"}}}),
    Row("a selector leaves out what would refuse", (BARE, Pod("a", labels={"app": "a"})), selected("Exists")),
    Row("the pods' own grace period", (Pod("web", grace=7),), {"gracePeriod": -1}),
    Row("another grace period", (WEB, Pod("slow", grace=600)), {"gracePeriod": 5}),
    Row("no grace period", (WEB,), {"gracePeriod": 0}),
    Row("deletions in place of evictions", (WEB,), {"disableEviction": True},
        (Budget("none", {}, 0),)),
    Row("deletions with a grace period", (WEB,), {"disableEviction": True, "gracePeriod": 3}),
    Row("a budget with room", (Pod("web", labels={"app": "a"}),), {}, (Budget("some", {"app": "a"}, 1),)),
    Row("a budget that lets one go at a time", (Pod("web-0", labels={"app": "a"}), Pod("web-1", labels={"app": "a"})), {},
        (Budget("one", {"app": "a"}, 1, refills=True),)),
    Row("a budget that lets nobody go", (Pod("web", labels={"app": "a"}), Pod("other")), {"timeout": "8s"},
        (Budget("none", {"app": "a"}, 0),), **HELD),
    Row("a budget of pods that are not drained", (Pod("web", labels={"app": "a"}), Pod("other", labels={"app": "b"})),
        selected("In", ["b"]), (Budget("none", {"app": "a"}, 0),)),
    Row("a finished pod under a budget", (Pod("done", labels={"app": "a"}, phase="Succeeded"),), {}, (Budget("none", {"app": "a"}, 0),)),
    Row("a pending pod under a budget", (Pod("web", labels={"app": "a"}, phase="Pending"),), {}, (Budget("none", {"app": "a"}, 0),)),
    Row("two budgets of one pod", (Pod("web", labels={"app": "a"}), Pod("other")), {"timeout": "20s"},
        (Budget("one", {"app": "a"}, 1), Budget("two", {"app": "a"}, 1)), differs=frozenset({"verdict", "cordoned", "pods"}),
        why="kubectl has cordoned the node and evicted others before it meets the error; the agent asks before (dryRun=All)"),
    Row("a pod that does not end", (Pod("stuck", hangs=True), WEB), {"timeout": "8s"}, **UNDONE),
    Row("a timeout that suffices", (WEB,), {"timeout": 60_000_000_000}),
    Row("a pod that somebody has deleted", (Pod("going", deleted=2), WEB)),
    Row("a pod that was deleted long ago and does not end", (Pod("stuck", deleted=1, hangs=True), WEB), {"skipWaitForDeleteTimeout": 1},
        later=4),
    Row("a pod that was deleted just now and does not end", (Pod("stuck", deleted=600, hangs=True), WEB),
        {"skipWaitForDeleteTimeout": 1, "timeout": "8s"}, **UNDONE),
    Row("the same without that limit", (Pod("stuck", deleted=1, hangs=True), WEB), {"timeout": "8s"}, **UNDONE),
    Row("a pod that comes back under its name while another is waited for",
        (Pod("web-0", owner="StatefulSet", comes_back=True), Pod("slow", lasts=3))),
    Row("a pod of a namespace that is being deleted", (Pod("web", namespace="b"), WEB), {"timeout": "8s"}, ends=("b",), **UNDONE),
    Row("pods of several namespaces", (WEB, Pod("web", namespace="b"), Pod("other", namespace="b"))),
    Row("as many pods as a node has", tuple(Pod(f"web-{n}") for n in range(30))),
)
