# SPDX-License-Identifier: Apache-2.0
"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes of this machine."""

import contextlib
import functools
import json
import pathlib
import random
import shutil
import socket
import tempfile

from . import paths, teardown
from .audit import AuditLog
from .certificates import Authority, kubeconfig
from .kubernetes import Kubernetes, chosen
from .processes import Process, run, until

# What a test cluster needs of the controller manager; a k3s server runs more, none of which the agent meets.
CONTROLLERS = ("namespace,serviceaccount,serviceaccount-token,garbagecollector,daemonset,deployment,replicaset,"
               "statefulset,job,disruption,nodelifecycle,podgc,endpoint,root-ca-cert-publisher")

# Every request once, when it is answered (a watch: when it ends, and when it starts). What is done to pods also when it comes: the
# answer may reach the client before the line that tells of it is written.
AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: Metadata
  verbs: [create, delete]
  resources: [{group: "", resources: [pods, pods/eviction]}]
- level: Metadata
  omitStages: [RequestReceived]
"""


class ControlPlane:
    """Without a network namespace it listens on free ports of 127.0.0.1, else on 6443 of `address`."""

    def __init__(self, directory: pathlib.Path, address="127.0.0.1", netns=None, names=()):
        self.directory = directory
        self.address = address
        self.netns = netns
        self.names = list(names)
        self.pki = directory / "pki"
        self.kubeconfig = directory / "admin.kubeconfig"
        self.audit = AuditLog(directory / "audit.log")
        self.etcd, self.api_server, self.controllers, self.scheduler = (
            Process(directory / "processes", name)
            for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"))

    @functools.cached_property
    def kubernetes(self) -> Kubernetes:
        """What it runs, also where another process has chosen."""
        told = self.directory / "kubernetes"
        return Kubernetes(pathlib.Path(told.read_text())) if told.exists() else chosen()

    @property
    def bin(self) -> pathlib.Path:
        return self.kubernetes.bin

    @property
    def _has_controllers(self) -> bool:
        """KUBEBUILDER_ASSETS as envtest fetches them have an API server only: it must do without service accounts."""
        return (self.bin / "kube-controller-manager").exists() and (self.bin / "kube-scheduler").exists()

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self._port('api')}"

    def prepare(self):
        """Everything that needs no running process; hosts can be installed from here on."""
        self.directory.mkdir(parents=True, exist_ok=True)
        paths.write(self.directory / "kubernetes", str(self.bin))
        self._make_ports()
        self._make_pki()
        paths.write(self.directory / "audit-policy.yaml", AUDIT_POLICY)

    def up(self):
        if not self.kubeconfig.exists():
            self.prepare()
        self.start_etcd()
        self.start_api_server()
        if not self._has_controllers:
            return
        for name, process in (("controller-manager", self.controllers), ("scheduler", self.scheduler)):
            self._start_follower(name, process)
        # Pods cannot be created before their service account exists.
        until(lambda: self.kubectl("-n", "default", "get", "serviceaccount", "default", check=False).returncode == 0,
              "service account default")

    def start_etcd(self):
        program = self.bin / "etcd"
        client, peer = (f"http://127.0.0.1:{self._port(n)}" for n in ("etcd", "etcd-peer"))
        self.etcd.spawn([
            program if program.exists() else shutil.which("etcd") or "etcd", "--name=test",
            f"--data-dir={self.directory}/etcd", f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=test={peer}", "--logger=zap", "--log-level=warn"], netns=self.netns)

    def start_api_server(self):
        pki = self.pki
        self.api_server.spawn([
            self.bin / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self._port('etcd')}",
            f"--bind-address={'0.0.0.0' if self.netns else '127.0.0.1'}", f"--secure-port={self._port('api')}",
            f"--advertise-address={self.address if self.netns else '192.0.2.1'}",
            f"--tls-cert-file={pki}/api-server.crt", f"--tls-private-key-file={pki}/api-server.key",
            f"--client-ca-file={pki}/client-ca.crt", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
            "--service-cluster-ip-range=10.43.0.0/16", "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/service-account.crt",
            f"--service-account-signing-key-file={pki}/service-account.key",
            f"--audit-policy-file={self.directory}/audit-policy.yaml", f"--audit-log-path={self.audit.path}",
            "--audit-log-mode=blocking", "--profiling=false",
            # A watch that a test reads history from must not end in the middle of it, as it would after half an hour.
            "--min-request-timeout=14400",
            *([] if self._has_controllers else ["--disable-admission-plugins=ServiceAccount"])], netns=self.netns)
        # READY=1 comes when it listens; the default roles are there a moment later.
        until(lambda: self.kubectl("get", "--raw=/readyz", check=False).stdout == "ok", "/readyz of kube-apiserver")

    def stop_api_server(self):
        """Takes the API away from everybody, k3s included; start_api_server() brings it back."""
        self.api_server.stop(9)  # an orderly end would wait for the watches

    def keep_data_store(self, place: pathlib.Path):
        """A copy of it as it is now. The API is away for as long as that takes."""
        self.stop_api_server()
        self.etcd.stop()
        shutil.copytree(self.directory / "etcd", place)
        self.start_etcd()
        self.start_api_server()

    def bring_back_data_store(self, place: pathlib.Path):
        """As an administrator restores a snapshot: what was written since is gone, and resourceVersions are given again."""
        self.down()
        shutil.rmtree(self.directory / "etcd")
        shutil.copytree(place, self.directory / "etcd")
        self.up()

    def _start_follower(self, name, process):
        argv = [self.bin / f"kube-{name}", f"--kubeconfig={self.directory}/{name}.kubeconfig", "--leader-elect=false",
                "--secure-port=0"]
        if "--port int" in run(self.bin / f"kube-{name}", "--help").stdout:
            argv.append("--port=0")  # old versions would serve plain HTTP, too

        if name == "controller-manager":
            argv += [f"--controllers={CONTROLLERS}", "--use-service-account-credentials=true",
                     f"--root-ca-file={self.pki}/server-ca.crt",
                     f"--service-account-private-key-file={self.pki}/service-account.key"]
        process.spawn(argv, netns=self.netns, ready=False)

    def down(self):
        for process in (self.scheduler, self.controllers, self.api_server, self.etcd):
            # What they would save is deleted with the cluster: no need to wait for an orderly end.
            process.stop(9)

    def kubectl(self, *args, check=True, input=None, capture=True, timeout=300):
        return run(*self.kubectl_command(), *args, check=check, input=input, capture=capture, timeout=timeout)

    def kubectl_command(self) -> list:
        enter = ["nsenter", f"--net=/run/netns/{self.netns}", "--"] if self.netns else []
        # What kubectl remembers of a server it keeps by address, and clusters in namespaces have the same one.
        return [*enter, str(self.bin / "kubectl"), f"--cache-dir={self.directory}/kubectl", f"--kubeconfig={self.kubeconfig}"]

    def kubelet_kubeconfig(self, node: str, register=True) -> pathlib.Path:
        """The kubeconfig of a kubelet, files named by path as in k3s; with `register`, its Node exists."""
        client = Authority(self.pki, "client-ca")
        cert, key = client.issue(f"kubelet-{node}", f"/O=system:nodes/CN=system:node:{node}", "clientAuth")
        path = self.directory / f"kubelet-{node}.kubeconfig"
        paths.write(path, kubeconfig(self.server, self.pki / "server-ca.crt", cert, key, embed=False), 0o600)
        if register:
            labels = {"kubernetes.io/hostname": node, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
            self.kubectl("apply", "-f", "-", input=json.dumps(
                {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}}))
        return path

    def _make_ports(self):
        """Free ports, all taken at once, so that no two are the same; not of those that the kernel gives away by itself,
        to whoever connects to something before our programs listen."""
        if self.netns:
            wanted = {"api": 6443, "etcd": 2379, "etcd-peer": 2380}
        else:
            with contextlib.ExitStack() as taken:
                wanted = {name: taken.enter_context(_free_port()).getsockname()[1] for name in ("api", "etcd", "etcd-peer")}
        for name, port in wanted.items():
            paths.write(self.directory / "ports" / name, str(port))

    def _port(self, name) -> int:
        return int((self.directory / "ports" / name).read_text())

    def _make_pki(self):
        server, client = Authority(self.pki, "server-ca"), Authority(self.pki, "client-ca")
        addresses = ["127.0.0.1", "10.43.0.1", self.address]
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
                 "kubernetes.default.svc.cluster.local"]
        for name in self.names:
            (addresses if name.replace(".", "").isdigit() else names).append(name)
        server.issue("api-server", "/CN=kube-apiserver", "serverAuth",
                     [f"DNS:{n}" for n in names] + [f"IP:{a}" for a in sorted(set(addresses))])
        Authority(self.pki, "service-account")  # not as a CA: a key pair for tokens
        for name, subject in (("admin", "/O=system:masters/CN=system:admin"),
                              ("controller-manager", "/CN=system:kube-controller-manager"),
                              ("scheduler", "/CN=system:kube-scheduler")):
            cert, key = client.issue(name, subject, "clientAuth")
            path = self.directory / f"{name}.kubeconfig"
            paths.write(path, kubeconfig(self.server, server.cert, cert, key), 0o600)


def _free_port() -> socket.socket:
    lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", random.randrange(10000, max(lowest, 20000))))


def temporary() -> ControlPlane:
    """A control plane of its own folder, for one program's run; down() it and remove the folder."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="control-plane-", dir=paths.state()))
    teardown.own(directory)
    return ControlPlane(directory)
