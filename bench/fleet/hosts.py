# SPDX-License-Identifier: Apache-2.0
"""Hosts that are a folder each: certificate, kubeconfig, configuration, a k3s that prints its version, one agent process.

Real: the agent's program, its files and their fsync, D-Bus, TLS to the API server. Not real: systemd is one program that
serves the units of all hosts on one private bus (tests/fakes/systemd_bus); there is no k3s behind a unit; the agents run as
root of this machine, without the unit's restrictions and without a watchdog.
"""

import concurrent.futures
import functools
import json
import os
import pathlib
import re
import tempfile

from tests.cluster import paths
from tests.cluster.certificates import Authority, kubeconfig
from tests.cluster.processes import Process, run, until

FAKETIME = pathlib.Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
# As low as a slot's time to live can be with an API server that is away for half a minute: restart + health.
RESTART_TIMEOUT, HEALTH_TIMEOUT = 30, 90


@functools.lru_cache
def k3s(version: str) -> bytes:
    """A release's binary: stands in for k3s, of which it has nothing but its words. An agent runs programs for its own machine only."""
    source = f'''#include <stdio.h>
int main(void) {{ puts("k3s version {version} (12345678)\\ngo version go1.22.9"); }}
'''
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder, "k3s")
        run("g++", "-x", "c", "-Os", "-s", "-o", target, "-", input=source)
        return target.read_bytes()


def version_of(binary: pathlib.Path) -> str:
    return re.search(rb"k3s version (\S+) ", binary.read_bytes()).group(1).decode()


class Host:
    def __init__(self, fleet, name: str, server: bool):
        self.name = name
        self.server = server
        self.directory = fleet.memory / name
        self._fleet = fleet
        self._faked = []
        self.binary = self.directory / "k3s"
        self.unit = f"k3s-{name}.service"
        self.process = Process(fleet.directory / "processes", f"agent-{name}")

    def prepare(self, version):
        control_plane, releases = self._fleet.control_plane, self._fleet.releases
        cert, key = Authority(control_plane.pki, "client-ca").issue(
            f"kubelet-{self.name}", f"/O=system:nodes/CN=system:node:{self.name}", "clientAuth")
        ca = control_plane.pki / "server-ca.crt"
        paths.write(self.directory / "kubelet.kubeconfig", kubeconfig(control_plane.server, ca, cert, key, embed=False), 0o600)
        paths.write(self.binary, k3s(version), 0o755)
        for folder in ("state", "run", "rancher"):
            (self.directory / folder).mkdir(exist_ok=True)
        # JSON is YAML.
        paths.write(self.directory / "config.yaml", json.dumps({
            "node": {"kubeconfig": str(self.directory / "kubelet.kubeconfig")},
            "k3s": {"unit": self.unit, "binary": str(self.binary), "data_dir": str(self.directory / "rancher")},
            "source": [{"http": {"base_url": releases.url, "ca_file": str(releases.ca)}}],
            "restart": {"timeout": f"{RESTART_TIMEOUT}s"}, "health": {"timeout": f"{HEALTH_TIMEOUT}s", "settle": "0s"},
            "lock": {"ttl": f"{RESTART_TIMEOUT + HEALTH_TIMEOUT}s"},
            "folders": {"state": str(self.directory / "state"), "run": str(self.directory / "run")}}, indent=1))

    def start(self, program, bus, clock_off=None):
        environment = {"DBUS_SYSTEM_BUS_ADDRESS": bus}
        if clock_off:
            # Only the wall clock: the monotonic one counts from the host's start, whatever the date.
            environment.update(LD_PRELOAD=str(FAKETIME), FAKETIME=clock_off, FAKETIME_DONT_FAKE_MONOTONIC="1")
        self.process.spawn([program, "run", "--config", self.directory / "config.yaml"], env=environment, ready=False)
        if clock_off:
            self._faked.append(self.process.pid)

    def forget(self):
        """Removes what libfaketime leaves behind where its process was killed."""
        for pid in self._faked:
            for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
                (pathlib.Path("/dev/shm") / name).unlink(missing_ok=True)

    def status(self) -> dict:
        try:
            return json.loads((self.directory / "run" / "status.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def memory(self) -> dict:
        """Megabytes of the agent's process: all that is mapped, its share of it, what is its own alone, the most ever."""
        folder = pathlib.Path("/proc") / str(self.process.pid)
        text = (folder / "smaps_rollup").read_text() + (folder / "status").read_text()

        def megabytes(*names):
            return sum(int(re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE).group(1)) for name in names) / 1024
        return {"RSS": megabytes("Rss"), "Pss": megabytes("Pss"), "private": megabytes("Private_Dirty", "Private_Clean"),
                "peak": megabytes("VmHWM")}


def processor_seconds(pid) -> float:
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bus:
    """A D-Bus daemon, and on it the stand-in for the systemd of every host."""

    def __init__(self, fleet: pathlib.Path):
        self.directory = fleet / "bus"
        self.address = f"unix:path={self.directory}/socket"
        # The name of a unit whose restart is over, a line each.
        self.restarts = self.directory / "restarts"
        self.daemon = Process(fleet / "processes", "dbus-daemon")
        self.systemd = Process(fleet / "processes", "systemd")

    def up(self, program, hosts, restart: float):
        self.directory.mkdir(parents=True)
        os.mkfifo(self.restarts)
        paths.write(self.directory / "bus.conf", f"""<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>{self.address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/><allow own="*"/></policy>
  <limit name="max_completed_connections">10000</limit>
  <limit name="max_connections_per_user">10000</limit>
</busconfig>
""")
        self.daemon.spawn(["dbus-daemon", f"--config-file={self.directory}/bus.conf", "--nofork", "--nopidfile"], ready=False)
        until(lambda: (self.directory / "socket").exists(), self.daemon.tail() or "the bus", 20, 0.02)
        units = []
        for host in hosts:
            units += [",", host.unit, str(host.binary), "server" if host.server else "agent"]
        self.systemd.spawn([program, self.address, str(round(restart * 1000)), f'echo "$1" > {self.restarts}', *units[1:]],
                           ready=False)


def prepare(hosts, version):
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(lambda host: host.prepare(version), hosts))


def check_programs(*programs):
    for program in programs:
        if not pathlib.Path(program).exists():
            raise SystemExit(f"{program} is not there: build it with ./dev build")
