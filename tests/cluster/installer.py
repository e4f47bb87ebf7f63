# SPDX-License-Identifier: Apache-2.0
"""Puts k3s on a host's disk the way its installer does, and what only a test host has beside it."""

import json
import pathlib
import shutil
import uuid

from . import paths
from .network import CONTROL_PLANE
from .releases import HOSTS
from .processes import run

STAND_IN = "/etc/rancher/k3s-stand-in"
HOST_JSON = f"{STAND_IN}/host.json"

# create_systemd_service_file of k3s's install.sh. Agents had Type=exec there until it became notify for both.
UNIT = """[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type={type}
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-/etc/systemd/system/{unit}.env
KillMode=process
Delegate=yes
User=root
# Having non-zero Limit*s causes performance problems due to accounting overhead
# in the kernel. We recommend using cgroups to do container-local accounting.
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/k3s \\
    {role} \\

"""


def install(host, k3s: pathlib.Path):
    cluster = host.cluster
    shutil.copy(k3s, host.path("/usr/local/bin/k3s"))
    host.path("/usr/local/bin/k3s").chmod(0o755)
    for link in ("kubectl", "crictl", "ctr"):
        host.path(f"/usr/local/bin/{link}").symlink_to("k3s")
    host.push(f"/etc/systemd/system/{host.unit}", UNIT.format(
        type="notify" if host.role == "server" else "exec", unit=host.unit, role=host.role))
    first = next(h for h in cluster.hosts if h.role == "server")
    environment = "" if host.role == "server" else f"K3S_TOKEN='stand-in'\nK3S_URL='https://{first.ip}:6443'\n"
    host.push(f"/etc/systemd/system/{host.unit}.env", environment, 0o600)
    wants = host.path("/etc/systemd/system/multi-user.target.wants")
    wants.mkdir(exist_ok=True)
    (wants / host.unit).symlink_to(f"/etc/systemd/system/{host.unit}")
    host.path("/etc/rancher/k3s").mkdir(parents=True)
    host.path("/etc/rancher/node").mkdir(parents=True)
    _identify(host)
    _teach_stand_in(host)
    _trust(host, cluster.releases.ca)


def _identify(host):
    host.push("/etc/hostname", f"{host.name}\n")
    host.push("/etc/machine-id", uuid.uuid4().hex + "\n", 0o444)
    lines = ["127.0.0.1 localhost", f"{CONTROL_PLANE} {' '.join(HOSTS)}"]
    lines += [f"{h.ip} {h.name}" for h in host.cluster.hosts]
    host.push("/etc/hosts", "\n".join(lines) + "\n")
    host.push("/etc/resolv.conf", "")  # nobody to ask


def _teach_stand_in(host):
    """A root-only folder with what a real k3s would get from its server."""
    cluster, pki = host.cluster, host.cluster.control_plane.pki
    folder = STAND_IN
    host.path(folder).mkdir(parents=True, mode=0o700)
    for name in ("server-ca.crt", "client-ca.crt", "client-ca.key", "api-server.crt", "api-server.key"):
        host.push(f"{folder}/{name}", (pki / name).read_bytes(), 0o600)
    servers = [h for h in cluster.hosts if h.role == "server"]
    host.push(HOST_JSON, json.dumps({
        "nodeName": host.name, "nodeIP": host.ip, "api": f"{CONTROL_PLANE}:6443",
        "servers": [f"{h.ip}:6443" for h in servers],
        # One server keeps its data in SQLite, several in etcd: k3s's own defaults.
        "etcd": host.role == "server" and len(servers) > 1,
    }, indent=1), 0o600)


def _trust(host, ca: pathlib.Path):
    """What update-ca-certificates would do with the file (also when a package runs it later), without its seconds."""
    host.push("/usr/local/share/ca-certificates/test-web.crt", ca.read_bytes())
    bundle = host.path("/etc/ssl/certs/ca-certificates.crt")
    paths.write(bundle, bundle.read_bytes() + ca.read_bytes())
    host.path("/etc/ssl/certs/test-web.pem").symlink_to("/usr/local/share/ca-certificates/test-web.crt")
    digest = run("openssl", "x509", "-hash", "-noout", "-in", ca).stdout.strip()
    host.path(f"/etc/ssl/certs/{digest}.0").symlink_to("test-web.pem")
