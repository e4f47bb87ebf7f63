# SPDX-License-Identifier: Apache-2.0
"""Stand-in releases of k3s, and the server that they are downloaded from."""

import base64
import filecmp
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import tempfile

from . import paths
from .certificates import Authority
from .processes import Process, run

FAKES = paths.REPOSITORY / "tests" / "fakes"
HOSTS = ["github.com", "objects.githubusercontent.com", "update.k3s.io"]
# GOARCH: what k3s calls the binary, and the architecture in its other files' names.
ARCHITECTURES = {"amd64": ("k3s", "amd64"), "arm64": ("k3s-arm64", "arm64"), "arm": ("k3s-armhf", "arm")}
PAYLOAD_HEADER = b"\nk3s stand-in payload "
PAYLOAD_SIZE = 256 << 10


def go_build(source: pathlib.Path, target: pathlib.Path, variables=None, arch="amd64"):
    """Builds a stand-in: static, with nothing but the standard library."""
    target.parent.mkdir(parents=True, exist_ok=True)
    flags = " ".join(["-s", "-w", *[f"-X main.{k}={v}" for k, v in (variables or {}).items()]])
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        run("env", "-C", source, "GO111MODULE=off", "GOFLAGS=", "CGO_ENABLED=0", f"GOARCH={arch}", "GOOS=linux",
            f"GOCACHE={paths.cache()}/go-build", f"GOPATH={work}", "go", "build", "-trimpath", "-ldflags", flags,
            "-o", f"{work}/program", ".", timeout=600)
        os.rename(f"{work}/program", target)


def built(fake: str) -> pathlib.Path:
    """The program of one of tests/fakes, from the cache or built."""
    source = FAKES / fake
    program = paths.cache() / fake / _source_hash(source)
    with paths.locked(paths.cache() / f"{fake}.lock"):
        if not program.exists():
            go_build(source, program)
    return program


def _source_hash(source: pathlib.Path) -> str:
    text = b"".join(p.read_bytes() for p in sorted(source.glob("*.go")))
    return hashlib.sha256(text).hexdigest()[:12]


def build_date(version: str) -> str:
    """A date that grows with the version: a patch every month, and a minor after all patches that a run may come to of the one
    before. (k3s's last patches of a minor are younger than the next minor's first, and may not be followed by those.)"""
    major, minor, patch, build = (int(n) for n in re.match(r"v(\d+)\.(\d+)\.(\d+).*?(\d+)$", version).groups())
    months = 1975 * 12 + (minor - 15) * 120 + patch + (major - 1) * 12000
    return f"{months // 12}-{months % 12 + 1:02}-{min(build, 28):02}T12:00:00Z"


def _append_payload(program: pathlib.Path, seed: str):
    """What it unpacks before it does anything but tell its version (tests/fakes/k3s/payload.go)."""
    payload = random.Random(seed).randbytes(PAYLOAD_SIZE)
    header = PAYLOAD_HEADER + f"{hashlib.sha256(payload).hexdigest()} {len(payload)}\n".encode()
    with open(program, "ab") as file:
        file.write(header + payload)


def payload_hash(program: bytes) -> str:
    """The name of the folder below `<data-dir>/data` that the program unpacks itself into."""
    return program[program.rindex(PAYLOAD_HEADER) + len(PAYLOAD_HEADER):].split(b" ", 1)[0].decode()


def corrupted(program: bytes) -> bytes:
    """The program with 4 KiB of its payload flipped: it tells its version, and does nothing else any more."""
    at = program.rindex(PAYLOAD_HEADER) + PAYLOAD_SIZE // 2
    return program[:at] + bytes(b ^ 0xFF for b in program[at:at + 4096]) + program[at + 4096:]


def binary(version: str, misbehaviour=None, date=None, arch="amd64") -> pathlib.Path:
    """The stand-in k3s of that version, from the cache or built."""
    source = FAKES / "k3s"
    baked = base64.b64encode(json.dumps(misbehaviour, sort_keys=True).encode()).decode() if misbehaviour else ""
    commit = "98262b5d" if version == "v1.30.4+k3s1" else hashlib.sha256(version.encode()).hexdigest()[:8]
    variables = {"version": version, "commit": commit, "buildDate": date or build_date(version), "baked": baked}
    key = hashlib.sha256(json.dumps([variables, arch, PAYLOAD_SIZE], sort_keys=True).encode()).hexdigest()[:12]
    target = paths.cache() / "k3s" / _source_hash(source) / f"{version}-{key}"
    with paths.locked(paths.cache() / "k3s.lock"):
        if not target.exists():
            bare = target.with_name(target.name + ".bare")
            go_build(source, bare, variables, arch)
            _append_payload(bare, key)
            bare.rename(target)
    return target


