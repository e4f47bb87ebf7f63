# SPDX-License-Identifier: Apache-2.0
"""Hosts with the real package installed, and what lends them to tests."""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil

from . import paths
from .agent import CONFIG, CONFIGURATION, LOCK, NAMESPACE, Agent
from .audit import now
from .cluster import Cluster
from .kubernetes import minor, patch
from .processes import PATIENCE, run, until
from .watched import Watched, conditions, is_cordoned, is_down, slots
from .workload import end_guard


def package() -> pathlib.Path:
    """The .deb under test: KUA_TEST_PACKAGE, or one built from this tree."""
    given = os.environ.get("KUA_TEST_PACKAGE")
    if given:
        return pathlib.Path(given)
    folder = paths.cache() / "package"
    return pathlib.Path(run(paths.REPOSITORY / "packaging/deb/build", "--output", folder, timeout=1800).stdout.split()[-1])


class Fleet:
    """A cluster whose hosts all run the agent."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.package = package()
        self.agents = {h.name: Agent(h) for h in cluster.hosts}
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(self.install, cluster.hosts))
            list(pool.map(lambda host: self.agent(host).configure(), cluster.hosts))
        self.deploy()
        cluster.mend()
        self.nodes = Watched(cluster, "nodes")
        self.plans = Watched(cluster, "plans.upgrade.cattle.io", "-n", NAMESPACE)
        self.lock = Watched(cluster, "configmaps", "-n", NAMESPACE, "--field-selector", f"metadata.name={LOCK}")
        self.begun, self._marks = None, {}
        self.mark()

    def install(self, host) -> str:
        """With apt, as an administrator would; again, when it is installed already. Gives what apt said."""
        shutil.copy(self.package, host.path(f"/root/{self.package.name}"))
        # A standing cluster may have an older package, with another config.yaml as it comes.
        return host.run("apt-get", "install", "-y", "-q", "--reinstall", "-o", "Dpkg::Options::=--force-confold",
                        f"/root/{self.package.name}", env={"DEBIAN_FRONTEND": "noninteractive"}).stdout

    def close(self):
        for watched in (self.nodes, self.plans, self.lock):
            watched.close()

    def deploy(self):
        self.cluster.kubectl("apply", "-f", paths.REPOSITORY / "deploy")
        self.cluster.kubectl("wait", "--for=condition=Established", "crd/plans.upgrade.cattle.io", "--timeout=120s")

    def agent(self, host) -> Agent:
        return self.agents[getattr(host, "name", host)]

    @property
    def server(self):
        return self.cluster.servers[0]

    @property
    def servers(self) -> list:
        return self.cluster.servers

    @property
    def workers(self) -> list:
        return self.cluster.agents

    # Time

    def mark(self):
        """What the asserting methods look back to."""
        self._marks = {id(w): w.mark() for w in (self.nodes, self.plans, self.lock)}
        self.begun = now()

    def seen(self, watched) -> list:
        """What a watch has brought since mark()."""
        return watched.since(self._marks[id(watched)])

    def cordoned(self) -> set:
        """The names of the nodes that were cordoned at some moment."""
        return {n["metadata"]["name"] for n in self.seen(self.nodes) if is_cordoned(n)}

    def was_cordoned(self, host) -> bool:
        return host.name in self.cordoned()

    def moments(self):
        """All nodes, by name, at each moment that one of them changed."""
        nodes = {}
        for node in self.seen(self.nodes):
            nodes = {**nodes, node["metadata"]["name"]: node}
            yield nodes

    def held(self) -> list:
        """The slots that were held, by key, at each moment that the lock changed. A report of what blocks a node is none."""
        return [{k: s for k, s in slots(c).items() if s["phase"] != "Blocked"} for c in self.seen(self.lock)]

    def most_slots(self, plan="") -> int:
        """The most slots that were held at one moment, of one Plan or of all."""
        return max((len([k for k in held if k.startswith(plan and f"{plan}.")]) for held in self.held()), default=0)

    def most_down(self, hosts) -> int:
        """The most of the hosts' nodes that were cordoned or not Ready at one moment."""
        names = [h.name for h in hosts]
        return max((sum(is_down(n) for n in moment.values() if n["metadata"]["name"] in names) for moment in self.moments()),
                   default=0)

    # Releases

    def next_version(self, *hosts) -> str:
        """A published release, one patch above what any of the hosts runs."""
        version = self.cluster.k3s(patch=max(patch(h.k3s_version()) for h in hosts) + 1)
        self.cluster.releases.add(version)
        return version

    def broken_version(self, host, corrupt=False, **misbehaviour) -> str:
        """A published release above what the host runs, which misbehaves (tests/fakes/k3s/config.go) or has a payload that is
        corrupt."""
        releases = self.cluster.releases
        # Each one its own version: what an agent has fetched of one it does not fetch again.
        version = next(v for v in (re.sub(r"\+k3s\d+", f"+k3s{n}", host.k3s_version()) for n in range(9, 1000))
                       if not (releases.directory / "releases" / v).exists())
        releases.add(version, misbehaviour, corrupt=corrupt)
        return version

    def release_sha256(self, version) -> str:
        return hashlib.sha256((self.cluster.releases.directory / "releases" / version / "k3s").read_bytes()).hexdigest()

    # Plans

    def plan(self, name, hosts=None, image="rancher/k3s-upgrade", **spec):
        """Applies a Plan for the hosts; other arguments are fields of its spec, and None leaves one out."""
        spec = {"concurrency": 1, "cordon": True, "serviceAccountName": "system-upgrade", "upgrade": {"image": image}, **spec}
        if hosts is not None:
            spec["nodeSelector"] = {"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [h.name for h in hosts]}]}
        self.cluster.apply(json.dumps({
            "apiVersion": "upgrade.cattle.io/v1", "kind": "Plan", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {k: v for k, v in spec.items() if v is not None}}))

    def patch_plan(self, name, **spec):
        self.cluster.kubectl("-n", NAMESPACE, "patch", "plan", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def wait_complete(self, name, version=None, timeout=2 * PATIENCE):
        """Until `kubectl get plans` shows it Complete; gives the Plan. Name the version when the Plan was changed: for a
        moment it goes on saying what it said before.
        """
        if version:
            self.plans.until(lambda plans: plans[name]["status"]["latestVersion"] == version.replace("+", "-"),
                             f"{name} resolved to {version}")
        self.cluster.kubectl("-n", NAMESPACE, "wait", "--for=condition=Complete", f"plan/{name}", f"--timeout={timeout}s",
                             timeout=timeout + 30)
        return self.cluster.kubectl_json("-n", NAMESPACE, "get", "plan", name)

    def until_condition(self, plan, kind, status, text="", timeout=PATIENCE) -> dict:
        """Until a condition has the status and its message contains text; gives the condition."""
        def ask(plans):
            condition = conditions(plans[plan])[kind]
            return condition if condition["status"] == status and text in condition.get("message", "") else None
        return self.plans.until(ask, f"{plan} {kind}={status} {text!r}", timeout)

    def until_slot(self, phase, plan, host, text="", timeout=PATIENCE) -> dict:
        """Until the lock says that the host is in that phase of the Plan; gives the slot. Only for phases that stay: the
        lock is written every few seconds at most."""
        def ask(config_maps):
            slot = slots(config_maps[LOCK])[f"{plan}.{host.name}"]
            return slot if slot["phase"] == phase and text in slot["detail"] else None
        return self.lock.until(ask, f"{host.name} {phase} {text!r} in the lock", timeout)

    def until_no_slots(self, timeout=PATIENCE):
        self.lock.until(lambda c: not slots(c[LOCK]), "an empty lock", timeout)

    def until_node(self, host, condition, what, timeout=PATIENCE):
        return self.nodes.until(lambda nodes: condition(nodes[host.name]), f"{host.name} {what}", timeout)

    def until_node_was(self, since, host, condition, what, timeout=PATIENCE):
        """Until the node has been so at some moment since nodes.mark() gave `since`, however short."""
        return self.nodes.until(lambda _: [n for n in self.nodes.history[since:] if n["metadata"]["name"] == host.name and condition(n)],
                                f"{host.name} {what} at some moment", timeout)

    def until_events(self, plan, *wanted) -> list:
        """Until there are Events about the Plan with these reasons: each is made after the status that it tells of."""
        def ask():
            events = [e for e in self.cluster.kubectl_json("-n", NAMESPACE, "get", "events")["items"]
                      if e["involvedObject"]["name"] == plan and e["involvedObject"]["kind"] == "Plan"]
            return events if {e["reason"] for e in events} >= set(wanted) else None
        return until(ask, f"Events {', '.join(wanted)} about {plan}", interval=0.5)

    # Between tests

    def tidy(self, versions):
        """Whatever a test left: no Plans, no load, hosts that are Ready and not cordoned, agents that have nothing to do, and
        no host of another minor version than in `versions`, what the hosts ran before: next_version() goes on from there."""
        self.cluster.mend()
        self.deploy()
        kubectl = self.cluster.kubectl
        kubectl("-n", NAMESPACE, "delete", "plans", "--all", "--timeout=120s")
        self.plans.until(lambda plans: not plans, "no Plans")
        self._remove_load()
        self.until_no_slots()
        for host, version in versions.items():
            if minor(host.k3s_version()) != minor(version):
                self.cluster.replace_k3s(host, version)
                host.restart_k3s()
        for node in self.cluster.kubectl_json("get", "nodes")["items"]:
            name = node["metadata"]["name"]
            labels = [f"{label}-" for label in node["metadata"]["labels"] if label.startswith("plan.upgrade.cattle.io/")]
            if labels:
                kubectl("label", "node", name, *labels)
            if is_cordoned(node):
                kubectl("uncordon", name)
        for agent in self.agents.values():
            if agent.host.read(CONFIG) != CONFIGURATION:
                agent.configure()
            agent.until_status("Idle: no Plans")
        self.cluster.mend()  # the taint of a cordon goes a moment after it

    def _remove_load(self):
        """Until its last pod is gone: those that a controller makes while it is being deleted, too."""
        kubectl = self.cluster.kubectl
        end_guard(self)
        kubectl("delete", "deployments,replicasets,daemonsets,poddisruptionbudgets", "--all", f"--timeout={PATIENCE}s")

        def gone():
            kubectl("delete", "pods", "--all", "--grace-period=1", "--timeout=30s", check=False)
            return not self.cluster.kubectl_json("get", "replicasets,daemonsets,pods")["items"]
        until(gone, "the load of a test gone", interval=0.5)


class Lender:
    """Brings up the fleet that is asked for; one at a time, for each is a cluster of its own."""

    def __init__(self):
        self._stack = contextlib.ExitStack()
        self._size = None
        self._fleet = None

    def lend(self, servers, workers):
        """Yields the fleet for one test: idle agents on healthy hosts without Plans; made so again after it."""
        if self._size != (servers, workers):
            self.close()
            self._fleet = Fleet(self._cluster(servers, workers))
            self._stack.callback(self._fleet.close)
            self._size = servers, workers
        fleet = self._fleet
        fleet.mark()
        begun = fleet.begun
        versions = {host: host.k3s_version() for host in fleet.cluster.hosts}
        yield fleet
        for agent in fleet.agents.values():  # pytest shows it when the test failed
            print(f"--- {agent.name}")
            if agent.host.is_on:
                print("\n".join(f"{r.get('MESSAGE')}" for r in agent.records(begun)))
        fleet.tidy(versions)

    def _cluster(self, servers, workers) -> Cluster:
        """KUA_TEST_FLEET names a cluster that is up, to be used where it has the size, and left up."""
        standing = os.environ.get("KUA_TEST_FLEET")
        if standing:
            cluster = Cluster.load(standing)
            if (len(cluster.servers), len(cluster.agents)) == (servers, workers):
                return cluster
        return self._stack.enter_context(Cluster(servers + workers, servers, f"fleet-{os.getpid()}"))

    def close(self):
        self._size = None
        self._stack.close()
