# SPDX-License-Identifier: Apache-2.0
"""A cluster: control plane, release server, hosts; brought up, found again, and taken down whole."""

import concurrent.futures
import functools
import json
import pathlib
import re

from . import image, paths, teardown
from .audit import now
from .control_plane import ControlPlane
from .host import Host
from .network import CONTROL_PLANE, Network, host_address
from .processes import until
from .releases import ReleaseServer, binary


class Cluster:
    """`with Cluster(3) as cluster:` brings one up and takes it down; `Cluster.load(name)` finds a running one.

    hosts=0 is a control plane (and a release server) on free ports of 127.0.0.1, without namespaces or root's help
    beyond them. Everything of a cluster lies in `directory`.
    """

    def __init__(self, hosts=3, servers=1, name="demo", version=None):
        if not re.fullmatch(r"[a-z0-9-]{1,20}", name):
            raise ValueError(f"a cluster's name is short, lower-case and plain: {name!r}")
        if hosts and not 1 <= servers <= hosts:
            raise ValueError("a cluster with hosts has at least one server")
        self.name = name
        self._version = version
        self.directory = paths.state() / name
        self.network = Network(name)
        roles = ["server"] * min(servers, hosts) + ["agent"] * (hosts - servers)
        counts = {"server": 0, "agent": 0}
        self.hosts = []
        for index, role in enumerate(roles, start=1):
            counts[role] += 1
            self.hosts.append(Host(self, f"{role}-{counts[role]}", role, index, host_address(index)))
        netns = self.network.name if hosts else None
        self.control_plane = ControlPlane(
            self.directory / "control-plane", CONTROL_PLANE if hosts else "127.0.0.1", netns,
            [n for h in self.hosts for n in (h.name, h.ip)])
        self.releases = ReleaseServer(self.directory / "web", netns)
        self._image = None

    @functools.cached_property
    def version(self) -> str:
        """The k3s that its hosts run at first."""
        return self._version or self.control_plane.kubernetes.k3s()

    def k3s(self, minors=0, patch=4) -> str:
        """Another release of k3s: so many minor versions above the one that the hosts run at first."""
        return self.control_plane.kubernetes.k3s(minors, patch)

    @property
    def image(self) -> pathlib.Path:
        self._image = self._image or image.base()
        return self._image

    @classmethod
    def load(cls, name="demo"):
        """The cluster of that name, as another process brought it up."""
        try:
            facts = json.loads((paths.state() / name / "cluster.json").read_text())
        except FileNotFoundError:
            raise LookupError(f"there is no cluster {name!r}; bring one up first") from None
        return cls(facts["hosts"], facts["servers"], name, facts["version"])

    def __enter__(self):
        return self.up(owned=True)

    def __exit__(self, *_):
        self.down()

    def up(self, owned=False):
        """Brings it up, over whatever a killed run left of a cluster of this name; returns self.

        An owned cluster does not outlive this process: if it cannot take it down, the next run does.
        """
        teardown.remove_abandoned()
        self.down()
        self.directory.mkdir(parents=True)
        if owned:
            teardown.own(self.directory)
        servers = sum(h.role == "server" for h in self.hosts)
        paths.write(self.directory / "cluster.json", json.dumps(
            {"hosts": len(self.hosts), "servers": servers, "version": self.version}))
        try:
            self._up()
        except BaseException:
            self.down(keep_logs=True)
            raise
        return self

    def _up(self):
        if not self.hosts:
            self.control_plane.up()
            return
        # What is missing in the cache is built first, one after the other: each build uses the whole machine.
        assert self.control_plane.bin and self.image
        k3s = binary(self.version)
        self.network.up()
        self.control_plane.prepare()
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            control_plane = pool.submit(self.control_plane.up)
            self.releases.up()
            self.releases.add(self.version)
            self.releases.channel("stable", self.version)
            list(pool.map(lambda h: h.create(k3s), self.hosts))
            control_plane.result()
            list(pool.map(lambda h: h.start(), self.hosts))
            list(pool.map(lambda h: h.wait_ready(self.version), self.hosts))
            # A test's power cut must not undo the installation.
            list(pool.map(lambda h: h.sync(), self.hosts))

    def down(self, keep_logs=False):
        """Ends what this cluster started, also what an earlier, killed run of this name did, and nothing else."""
        teardown.remove(self.directory, keep_logs)

    def mend(self):
        """Whatever a test left: web servers that behave; hosts that are on, plugged in and behave; Nodes that are there,
        Ready, and without the taints that the controllers take off in their own time."""
        self.releases.heal()

        def mend(host):
            host.plug()
            if not host.is_on:
                host.mount()
                host.misbehave()
                begun = now()
                host.power_on()
                host.wait_ready(since=begun)
            elif host.misbehave() or host.unit_state()["ActiveState"] != "active" or not host.is_ready():
                host.restart_k3s()
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(mend, self.hosts))

        def tainted():
            return [n["metadata"]["name"] for n in self.kubectl_json("get", "nodes")["items"]
                    if n["spec"].get("taints") and not n["spec"].get("unschedulable")]
        until(lambda: not tainted(), "nodes without taints")

    def replace_k3s(self, host, version, misbehaviour=None):
        """What an upgrade does at its heart, by hand; the new one runs with the next restart."""
        folder = self.releases.add(version, misbehaviour)
        host.push("/usr/local/bin/k3s", (folder / "k3s").read_bytes(), 0o755)

    def host(self, name: str) -> Host:
        """By name (`agent-1`) or by number (`host-2`)."""
        for number, host in enumerate(self.hosts, start=1):
            if name in (host.name, f"host-{number}"):
                return host
        raise LookupError(f"no host {name!r}: there are {', '.join(h.name for h in self.hosts) or 'none'}")

    @property
    def servers(self) -> list:
        return [h for h in self.hosts if h.role == "server"]

    @property
    def agents(self) -> list:
        return [h for h in self.hosts if h.role == "agent"]

    # The API server, as its administrator

    @property
    def kubeconfig(self) -> pathlib.Path:
        return self.control_plane.kubeconfig

    def kubectl(self, *args, input=None, check=True, timeout=300):
        """kubectl as cluster administrator, straight to the API server (whatever k3s does on the hosts)."""
        return self.control_plane.kubectl(*args, input=input, check=check, timeout=timeout)

    def kubectl_json(self, *args):
        return json.loads(self.kubectl(*args, "-o", "json").stdout)

    def apply(self, manifest: str):
        return self.kubectl("apply", "-f", "-", input=manifest).stdout

    def audit_log(self, **wanted):
        """Entries of the audit log: see AuditLog.events (user=, since=, until=, verb=, resource=, agent=)."""
        return self.control_plane.audit.events(**wanted)

    def kubelet_kubeconfig(self, node: str, register=True) -> pathlib.Path:
        return self.control_plane.kubelet_kubeconfig(node, register)