def _same_files(one: pathlib.Path, other: pathlib.Path) -> bool:
    if not one.exists():
        return False
    names = sorted(f.name for f in other.iterdir())
    return sorted(f.name for f in one.iterdir()) == names == filecmp.cmpfiles(one, other, names, shallow=False)[0]


class ReleaseServer:
    """Serves `<directory>/releases`; with a network namespace on port 443, else on a free port of 127.0.0.1."""

    def __init__(self, directory: pathlib.Path, netns=None):
        self.directory = directory
        self.netns = netns
        self.process = Process(directory / "processes", "releases")
        self.ca = directory / "web-ca.crt"

    def up(self):
        authority = Authority(self.directory, "web-ca")
        authority.issue("tls", "/CN=github.com", "serverAuth", [f"DNS:{h}" for h in HOSTS + ["localhost"]] + ["IP:127.0.0.1"])
        self.start()

    def start(self):
        self.process.spawn([built("releases"), f"-dir={self.directory}", f"-listen={':443' if self.netns else '127.0.0.1:0'}"],
                           netns=self.netns)

    def stop(self):
        self.process.stop(9)

    @property
    def port(self) -> int:
        return int((self.directory / "port").read_text())

    def add(self, version: str, misbehaviour=None, date=None, architectures=("amd64",), corrupt=False) -> pathlib.Path:
        """Publishes a release; a `misbehaviour` (see tests/fakes/k3s/config.go) is built into it. The payload of a
        `corrupt` one is broken, and its sums are right."""
        folder = self.directory / "releases" / version
        work = pathlib.Path(tempfile.mkdtemp(dir=self.directory))
        for arch in architectures:
            name, suffix = ARCHITECTURES[arch]
            shutil.copy(binary(version, misbehaviour, date, arch), work / name)
            if corrupt:
                (work / name).write_bytes(corrupted((work / name).read_bytes()))
            # k3s's own sums list the images, which nobody downloads unless told to: a few bytes will do.
            for ending in ("tar", "tar.gz", "tar.zst"):
                (work / f"k3s-airgap-images-{suffix}.{ending}").write_text(f"images of {version} for {arch}\n")
            sums = [f"{hashlib.sha256((work / n).read_bytes()).hexdigest()}  {n}\n"
                    for n in [f"k3s-airgap-images-{suffix}.{e}" for e in ("tar", "tar.gz", "tar.zst")] + [name]]
            (work / f"sha256sum-{suffix}.txt").write_text("".join(sums))
        work.chmod(0o755)
        folder.parent.mkdir(exist_ok=True)
        if _same_files(folder, work):
            shutil.rmtree(work)  # It may be read at this moment, by an agent or by another test beside.
        elif folder.exists():
            old = work.with_suffix(".old")
            folder.rename(old)
            work.rename(folder)
            shutil.rmtree(old)
        else:
            work.rename(folder)
        return folder

    def settings(self) -> dict:
        try:
            return json.loads((self.directory / "settings.json").read_text())
        except FileNotFoundError:
            return {}

    def set(self, **changes):
        """Changes channels, channelBody, channelPlus, faults: see Settings in tests/fakes/releases/main.go."""
        paths.write(self.directory / "settings.json", json.dumps({**self.settings(), **changes}, indent=1))

    def channel(self, name: str, version: str):
        self.set(channels={**self.settings().get("channels", {}), name: version})

    def fault(self, match="", **fault):
        """Adds a fault for requests whose host/path contains match, e.g. status=500 or wrongByte=True."""
        self.set(faults=[*self.settings().get("faults", []), {"match": match, **fault}])

    def heal(self):
        self.set(faults=[], channelBody="")

    def requests(self) -> list:
        """The access log: one dict per request."""
        try:
            lines = (self.directory / "access.log").read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("\n")]
