# SPDX-License-Identifier: Apache-2.0
"""A way from one host to the API server that can be made a bad one (tests/fakes/api_proxy)."""

import contextlib
import time

from . import paths
from .network import CONTROL_PLANE
from .processes import Process
from .releases import built

PORT = 7443
AGENT = "k3s-upgrade-agent"


class BadWay:
    """Between a host's k3s and the API server; inside of it `mode` says how bad it is for k3s-upgrade-agent."""

    def __init__(self, host):
        self.host = host
        self.directory = host.cluster.directory / "bad-way"
        self.directory.mkdir(exist_ok=True)
        self._mode, self._log = self.directory / "mode", self.directory / "requests"
        self._process = Process(self.directory, "api-proxy")

    def __enter__(self):
        plane = self.host.cluster.control_plane
        plane.kubelet_kubeconfig(self.host.name, register=False)
        self.mode("pass")
        self._log.unlink(missing_ok=True)
        self._process.spawn([
            built("api_proxy"), f"-listen={CONTROL_PLANE}:{PORT}", f"-server={plane.server}", f"-cert={plane.pki}/api-server.crt",
            f"-ca={plane.pki}/server-ca.crt", f"-node={plane.pki}/kubelet-{self.host.name}.crt",
            f"-admin={plane.pki}/admin.crt", f"-mode={self._mode}", f"-log={self._log}"], netns=plane.netns)
        with contextlib.ExitStack() as stack:
            stack.callback(self._process.stop, 9)
            way = f"{CONTROL_PLANE}:{PORT}"
            stack.enter_context(self.host.told(**({"api": way} if self.host.role == "server" else {"servers": [way]})))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.mode("pass")
        self._stack.close()

    def mode(self, mode: str):
        paths.write(self._mode, mode)

    @contextlib.contextmanager
    def bad(self, mode: str):
        self.mode(mode)
        try:
            yield
        finally:
            self.mode("pass")

    def meet(self, mode: str, seconds: float) -> list:
        """Bad for so long; gives what the agent asked for meanwhile."""
        before = len(self.requests())
        with self.bad(mode):
            time.sleep(seconds)  # the fault is a time
            return self.requests()[before:]

    def requests(self) -> list:
        """The agent's, as `METHOD path`."""
        return [f"{method} {path}" for method, path, _ in self._lines()]

    def protocols(self) -> set:
        """Of HTTP, that the agent has spoken."""
        return {protocol for _, _, protocol in self._lines()}

    def _lines(self) -> list:
        lines = [line.split(" ") for line in self._log.read_text().splitlines()] if self._log.exists() else []
        return [(method, path, protocol) for _, method, path, protocol, user in lines if user.startswith(AGENT)]
