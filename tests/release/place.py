# SPDX-License-Identifier: Apache-2.0
"""What the tests of all sources need: the program, what it fetches, a folder for it, and servers out of Debian's packages."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from tests.cluster import paths
from tests.cluster.processes import run

VERSION = "v1.31.4+k3s1"
AGENT = pathlib.Path(os.environ.get("KUA_BUILD_DIR") or paths.REPOSITORY / "build") / "agent" / "k3s-upgrade-agent"
SUMS = "sha256sum-amd64.txt"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def open_folder():
    """The binary is asked for its version as nobody, who must be able to pass; pytest's own folders don't let him."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="kua-release-"))
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root)


class Key:
    """A pair of keys as files, for ECDSA on P-256."""

    def __init__(self, folder: pathlib.Path, name: str):
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pem"
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.private)
        run("openssl", "ec", "-in", self.private, "-pubout", "-out", self.public)

    def sign(self, data: bytes) -> bytes:
        return subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.private], input=data, stdout=subprocess.PIPE, check=True).stdout


def environment_without_proxies() -> dict:
    return {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}


def debian_program(package: str, path: str) -> pathlib.Path:
    """A program out of Debian's package, which would start a service if it were installed."""
    target = paths.cache() / package
    with paths.locked(paths.cache() / f"{package}.lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=paths.cache()) as work:
                subprocess.run(["apt-get", "download", "-qq", package], cwd=work, check=True, capture_output=True)
                [archive] = pathlib.Path(work).glob("*.deb")
                run("dpkg", "-x", archive, f"{work}/root")
                os.rename(f"{work}/root/{path}", target)
    return target
