# SPDX-License-Identifier: Apache-2.0
"""A systemd-nspawn machine: boots a folder as a host with its own systemd, D-Bus and journal."""

import os
import pathlib
import signal

from . import paths
from .processes import Process, end, run

_CGROUPS = pathlib.Path("/sys/fs/cgroup")


def _cgroup_roots():
    """The hierarchies in which a machine's processes are kept: systemd's and the unified one."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [root for root in (_CGROUPS / "systemd", _CGROUPS / "unified") if (root / "cgroup.procs").exists()]


# In a mount namespace of its own, run as `sh -c … STATE OWN-DIRECTORY COMMAND…`: lets go of the other hosts' disks.
# A copy of the mount would keep the disk alive when its host is cut off, with what should have been lost. The list is read whole
# before the first of them goes: one that is read while it changes leaves some out.
_FORGET_OTHER_DISKS = """
own=$1
shift
mounts=$(cut -d' ' -f5 /proc/self/mountinfo)
for at in $mounts; do
    case "$at" in "$own"/*) ;; "$0"/*) umount -l "$at" ;; esac
done
"""


class Machine:
    def __init__(self, directory: pathlib.Path, name: str, hostname: str, root: pathlib.Path, netns: str):
        self.name = name
        self.hostname = hostname
        self.root = root
        self.netns = netns
        self.process = Process(directory / "processes", "nspawn")

    @property
    def leader(self):
        """The pid of the host's PID 1, or None when it is off. It changes when the host reboots."""
        pid = self.process.pid
        if not pid:
            return None
        try:
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # nspawn's first child sets the container up and ends; the one that stays is PID 1.
        return int(children[-1]) if children else None

    def start(self, timeout=180, wait=True):
        """With wait, returns when the host's systemd says that it has started all it starts at boot."""
        command = ["systemd-nspawn", "--quiet", "--boot", "--register=no", f"--directory={self.root}",
                   f"--machine={self.name}", f"--hostname={self.hostname}", "--notify-ready=yes",
                   f"--network-namespace-path=/run/netns/{self.netns}", "--resolv-conf=off", "--timezone=off",
                   "--link-journal=no", "--console=read-only",
                   # fsync must mean fsync here: the power-cut tests are about it.
                   "--suppress-sync=no"]
        # Without a cgroup of its own a machine would share one with the next, and a unit that is stopped in one
        # would take processes of the other with it. Where systemd runs, nspawn gets itself one from there.
        enter = ""
        if not pathlib.Path("/run/systemd/system").exists():
            command.append("--keep-unit")
            for group in (root / "kua" / self.name for root in _cgroup_roots()):
                group.mkdir(parents=True, exist_ok=True)
                enter += f"echo $$ >{group}/cgroup.procs\n"
        argv = ["unshare", "--mount", "sh", "-ec", f"{enter}{_FORGET_OTHER_DISKS}\nexec \"$@\"", str(paths.state()),
                str(self.root.parent), *command]
        # cgroup v2 in the host, also where this machine has v1 beside it: a kubelet of 1.35 and later wants it.
        self.process.spawn(argv, env={"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}, timeout=timeout, ready=wait)

    def command(self, *argv, env=None) -> list:
        """The command that runs argv on the host, in a clean environment."""
        leader = self.leader
        if not leader:
            raise RuntimeError(f"{self.hostname} is off")
        variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
                     "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb"), **(env or {})}
        return ["nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root",
                "--wd", "--", "env", "-i", *[f"{k}={v}" for k, v in variables.items()], *[str(a) for a in argv]]

    def stop(self, timeout=60):
        """An orderly shutdown (nspawn passes SIGTERM on to the host's systemd as its shutdown signal)."""
        self.process.stop(signal.SIGTERM, timeout)
        self._remove_cgroups()

    def kill(self):
        """All its processes at once: they die with PID 1 of their namespace."""
        leader = self.leader
        if leader:
            end(leader, signal.SIGKILL)
        self.process.stop(signal.SIGKILL)
        self._remove_cgroups()

    def _remove_cgroups(self):
        for root in _cgroup_roots():
            run("find", root / "kua" / self.name, "-depth", "-type", "d", "-delete", check=False)
