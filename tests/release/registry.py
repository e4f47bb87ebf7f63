# SPDX-License-Identifier: Apache-2.0
"""Debian's docker-registry, what skopeo puts into it, and a mirror that does as it is told."""

import base64
import gzip
import http.server
import io
import json
import pathlib
import re
import shutil
import ssl
import subprocess
import tarfile
import tempfile
import threading
import time

from tests.cluster.certificates import Authority
from tests.cluster.processes import environment, run

from .place import debian_program, sha256

USER, PASSWORD = "puller", "geheim-4711"
OCI = "application/vnd.oci.image."
REPOSITORY = "rancher/k3s-upgrade"
PATIENCE = 60


def digest(data: bytes) -> str:
    return "sha256:" + sha256(data)


def tar(*files) -> bytes:
    """A layer of (name, content) pairs; a TarInfo instead of a pair goes in as it is."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            if isinstance(file, tarfile.TarInfo):
                archive.addfile(file)
                continue
            info = tarfile.TarInfo(file[0])
            info.size, info.mode = len(file[1]), 0o755
            archive.addfile(info, io.BytesIO(file[1]))
    return target.getvalue()


def link(name: str, target: str, kind=tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zeros_gzip(gigabytes: int) -> bytes:
    """A gzip of so many gigabytes of zeros, made of members that are the same."""
    return gzip.compress(bytes(1 << 26)) * (16 * gigabytes)


class Image:
    """One image's blobs and manifest."""

    def __init__(self, *layers: bytes, compression="gzip", arch="amd64", types=None, annotations=()):
        self.arch = arch
        self.blobs = {}
        kinds = {"gzip": gzip.compress, "zstd": lambda data: run_bytes(["zstd", "-q", "-c"], data), "plain": bytes}
        suffix = {"gzip": "+gzip", "zstd": "+zstd", "plain": ""}[compression]
        descriptors = []
        for number, layer in enumerate(layers):
            packed = layer if types else kinds[compression](layer)
            descriptors.append(self._put(packed, types or f"{OCI}layer.v1.tar{suffix}"))
            if annotations:
                descriptors[-1]["annotations"] = annotations[number]
        config = self._put(json.dumps({
            "architecture": arch, "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}}).encode(),
            f"{OCI}config.v1+json")
        self.type = f"{OCI}manifest.v1+json"
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": self.type, "config": config,
                                    "layers": descriptors}).encode()

    def _put(self, data: bytes, kind: str) -> dict:
        self.blobs[digest(data)] = data
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    def entry(self) -> dict:
        return {"mediaType": self.type, "digest": digest(self.manifest), "size": len(self.manifest),
                "platform": {"os": "linux", "architecture": self.arch}}


def index(*images, more=()) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json",
                       "manifests": [i.entry() for i in images] + list(more)}).encode()


def run_bytes(argv, data: bytes) -> bytes:
    return subprocess.run(argv, input=data, stdout=subprocess.PIPE, check=True).stdout


class Registry:
    """docker-registry on a port of the kernel's choice, with TLS and htpasswd; in a network namespace of a cluster's, or here."""

    def __init__(self, directory: pathlib.Path, address="127.0.0.1", netns=None):
        self.directory, self.address = directory, address
        self.within = ["nsenter", f"--net=/run/netns/{netns}", "--"] if netns else []
        authority = Authority(directory, "registry-ca")
        cert, key = authority.issue("registry", "/CN=registry", "serverAuth", [f"IP:{address}"])
        self.ca, self.cert, self.key = authority.cert, cert, key
        words = run_bytes(["htpasswd", "-niB", USER], PASSWORD.encode())
        (directory / "htpasswd").write_bytes(words)
        config = {"version": 0.1, "log": {"level": "info"},
                  "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
                  "auth": {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}},
                  "http": {"addr": f"{address}:0", "tls": {"certificate": str(cert), "key": str(key)}}}
        (directory / "config.yml").write_text(json.dumps(config))
        self.log = directory / "registry.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*self.within, debian_program("docker-registry", "usr/bin/docker-registry"), "serve", directory / "config.yml"], stdout=log, stderr=log,
                                            env=environment({"OTEL_TRACES_EXPORTER": "none"}))
        self.host = f"{address}:{self._port()}"

    def _port(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(rf"listening on {re.escape(self.address)}:(\d+)", self.log.read_text())
            if found:
                return found[1]
            time.sleep(0.05)
        raise RuntimeError(f"docker-registry does not listen: {self.log.read_text()[-2000:]}")

    def close(self):
        self.process.kill()
        self.process.wait()

    def push(self, tag: str, *images: Image, repository=REPOSITORY, docker=False):
        """Several images become an index. With `docker` skopeo makes Docker's media types of OCI's."""
        layout = pathlib.Path(tempfile.mkdtemp(dir=self.directory))
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        top = images[0].manifest if len(images) == 1 else index(*images)
        kind = images[0].type if len(images) == 1 else f"{OCI}index.v1+json"
        for data in [top, *[d for i in images for d in (i.manifest, *i.blobs.values())]]:
            (blobs / digest(data).split(":")[1]).write_bytes(data)
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
            {"mediaType": kind, "digest": digest(top), "size": len(top),
             "annotations": {"org.opencontainers.image.ref.name": "x"}}]}))
        certs = self.directory / "certs"
        certs.mkdir(exist_ok=True)
        shutil.copy(self.ca, certs / "ca.crt")
        run(*self.within, "skopeo", "copy", "--insecure-policy", *(["--format=v2s2"] if docker else ["--all", "--preserve-digests"]),
            "--dest-cert-dir", certs, "--dest-creds", f"{USER}:{PASSWORD}",
            f"oci:{layout}:x", f"docker://{self.host}/{repository}:{tag}")
        shutil.rmtree(layout)
        return digest(top)

    def config(self, **mirrors) -> dict:
        """registries.yaml with the way in to this registry."""
        return {"mirrors": mirrors, "configs": {self.host: {
            "auth": {"username": USER, "password": PASSWORD}, "tls": {"ca_file": str(self.ca)}}}}


class Mirror:
    """Answers GETs below /v2/ on TLS as `answers` has it: by path, (status, headers, body), or a function of the request.

    What is asked for is in `asked`; a path that `answers` does not have gives 404.
    """

    def __init__(self, registry: Registry):
        self.answers, self.asked = {}, []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):  # pylint: disable=invalid-name
                mirror.asked.append(self.path)
                answer = mirror.answers.get(self.path.partition("?")[0], (404, {}, b""))
                status, headers, body = answer(self) if callable(answer) else answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(registry.cert, registry.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"https://{self.host}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def serve(self, tag: str, image: Image, top=None, kind=None, repository=REPOSITORY):
        """Offers the image as a registry would; `top` is an index that stands at the tag instead."""
        base = f"/v2/{repository}"
        for data, its in ((image.manifest, image.type), (top or image.manifest, kind or (f"{OCI}index.v1+json" if top else image.type))):
            for name in (tag, digest(data)) if data is (top or image.manifest) else (digest(data),):
                self.answers[f"{base}/manifests/{name}"] = (200, {"Content-Type": its}, data)
        for name, data in image.blobs.items():
            self.answers[f"{base}/blobs/{name}"] = (200, {}, data)


def authorized(handler, word: str) -> bool:
    return handler.headers.get("Authorization") == word


def basic() -> str:
    return "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
