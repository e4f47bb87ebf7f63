# SPDX-License-Identifier: Apache-2.0
"""A host of the cluster: what somebody with physical access and a root shell could do with it."""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

from . import installer, paths
from .audit import moment, now
from .disk import Disk
from .installer import HOST_JSON
from .machine import Machine
from .network import CONTROL_PLANE
from .processes import PATIENCE, run, until

KUBECONFIG = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig"


class Host:
    def __init__(self, cluster, name: str, role: str, index: int, ip: str):
        self.cluster = cluster
        self.name = name  # host name and node name
        self.role = role
        self.index = index
        self.ip = ip
        self.directory = cluster.directory / "hosts" / name
        self.unit = "k3s.service" if role == "server" else "k3s-agent.service"
        self.root = self.directory / "root"
        self._installing = False
        self._netns = cluster.network.host_namespace(name)
        self.machine = Machine(self.directory, f"kua-{cluster.name}.{name}", name, self.root, self._netns)

    @property
    def disk(self) -> Disk:
        return Disk(self.directory, self.cluster.image)

    # Power

    def create(self, k3s: pathlib.Path):
        """An installed host, switched off: disk, cable, k3s as its installer leaves it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.cluster.network.add_host(self.name, self.index)
        self.disk.create()
        self.disk.mount()
        self._installing = True
        installer.install(self, k3s)
        self._installing = False

    def start(self, timeout=180, wait=True):
        """Switches on. With wait=False it returns at once: for a k3s.service that is to hang in its start."""
        self.mount()
        self.machine.start(timeout, wait)

    power_on = start

    def mount(self):
        """Makes path() and push() work also after a power_off(): as if the disk were taken out and put into another machine."""
        if not self.disk.root.is_mount():
            self.disk.mount()

    def stop(self):
        """An orderly shutdown."""
        self.machine.stop()

    def reboot(self):
        """An orderly one. `reboot` said on the host itself only switches it off: nspawn leaves the rest to us."""
        self.stop()
        self.start()

    def power_off(self, lose_unsynced=True):
        """A power cut: every process dies, and what was not synced is lost, as far as the kernel had not written it."""
        self.machine.kill()
        if lose_unsynced:
            self.disk.cut()
        self.disk.unmount()

    @property
    def is_on(self) -> bool:
        return self.machine.leader is not None

    def destroy(self):
        self.machine.kill()
        self.disk.unmount()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Inside

    def command(self, *argv, env=None) -> list:
        """The command line that runs argv on the host; a single string is given to its shell."""
        if len(argv) == 1 and " " in str(argv[0]):
            argv = ["sh", "-c", argv[0]]
        return self.machine.command(*argv, env=env)

    def sync(self):
        """Everything written so far is on the disk: what a power cut is to be measured from."""
        self.disk.sync()

    def run(self, *argv, check=True, input=None, timeout=300, env=None):
        """Runs argv on the host as root; gives a CompletedProcess with text."""
        return run(*self.command(*argv, env=env), check=check, input=input, timeout=timeout)

    def path(self, path) -> pathlib.Path:
        """A path of the host's, as seen from this machine; also while the host is off after stop()."""
        return self.root / str(path).lstrip("/")

    def push(self, path, content, mode=0o644):
        """Puts a file there (str or bytes), in one step, and on the disk: a power cut does not take it back."""
        paths.write(self.path(path), content, mode, durable=not self._installing)

    def read(self, path) -> str:
        return self.path(path).read_text()

    def install_package(self, deb) -> str:
        """`apt-get install ./x.deb`, as an administrator would; gives what apt said."""
        deb = pathlib.Path(deb)
        shutil.copy(deb, self.path(f"/root/{deb.name}"))
        return self.run("apt-get", "install", "-y", "-q", f"/root/{deb.name}", timeout=300,
                        env={"DEBIAN_FRONTEND": "noninteractive"}).stdout

    def unit_state(self, unit=None, *properties) -> dict:
        """`systemctl show`: ActiveState, SubState, Result, NRestarts, MainPID, StatusText and what else is asked for."""
        names = ["ActiveState", "SubState", "Result", "NRestarts", "MainPID", "StatusText", *properties]
        text = self.run("systemctl", "show", unit or self.unit, f"--property={','.join(names)}").stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def journal(self, unit=None, since=None, grep=None) -> list:
        """The persistent journal's entries as dicts, read from outside; `since` is a datetime or journalctl's text."""
        if self.is_on:
            self.run("journalctl", "--sync")  # what was said a moment ago may not be in it yet
        argv = ["journalctl", "--quiet", f"--directory={self.path('/var/log/journal')}", "--output=json", "--all"]
        if unit:
            argv.append(f"--unit={unit}")
        if since:
            argv.append(f"--since={since if isinstance(since, str) else f'@{since.timestamp():.6f}'}")
        if grep:
            argv.append(f"--grep={grep}")
        result = run(*argv, check=False)  # it exits 1 when nothing matches
        if result.returncode and result.stderr:
            raise RuntimeError(result.stderr)
        return [json.loads(line) for line in result.stdout.splitlines()]

    def journal_text(self, unit=None, since=None) -> str:
        return "\n".join(str(entry.get("MESSAGE")) for entry in self.journal(unit, since))

    @contextlib.contextmanager
    def following(self, unit):
        """A journalctl --follow inside; yields an iterator of lines, so that a test can wait for one."""
        process = subprocess.Popen(self.command("journalctl", "-f", "-n0", "-o", "cat", "-u", unit),
                                   stdout=subprocess.PIPE, text=True)
        try:
            yield process.stdout
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    # k3s

    def k3s_version(self) -> str:
        return self.run("/usr/local/bin/k3s", "--version").stdout.split()[2]

    def misbehave(self, **how) -> bool:
        """Tells k3s how to misbehave from its next start on (tests/fakes/k3s/config.go); nothing: behave.
        True when it was told something before."""
        file = self.path("/etc/rancher/k3s/stand-in.json")
        told = file.exists()
        if how:
            self.push("/etc/rancher/k3s/stand-in.json", json.dumps(how))
        else:
            file.unlink(missing_ok=True)
        return told

    @contextlib.contextmanager
    def data_in(self, datastore):
        """A server that keeps its data in `etcd` or in `sqlite` inside."""
        with self.told(etcd=datastore == "etcd"):
            yield

    @contextlib.contextmanager
    def behind_a_balancer(self):
        """An agent that reaches the API whatever becomes of the servers, inside: K3S_URL may name a load balancer."""
        with self.told(servers=[f"{CONTROL_PLANE}:6443"]):
            yield

    @contextlib.contextmanager
    def told(self, **what):
        """What the stand-in knows of its host is changed inside (tests/fakes/k3s/config.go)."""
        before = self.read(HOST_JSON)

        def tell(text):
            if json.loads(text) != json.loads(self.read(HOST_JSON)):
                self.push(HOST_JSON, text, 0o600)
                self.restart_k3s()
        tell(json.dumps({**json.loads(before), **what}, indent=1))
        try:
            yield
        finally:
            tell(before)

    def restart_k3s(self):
        """Restarts the unit, and waits until the Node is reported Ready by the new process."""
        self.run("systemctl", "stop", self.unit)
        begun = now()  # not sooner: the old process may report until its end
        self.run("systemctl", "start", self.unit)
        self.wait_ready(since=begun)

    # Network

    def unplug(self):
        self.cluster.network.plug(self.index, False)

    def plug(self):
        self.cluster.network.plug(self.index, True)

    # Kubernetes

    def node(self) -> dict:
        return self.cluster.kubectl_json("get", "node", self.name)

    def is_ready(self, version=None, since=None) -> bool:
        result = self.cluster.kubectl("get", "node", self.name, "-o", "json", check=False)
        if result.returncode:
            return False
        status = json.loads(result.stdout).get("status", {})
        ready = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {"status": "Unknown"})
        if ready["status"] != "True" or version not in (None, status["nodeInfo"]["kubeletVersion"]):
            return False
        # Kubernetes' times are whole seconds: one of the same second may be from before.
        return since is None or moment(ready["lastHeartbeatTime"]) > since.replace(microsecond=0)

    def wait_ready(self, version=None, timeout=PATIENCE, since=None):
        """Waits for Ready, at the version if one is given. After a restart give `since`, a datetime from before it:
        until k3s reports again, a Node goes on saying what it said before (for 40 s)."""
        until(lambda: self.is_ready(version, since), f"{self.name} Ready at {version or 'any version'}", timeout, 0.25)

    @property
    def api(self) -> str:
        """Where the host's own kubelet reaches the API, as `127.0.0.1:<port>`: an agent's port is another one at each start."""
        def ask():  # the file is empty for a moment while k3s starts
            return re.search(r"server: https://(127\.0\.0\.1:\d+)", self.read(KUBECONFIG))
        return until(ask, f"a server in {KUBECONFIG} of {self.name}").group(1)

    def kubeconfig(self) -> pathlib.Path:
        """The node's own identity for use on this machine, against the real API server (not through k3s)."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.directory))
        agent, api = f"{KUBECONFIG.rpartition('/')[0]}/", self.api
        text = self.read(KUBECONFIG).replace(agent, str(self.path(agent)) + "/")
        text = text.replace(f"https://{api}", self.cluster.control_plane.server)
        paths.write(folder / "kubelet.kubeconfig", text, 0o600)
        return folder / "kubelet.kubeconfig"
