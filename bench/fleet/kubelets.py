# SPDX-License-Identifier: Apache-2.0
"""The kubelets of all hosts, as one thread with the administrator's rights on nodes/status.

When the stand-in for systemd has restarted a host's unit, its Node gets the version of the binary that now lies there, Ready,
and a new heartbeat. Unlike a kubelet it sends no heartbeat otherwise, renews no Lease and runs no pod, and a Node stays Ready
while its unit restarts; nothing in the fleet's cluster would notice.
"""

import datetime
import os
import threading
import time

from tests.cluster import api

from . import hosts


def conditions(heartbeat: float) -> list:
    at = datetime.datetime.fromtimestamp(heartbeat, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
             "lastHeartbeatTime": at, "lastTransitionTime": at}]


class Kubelets:
    def __init__(self, access: api.Access, fleet):
        self._api = api.Api(access)
        self._hosts = {host.unit: host for host in fleet}
        self._heartbeats = {}

    def register(self):
        for host in self._hosts.values():
            labels = {"kubernetes.io/hostname": host.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
            if host.server:
                labels.update({"node-role.kubernetes.io/control-plane": "true", "node-role.kubernetes.io/etcd": "true"})
            self._api.request("POST", api.NODES, {"apiVersion": "v1", "kind": "Node",
                                                  "metadata": {"name": host.name, "labels": labels}})
            self._report(host)

    def serve(self, restarts):
        """Follows the fifo `restarts`, for as long as this process lives."""
        # For both ways, so that the end of one writer is not the end of the file.
        lines = os.fdopen(os.open(restarts, os.O_RDWR), encoding="utf-8")
        threading.Thread(target=self._serve, args=(lines,), daemon=True).start()

    def _serve(self, lines):
        for line in lines:
            self._report(self._hosts[line.strip()])

    def _report(self, host):
        # Whole seconds, as a kubelet's; each later than the one before.
        heartbeat = max(int(time.time()), self._heartbeats.get(host.name, 0) + 1)
        self._heartbeats[host.name] = heartbeat
        self._api.request("PATCH", f"{api.NODES}/{host.name}/status", {
            "status": {"conditions": conditions(heartbeat), "nodeInfo": {
                "kubeletVersion": hosts.version_of(host.binary), "containerRuntimeVersion": "containerd://1.7.22",
                "kubeProxyVersion": "", "machineID": host.name, "systemUUID": host.name, "bootID": host.name,
                "kernelVersion": "", "osImage": "", "operatingSystem": "linux", "architecture": "amd64"}}},
            api.MERGE, patience=300)
