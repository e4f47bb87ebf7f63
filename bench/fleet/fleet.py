# SPDX-License-Identifier: Apache-2.0
"""The fleet: an API server, hosts with an agent each, an observer; brought up, told to upgrade, and ended whatever happens."""

import json
import os
import pathlib
import shutil
import sys
import time

from tests.cluster import api, paths, teardown
from tests.cluster.control_plane import ControlPlane
from tests.cluster.processes import Process, until

from . import hosts, requests
from .kubelets import Kubelets
from .releases import Releases

PLAN = "fleet"
LABEL = f"plan.upgrade.cattle.io/{PLAN}"
SHM = pathlib.Path("/dev/shm/k3s-upgrade-agent-test")
# Where the logs of a failed run are left.
LOGS = pathlib.Path("/var/tmp/k3s-upgrade-agent-fleet")


class Fleet:
    """`with Fleet(...) as fleet:`. What it starts ends with it; after a kill -9 the next run ends it."""

    def __init__(self, build: pathlib.Path, agents: int, servers: int, concurrency: int, restart: float):
        self.agent = build / "agent" / "k3s-upgrade-agent"
        self._systemd = build / "tests" / "fakes" / "systemd_bus" / "fake-systemd-bus"
        hosts.check_programs(self.agent, self._systemd)
        self.concurrency = concurrency
        self.restart = restart
        self.directory = paths.state() / f"agents-{os.getpid()}"
        self.control_plane = ControlPlane(self.directory / "control-plane")
        # In memory: two hundred hosts have two hundred disks, and none of them is the API server's.
        self.memory = SHM / self.directory.name
        self.workers, self.servers, self.hosts = [], [], []
        self._counts = (agents, servers)
        self._clocks = {}
        # Older than the API server: agents run on this machine itself, and v1.35 and later want cgroup v2.
        self._first = self._target = "v1.30.4+k3s1"
        self.targets = ("v1.31.4+k3s1", "v1.31.5+k3s1")
        self._observer = Process(self.directory / "processes", "observer")
        self.states = self.directory / "observed.jsonl"

    def __enter__(self):
        teardown.remove_abandoned()
        for folder in SHM.glob("agents-*"):
            if not (paths.state() / folder.name).exists():
                shutil.rmtree(folder)
        self.directory.mkdir(parents=True)
        teardown.own(self.directory)
        try:
            self._up()
        except BaseException:
            self.keep_logs(LOGS)
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        teardown.remove(self.directory)
        shutil.rmtree(self.memory, ignore_errors=True)
        for host in self.hosts:
            host.forget()

    def _up(self):
        self.memory.mkdir(parents=True, mode=0o755)  # the staged binary is run as nobody
        agents, servers = self._counts
        self.servers = [hosts.Host(self, f"server-{n}", True) for n in range(1, servers + 1)]
        self.workers = [hosts.Host(self, f"worker-{n}", False) for n in range(1, agents + 1)]
        self.hosts = self.servers + self.workers
        # Neither controllers nor a scheduler: there are no pods, and nobody is to judge the kubelets' heartbeats.
        self.control_plane.prepare()
        paths.write(self.control_plane.directory / "audit-policy.yaml", requests.POLICY)
        self.control_plane.start_etcd()
        self.control_plane.start_api_server()
        self.control_plane.kubectl("apply", "-f", str(paths.REPOSITORY / "deploy"))
        self.access = api.Access.of(self.control_plane)
        self.api = api.Api(self.access)
        self.releases = Releases(self.directory / "web")
        for version in self.targets:
            self.releases.add(version)
        # Of a newer version from the start: the servers go first, and that is another benchmark.
        hosts.prepare(self.servers, self.targets[-1])
        hosts.prepare(self.workers, self._first)
        self.bus = hosts.Bus(self.directory)
        self.bus.up(self._systemd, self.hosts, self.restart)
        kubelets = Kubelets(self.access, self.hosts)
        kubelets.register()
        kubelets.serve(self.bus.restarts)
        self._observe()
        for host in self.hosts:
            self.start(host)
        until(lambda: all(h.status().get("phase") == "Idle" for h in self.hosts), "every agent is idle", 180)
        try:
            until(self._nodes_are_counted, "the coordinator has counted the nodes", 10)
        except TimeoutError as error:
            # Not the bench's to judge: the figures will tell.
            print(error, file=sys.stderr)

    def _nodes_are_counted(self) -> bool:
        """Waiting agents space their turns by this; a cluster that is older than the fleet has had it for long."""
        lock = self.api.request("GET", f"{api.LOCK}/k3s-upgrade-agent")
        return json.loads(lock.get("data", {}).get("coordinator", "{}")).get("nodes", 0) >= len(self.hosts)

    def start(self, host):
        host.start(self.agent, self.bus.address, self._clocks.get(host))

    def restart_with_wrong_clock(self, off):
        if not hosts.FAKETIME.exists():
            raise SystemExit(f"{hosts.FAKETIME} is not there: install libfaketime")
        host = self.workers[0]
        host.process.stop(9)
        self._clocks[host] = off
        self.start(host)

    def _observe(self):
        access = self.access
        self._observer.spawn(
            [sys.executable, "-m", "bench.fleet.observer", "--output", self.states, access.host, access.port, access.ca,
             access.cert, access.key], env={"PYTHONPATH": str(paths.REPOSITORY)}, ready=False)
        until(lambda: self.states.exists() and self.states.stat().st_size > 0, "the observer's first words", 30)

    def check_observer(self):
        if not self._observer.pid:
            raise RuntimeError(f"the observer has ended:\n{self._observer.tail()}")

    def keep_logs(self, folder: pathlib.Path):
        """Copies what tells what happened to the folder, over what was there."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in (self.states, self.control_plane.audit.path, *(self.directory / "processes").glob("*.log")):
            if path.exists():
                shutil.copy(path, folder)
        print(f"logs are in {folder}", file=sys.stderr)

    def upgrade(self, version, progress=lambda share: None, patience=3600) -> float:
        """Points the Plan at the version and returns, when all are upgraded, the seconds that it took. Raises TimeoutError after
        `patience` seconds; it is looked at when something happens to a node, as it does every few seconds."""
        begun, self._target = time.monotonic(), version
        self.api.request("PATCH", f"{api.PLANS}/{PLAN}?fieldManager=bench&force=true", {
            "apiVersion": "upgrade.cattle.io/v1", "kind": "Plan", "metadata": {"name": PLAN},
            "spec": {"version": version, "concurrency": self.concurrency, "drain": {"force": True},
                     "nodeSelector": {"matchExpressions": [
                         {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}]},
                     "upgrade": {"image": "rancher/k3s-upgrade"}}}, "application/apply-patch+yaml", patience=60)
        before = {}
        upgraded = set()
        for _, nodes in api.watch(self.access, api.NODES):
            for node in nodes:
                name, label = node["metadata"]["name"], node["metadata"]["labels"].get(LABEL)
                before.setdefault(name, label)
                # The Plan is new: so is its hash.
                if label != before[name] and not node["spec"].get("unschedulable") and \
                        node["status"]["nodeInfo"]["kubeletVersion"] == version:
                    upgraded.add(name)
            progress(len(upgraded) / len(self.workers))
            if time.monotonic() - begun > patience:
                waiting = [w for w in self.workers if w.name not in upgraded]
                raise TimeoutError(f"{len(waiting)} not upgraded within {patience} s; {waiting[0].name}: {waiting[0].status()}")
            if len(upgraded) == len(self.workers):
                break
        for _, config_maps in api.watch(self.access, api.LOCK, "metadata.name=k3s-upgrade-agent"):
            if all(set(c.get("data", {})) <= {"coordinator"} for c in config_maps):
                break
        return time.monotonic() - begun

    def unfinished(self) -> list:
        """What is not as the last upgrade should have left it, in words."""
        wanted = self.api.request("GET", f"{api.PLANS}/{PLAN}", patience=60).get("status", {}).get("latestHash")
        found = []
        for node in self.api.request("GET", api.NODES, patience=60)["items"]:
            name = node["metadata"]["name"]
            if node["spec"].get("unschedulable"):
                found.append(f"{name} is cordoned")
            if name.startswith("worker-"):
                if node["status"]["nodeInfo"]["kubeletVersion"] != self._target:
                    found.append(f"{name} runs {node['status']['nodeInfo']['kubeletVersion']}")
                if node["metadata"]["labels"].get(LABEL) != wanted:
                    found.append(f"{name} has the label {node['metadata']['labels'].get(LABEL)}, not {wanted}")
        return found
