# SPDX-License-Identifier: Apache-2.0
"""Which Kubernetes a control plane is of, and which k3s its hosts run."""

import functools
import os
import pathlib
import re
import subprocess

from . import paths
from .processes import run

BUILDERS = paths.REPOSITORY / "tests" / "kubernetes"
IMPOSSIBLE = 69  # what newest.sh exits with where this machine can't build it
# What is wanted, and what is tried for it in turn: a script of BUILDERS and its options. The last is built or raises.
TRIES = {
    "newest": [("newest",), ("oldest",)],
    "oldest": [("oldest",)],
    "any": [("newest", "--cached"), ("oldest", "--cached"), ("newest", "--ready"), ("oldest",)],
}


class Kubernetes:
    """A folder with kubectl and the kube-* programs."""

    def __init__(self, folder: pathlib.Path):
        self.bin = folder

    @functools.cached_property
    def version(self) -> str:
        """Such as `1.37.2`."""
        return run(self.bin / "kube-apiserver", "--version").stdout.split()[1].removeprefix("v")

    @property
    def minor(self) -> int:
        return int(self.version.split(".")[1])

    def k3s(self, minors=0, patch=4) -> str:
        """A release of k3s, counted from what the hosts run at first: one minor version below the API server, as nodes are in the
        middle of an upgrade. `minors=1` is the API server's own."""
        return f"v1.{self.minor - 1 + minors}.{patch}+k3s1"


def minor(version: str) -> str:
    """`v1.36` of v1.36.4+k3s1."""
    return version.rsplit(".", 1)[0]


def patch(version: str) -> int:
    """4 of v1.36.4+k3s1."""
    return int(re.match(r"v1\.\d+\.(\d+)", version).group(1))


@functools.cache
def chosen(wanted="") -> Kubernetes:
    """KUBEBUILDER_ASSETS, a folder; else what is wanted, here or in KUA_TEST_KUBERNETES: `newest` (the default), `oldest`, or `any`.
    What the cache does not have is built: minutes, once.

    Where the newest can't be built that is said, and the oldest takes its place. `any` is what this machine has soonest: the newest
    in the cache, else the newest if its Go is there.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        return Kubernetes(pathlib.Path(assets))
    wanted = wanted or os.environ.get("KUA_TEST_KUBERNETES") or "newest"
    if wanted not in TRIES:
        raise ValueError(f"KUA_TEST_KUBERNETES={wanted}: it is one of {', '.join(TRIES)}")
    return Kubernetes(next(folder for folder in (_built(*each) for each in TRIES[wanted]) if folder))


def of_a_run() -> dict:
    """By name, what a run of all tests goes through: the newest has them all, the oldest what differs there. One may be both."""
    newest, oldest = chosen("newest"), chosen("oldest")
    return {"newest": newest} if oldest.bin == newest.bin else {"newest": newest, "oldest": oldest}


def _built(name, *options):
    """None where it is not in the cache or can't be built on this machine, which the script has said then."""
    done = subprocess.run([BUILDERS / f"{name}.sh", *options], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return pathlib.Path(done.stdout.split()[-1])
    if options == ("--cached",):
        return None
    if name == "newest" and done.returncode == IMPOSSIBLE:
        return None
    raise RuntimeError(f"{BUILDERS / name}.sh ended with {done.returncode}")
