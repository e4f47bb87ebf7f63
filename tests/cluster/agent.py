# SPDX-License-Identifier: Apache-2.0
"""The agent on one host, as its administrator sees it."""

import json
import os
import select
import subprocess
import time

from .processes import PATIENCE, until

UNIT = "k3s-upgrade-agent.service"
CONFIG = "/etc/k3s-upgrade-agent/config.yaml"
STATE = "/var/lib/k3s-upgrade-agent"
BINARY = "/usr/local/bin/k3s"
NAMESPACE = "system-upgrade"
LOCK = "k3s-upgrade-agent"
ANNOUNCEMENT = "k3s-upgrade-agent/agent"
# The stand-in is up in 5 s: a test of a k3s that isn't need not wait for the defaults, which are minutes.
CONFIGURATION = "restart: {timeout: 30s}\nhealth: {timeout: 20s, settle: 1s}\n"


class Agent:
    """The agent on one host, as its administrator sees it."""

    def __init__(self, host):
        self.host = host
        self.name = host.name

    def status(self) -> dict:
        return json.loads(self.host.run("k3s-upgrade-agent", "status", "--json", check=False).stdout)

    @property
    def pid(self) -> int:
        return int(self.host.unit_state(UNIT)["MainPID"])

    @property
    def status_text(self) -> str:
        """The Status: line of `systemctl status`."""
        return self.host.unit_state(UNIT)["StatusText"]

    def until_status(self, text, timeout=PATIENCE) -> str:
        """For what stays: what passes may pass between two questions."""
        def ask():
            said = self.status_text
            return said if text in said else None
        try:
            return until(ask, f"{self.name}'s status line says {text!r}", timeout, 0.2)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it says {self.status_text!r}") from None

    def records(self, since, text="") -> list:
        """The agent's own records in the journal."""
        return [r for r in self.host.journal(UNIT, since)
                if r.get("_SYSTEMD_UNIT") == UNIT and text in str(r.get("MESSAGE"))]

    def heard(self, text, since, timeout=PATIENCE) -> dict:
        """Follows the journal until the agent says `text`; gives the record."""
        command = self.host.command("journalctl", "-f", "--no-tail", "-o", "json", "-u", UNIT,
                                    f"--since=@{since.timestamp():.6f}")
        deadline = time.monotonic() + timeout
        heard = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                rest = b""
                while select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
                    block = os.read(process.stdout.fileno(), 65536)
                    if not block:
                        break
                    *lines, rest = (rest + block).split(b"\n")
                    for record in map(json.loads, lines):
                        heard.append(str(record.get("MESSAGE")))
                        if record.get("_SYSTEMD_UNIT") == UNIT and text in heard[-1]:
                            return record
            finally:
                process.kill()
        raise TimeoutError(f"{self.name} did not say {text!r} within {timeout} s, but:\n" + "\n".join(heard[-30:]))

    def upgraded(self, since) -> dict:
        """Waits until it has said that the upgrade is done, which is the last thing it does; gives what it says of it."""
        self.heard("upgraded from", since)
        return self.status()["last"]

    def configure(self, text=CONFIGURATION):
        """Writes the configuration and restarts the agent; gives its new pid."""
        self.host.push(CONFIG, text)
        return self.restart()

    def restart(self) -> int:
        self.host.run("systemctl", "restart", UNIT)
        return self.pid

    def kill(self):
        """SIGKILL, as the kernel would."""
        self.host.run("systemctl", "kill", "--signal=KILL", UNIT)
