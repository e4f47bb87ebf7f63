# SPDX-License-Identifier: Apache-2.0
"""The agent's `fetch` and what a shell would do instead, for each source of a release; everything served by this machine."""

import hashlib
import json
import pathlib
import shutil

from tests.cluster.certificates import Authority
from tests.release.nginx import Web
from tests.release.registry import PASSWORD, REPOSITORY, USER, Registry

from .forms import TAG, VERSION, Release
from .runs import Broken, Took, measured

AGENT, RIVAL, DURABLE_RIVAL = "the agent", "the rival", "the rival with sync"


class Contest:
    """One source: `fetch` with `source` against `rival`, shell commands that end with the sum of the file named `result`."""

    def __init__(self, agent: pathlib.Path, folder: pathlib.Path, release: Release, source: dict, rival: str, result: str):
        self.agent, self.folder, self.release = agent, folder, release
        self.rival, self.result = rival, result
        folder.mkdir()
        (folder / "config.yaml").write_text(json.dumps({"source": [source]}))

    def contestants(self) -> dict:
        return {AGENT: self.fetch, RIVAL: lambda: self.other(self.rival),
                DURABLE_RIVAL: lambda: self.other(f"{self.rival} && sync {self.result} && sync .")}

    def fetch(self, watch=False) -> Took:
        to = self.folder / "to"
        to.mkdir()
        took, said = measured([self.agent, "fetch", VERSION, "--config", self.folder / "config.yaml", "--to", to], self.folder, watch)
        left = sorted(p.name for p in to.iterdir())
        if left != ["k3s"] or said.split()[0] != self.release.sha256 or self._sum(to / "k3s") != self.release.sha256:
            raise Broken(f"{self.folder.name}: fetch left {left} and said {said!r}, and not k3s with {self.release.sha256}")
        shutil.rmtree(to)
        return took

    def other(self, script: str) -> Took:
        work = self.folder / "rival"
        work.mkdir()
        took, said = measured(["/bin/sh", "-e", "-c", script], work)
        if said.splitlines()[-1].split()[0] != self.release.sha256:
            raise Broken(f"{self.folder.name}: the rival has another sum: {said!r}")
        shutil.rmtree(work)
        return took

    @staticmethod
    def _sum(path: pathlib.Path) -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Stage:
    """The servers, and the contests that they serve."""

    def __init__(self, folder: pathlib.Path, agent: pathlib.Path):
        self.folder, self.agent = folder, agent
        self.web = self.registry = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.web:
            self.web.stop()
        if self.registry:
            self.registry.close()

    def http(self, release: Release) -> Contest:
        if not self.web:
            work = self.folder / "web"
            work.mkdir()
            self.web = Web(work, Authority(work / "authority", "web-ca"))
        base = f"/{release.megabytes}"
        shutil.copytree(release.files, self.web.root / f"{release.megabytes}" / VERSION)
        return Contest(self.agent, self.folder / f"http-{release.megabytes}", release,
                       {"http": {"base_url": self.web.url(base), "ca_file": str(self.web.ca)}},
                       f"curl -sS --cacert {self.web.ca} -o k3s {self.web.url(base)}/{VERSION.replace('+', '%2B')}/k3s && "
                       "sha256sum k3s", "k3s")

    def image(self, release: Release, compression: str) -> Contest:
        if not self.registry:
            work = self.folder / "registry"
            work.mkdir()
            self.registry = Registry(work)
        image = release.image(compression)
        # The agent knows one name and one tag: each image is in a repository of its own, where a rewrite leads.
        tag = f"{compression}-{release.megabytes}"
        repository = f"{tag}/{REPOSITORY}"
        self.registry.push(TAG, image, repository=repository)
        folder = self.folder / f"registry-{tag}"
        layer = json.loads(image.manifest)["layers"][0]["digest"].partition(":")[2]
        contest = Contest(self.agent, folder, release, {"registry": {"registries": str(folder / "registries.yaml")}},
                          f"skopeo copy -q --insecure-policy --src-cert-dir {self.registry.directory / 'certs'} "
                          f"--src-creds {USER}:{PASSWORD} docker://{self.registry.host}/{repository}:{TAG} dir:image && "
                          f"tar -x{'z' if compression == 'gzip' else ' --zstd'} -f image/{layer} && sha256sum opt/k3s", "opt/k3s")
        mirror = {"endpoint": [f"https://{self.registry.host}"], "rewrite": {"^(.*)$": f"{tag}/$1"}}
        (folder / "registries.yaml").write_text(json.dumps(self.registry.config(**{"docker.io": mirror})))
        return contest

    def bundle(self, release: Release) -> Contest:
        path = release.bundle()
        return Contest(self.agent, self.folder / f"bundle-{release.megabytes}", release, {"bundle": {"directory": str(path.parent)}},
                       f"zstd -dc {path} | tar x && sha256sum k3s", "k3s")
