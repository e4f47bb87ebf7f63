# SPDX-License-Identifier: Apache-2.0
"""A cluster's network: one namespace with a bridge for the control plane, one more for each host.

Nothing leads out of it, so every cluster uses the same addresses, and this machine's own network is untouched.
Hosts have no default route: what is not in the cluster is unreachable at once instead of after a timeout.
"""

import pathlib

from .processes import run

PREFIX = "10.63.0"
CONTROL_PLANE = f"{PREFIX}.1"


def host_address(index: int) -> str:
    return f"{PREFIX}.{10 + index}"


class Network:
    def __init__(self, cluster: str):
        self.name = f"kua-{cluster}"

    def up(self):
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "-batch", "-", input=f"""link set lo up
link add br0 type bridge
addr add {CONTROL_PLANE}/24 dev br0
link set br0 up
""")

    def host_namespace(self, host: str) -> str:
        return f"{self.name}.{host}"

    def add_host(self, host: str, index: int):
        """The host's network outlives its power cuts: it is the cable, not the machine."""
        namespace = self.host_namespace(host)
        run("ip", "netns", "add", namespace)
        run("ip", "-n", self.name, "-batch", "-", input=f"""link add v{index} type veth peer name eth0 netns {namespace}
link set v{index} master br0 up
""")
        run("ip", "-n", namespace, "-batch", "-", input=f"""link set lo up
addr add {host_address(index)}/24 dev eth0
link set eth0 up
""")

    def plug(self, index: int, connected: bool):
        run("ip", "-n", self.name, "link", "set", f"v{index}", "up" if connected else "down")

    def down(self):
        """Removes every namespace of the cluster, also of one whose state was lost."""
        for entry in pathlib.Path("/run/netns").glob(f"{self.name}*"):
            if entry.name == self.name or entry.name.startswith(self.name + "."):
                run("ip", "netns", "delete", entry.name, check=False)
