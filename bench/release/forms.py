# SPDX-License-Identifier: Apache-2.0
"""A release of a real one's size in the forms that it is published in: files for nginx, an image for the registry, a bundle."""

import hashlib
import pathlib
import random
import subprocess

from tests.cluster import releases
from tests.release.registry import Image, tar

VERSION, TAG = "v1.31.4+k3s1", "v1.31.4-k3s1"
SUMS = "sha256sum-amd64.txt"
CHUNK = 64 << 10


def binary(megabytes: int) -> bytes:
    """The stand-in k3s, filled up with what a compressor can halve and what it can't, in turn. It still runs."""
    data = bytearray(releases.binary(VERSION).read_bytes())
    dice = random.Random(megabytes)
    while len(data) < megabytes * 1_000_000:
        data += dice.randbytes(CHUNK)
        data += dice.randbytes(CHUNK // 2).hex().encode()
    return bytes(data[:megabytes * 1_000_000])


class Release:
    """In `folder`: `files/`, `bundle/<version>.tar.zst`."""

    def __init__(self, folder: pathlib.Path, megabytes: int):
        data = binary(megabytes)
        self.folder, self.megabytes = folder, megabytes
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.files = folder / "files"
        self.files.mkdir(parents=True)
        (self.files / "k3s").write_bytes(data)
        (self.files / SUMS).write_text(f"{self.sha256}  k3s\n")

    def bundle(self) -> pathlib.Path:
        path = self.folder / "bundle" / f"k3s-{VERSION}.tar.zst"
        path.parent.mkdir()
        subprocess.run(["tar", "-C", self.files, "--zstd", "-cf", path, "k3s", SUMS], check=True)
        return path

    def image(self, compression: str) -> Image:
        """As rancher/k3s-upgrade has it, in one layer."""
        return Image(tar(("opt/k3s", (self.files / "k3s").read_bytes())), compression=compression)
