# SPDX-License-Identifier: Apache-2.0
"""The source `registry` as the program has it, against Debian's docker-registry, and against mirrors that misbehave."""

import base64
import gzip
import json
import pathlib
import subprocess
import tarfile

import pytest

from tests.cluster import releases

from .place import AGENT, VERSION, Key, environment_without_proxies, open_folder
from .registry import OCI, PASSWORD, REPOSITORY, Image, Mirror, Registry, authorized, basic, digest, index, link, tar, zeros_gzip

TAG = "v1.31.4-k3s1"


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    running = Registry(tmp_path_factory.mktemp("registry"))
    yield running
    running.close()


@pytest.fixture
def mirrors(registry):
    made = []

    def make():
        made.append(Mirror(registry))
        return made[-1]
    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def binary():
    return releases.binary(VERSION).read_bytes()


class Fetch:
    """Runs `k3s-upgrade-agent fetch` with a registries.yaml of the test's own."""

    def __init__(self, folder: pathlib.Path, registry: Registry):
        self.folder, self.registry = folder, registry
        self.target = folder / "to"
        self.target.mkdir()
        self.log = ""

    def run(self, image=REPOSITORY, keys=(), registries=None, **mirrors):
        config = registries if registries is not None else self.registry.config(**mirrors)
        text = config if isinstance(config, str) else json.dumps(config)
        (self.folder / "registries.yaml").write_text(text)
        (self.folder / "config.yaml").write_text(json.dumps({
            "source": [{"registry": {"registries": str(self.folder / "registries.yaml")}}],
            **({"verify": {"public_keys": [str(k) for k in keys]}} if keys else {})}))
        done = subprocess.run([AGENT, "fetch", VERSION, "--image", image, "--config", self.folder / "config.yaml", "--to", self.target],
                              capture_output=True, text=True, timeout=120,
                              env=environment_without_proxies())
        self.log = done.stdout + done.stderr
        assert PASSWORD not in self.log
        return done

    def works(self, expected: bytes, **how):
        assert self.run(**how).returncode == 0, self.log
        assert (self.target / "k3s").read_bytes() == expected
        (self.target / "k3s").unlink()
        assert list(self.target.iterdir()) == []

    def fails(self, *said, **how):
        done = self.run(**how)
        assert done.returncode != 0
        last = done.stderr.strip().splitlines()[-1]
        for part in said:
            assert part in last, self.log
        assert list(self.target.iterdir()) == [], "something is left behind"


@pytest.fixture
def fetch(registry):
    with open_folder() as root:
        yield Fetch(root, registry)


def through(*hosts) -> dict:
    """`docker.io` through these endpoints; what is behind them fails in this test's own way, not over the internet."""
    return {"docker.io": {"endpoint": list(hosts)}}


def trusting(registry, mirror, *hosts) -> dict:
    """registries.yaml for a mirror alone, standing for a registry of its own name, so that nobody else is asked."""
    config = registry.config(**({mirror.host: {"endpoint": list(hosts)}} if hosts else {}))
    config["configs"][mirror.host] = {"tls": {"ca_file": str(registry.ca)}}
    return config


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain", "docker"])
def test_takes_the_binary_out_of_a_lower_layer(registry, fetch, binary, kind):
    image = Image(tar(("bin/sh", b"sh"), ("opt/k3s", b"older")), tar(("opt/k3s", binary)), tar(("etc/x", b"y")),
                  compression="gzip" if kind == "docker" else kind)
    registry.push(TAG, image, docker=kind == "docker")
    fetch.works(binary, **{"docker.io": {"endpoint": [f"https://{registry.host}"]}})
    fetch.works(binary, image=f"{registry.host}/{REPOSITORY}")


def test_picks_the_architecture_out_of_an_index_also_by_digest(registry, fetch, binary):
    top = registry.push(TAG, Image(tar(("opt/k3s", b"arm")), arch="arm64"), Image(tar(("opt/k3s", binary))), repository="multi/arch")
    fetch.works(binary, image=f"{registry.host}/multi/arch")
    fetch.works(binary, image=f"{registry.host}/multi/arch@{top}")
    registry.push("other", Image(tar(("opt/k3s", binary)), arch="arm64"), Image(tar(("opt/k3s", binary)), arch="s390x"),
                  repository="multi/arch")
    fetch.fails("linux/amd64", "linux/arm64, linux/s390x", image=f"{registry.host}/multi/arch:other")


def test_rewrites_the_name_for_a_mirror(registry, fetch, binary):
    registry.push(TAG, Image(tar(("opt/k3s", binary))), repository="hub/k3s-upgrade")
    fetch.works(binary, **{"docker.io": {"endpoint": [f"https://{registry.host}"], "rewrite": {"^rancher/(.*)": "hub/$1"}}})


@pytest.mark.parametrize("above", ["opt/.wh.k3s", "opt/.wh..wh..opq", ".wh.opt", ".wh..wh..opq"])
def test_respects_a_whiteout(registry, fetch, binary, above):
    registry.push("hidden", Image(tar(("opt/k3s", binary)), tar((above, b""))))
    fetch.fails("holds no opt/k3s", image=f"{registry.host}/{REPOSITORY}:hidden")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_refuses_what_only_has_the_name(registry, fetch, kind):
    registry.push("link", Image(tar(link("opt/k3s", "etc/shadow", kind))))
    fetch.fails("opt/k3s is no regular file", image=f"{registry.host}/{REPOSITORY}:link")


def test_needs_the_right_password_and_authority(registry, fetch, binary):
    registry.push(TAG, Image(tar(("opt/k3s", binary))))
    image = f"{registry.host}/{REPOSITORY}"
    config = registry.config()
    config["configs"][registry.host]["auth"]["password"] = "wrong"
    fetch.fails("answers 401", "registries.yaml", image=image, registries=config)
    del config["configs"][registry.host]["auth"]
    fetch.fails("user name and password", image=image, registries=config)
    config = registry.config()
    config["configs"][registry.host]["tls"] = {}
    fetch.fails("certificate", image=image, registries=config)
    config["configs"][registry.host]["tls"] = {"insecure_skip_verify": True}
    fetch.works(binary, image=image, registries=config)
    config["configs"][registry.host]["tls"] = {"ca_file": "/nowhere.pem"}
    fetch.fails("tls.ca_file", "/nowhere.pem", image=image, registries=config)


def test_says_what_is_wrong_with_registries_yaml_and_with_the_image(registry, fetch):
    fetch.fails("registries.yaml", registries="mirrors: [", image=f"{registry.host}/x")
    fetch.fails("mirrors.a.lan.endpoint must be a list", registries={"mirrors": {"a.lan": {"endpoint": "b"}}}, image="a.lan/x")
    fetch.fails("is no image", image="../x")
    fetch.fails("there is no v0.0.0", image=f"{registry.host}/{REPOSITORY}:v0.0.0")


def test_goes_on_behind_a_mistake_that_is_not_in_its_way(registry, fetch, binary):
    registry.push(TAG, Image(tar(("opt/k3s", binary))))
    image = f"{registry.host}/{REPOSITORY}"
    config = registry.config(**{"https://docker.io": {"endpoint": ["https://mirror.lan"]}, "endpoint": ["https://mirror.lan"],
                                "other.lan": {"endpoint": ["ftp://mirror.lan"], "auth": {"username": "x"}}})
    fetch.works(binary, image=image, registries=config)
    mistakes = ["mirrors.https://docker.io must be named by", "mirrors.endpoint is at the wrong level", "mirrors.other.lan.endpoint[0] is not a",
                "mirrors.other.lan has a key 'auth'"]
    checked = subprocess.run([AGENT, "check-config", "--config", fetch.folder / "config.yaml"], capture_output=True, text=True, timeout=60,
                             check=False).stdout
    for mistake in mistakes:
        line = f"{fetch.folder}/registries.yaml: {mistake}"
        assert fetch.log.count(line) == 1, fetch.log
        assert f"\nwarn   source: {line}" in checked, checked
    fetch.fails("mirrors.https://docker.io must be named by", registries=config)
    config["mirrors"] = {}
    config["configs"][registry.host]["auth"] = "x"
    fetch.fails(f"configs.{registry.host}.auth must be a mapping", image=image, registries=config)


def test_gets_past_a_mirror_that_is_down_and_one_that_lies(registry, mirrors, fetch, binary):
    image = Image(tar(("opt/k3s", binary)))
    registry.push(TAG, image)
    liar, down = mirrors(), mirrors()
    down.close()
    liar.serve(TAG, image)
    for name in [p for p in liar.answers if "/blobs/" in p]:
        data = bytearray(liar.answers[name][2])
        data[len(data) // 2] ^= 1
        liar.answers[name] = (200, {}, bytes(data))
    config = registry.config(**through(down.url, liar.url, f"https://{registry.host}"))
    config["configs"][liar.host] = {"tls": {"ca_file": str(registry.ca)}}
    fetch.works(binary, registries=config)
    assert f"{down.url}/v2" in fetch.log
    assert f"{liar.url}/v2: gives bytes whose digest" in fetch.log
    assert all(p.endswith("?ns=docker.io") for p in liar.asked)
    # A manifest that is another one than the digest says.
    liar.answers[f"/v2/{REPOSITORY}/manifests/{digest(image.manifest)}"] = (200, {}, image.manifest + b" ")
    fetch.works(binary, registries=config, image=f"{REPOSITORY}@{digest(image.manifest)}")
    assert f"{liar.url}/v2: gives a manifest whose digest" in fetch.log


def test_refuses_what_a_registry_should_not_hold(registry, mirrors, fetch, binary):
    good = Image(tar(("opt/k3s", binary)))
    mirror = mirrors()
    how = {"registries": trusting(registry, mirror), "image": f"{mirror.host}/{REPOSITORY}"}
    nested = index(good)
    mirror.serve(TAG, good, top=index(more=[{"mediaType": f"{OCI}index.v1+json", "digest": digest(nested), "size": 1,
                                             "platform": {"os": "linux", "architecture": "amd64"}}]))
    fetch.fails("is an index again", **how)
    mirror.answers[f"/v2/{REPOSITORY}/manifests/{TAG}"] = (200, {}, b" " * 100_000_000)
    fetch.fails(mirror.url, **how)
    mirror.serve(TAG, Image(tar(("opt/k3s", binary)), types="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"))
    fetch.fails("foreign", **how)
    mirror.serve(TAG, Image(tar(("../../etc/passwd", b"x")), compression="gzip"))
    fetch.fails("layer sha256:", **how)
    mirror.serve(TAG, Image(b"no archive at all"))
    fetch.fails("layer sha256:", **how)
    mirror.serve(TAG, Image(tar(("opt/k3s", binary))[:-len(binary) // 2]))
    fetch.fails("layer sha256:", **how)


def test_ends_a_layer_that_unpacks_to_100_gigabytes(registry, mirrors, fetch):
    header = tarfile.TarInfo("bin/zeros")
    header.size = 100 << 30
    bomb = gzip.compress(header.tobuf(tarfile.GNU_FORMAT)) + zeros_gzip(100)
    mirror = mirrors()
    mirror.serve(TAG, Image(bomb, types=f"{OCI}layer.v1.tar+gzip"))
    fetch.fails("layer sha256:", registries=trusting(registry, mirror), image=f"{mirror.host}/{REPOSITORY}")


def test_goes_on_where_a_blob_broke_off(registry, mirrors, fetch, binary):
    image = Image(tar(("opt/k3s", binary)), compression="plain")
    mirror = mirrors()
    mirror.serve(TAG, image)
    layer = max(image.blobs, key=lambda name: len(image.blobs[name]))
    data, ranges = image.blobs[layer], []

    def breaking(handler):
        begin = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        ranges.append(begin)
        status = f"HTTP/1.1 {206 if begin else 200} x\r\nContent-Length: {len(data) - begin}\r\n"
        handler.wfile.write(f"{status}Content-Range: bytes {begin}-{len(data) - 1}/{len(data)}\r\n\r\n".encode())
        handler.wfile.write(data[begin:begin + len(data) // 3 + 1])
        handler.close_connection = True
        handler.connection.close()
        raise ConnectionAbortedError

    mirror.answers[f"/v2/{REPOSITORY}/blobs/{layer}"] = breaking
    mirror.server.handle_error = lambda *_: None
    fetch.works(binary, registries=trusting(registry, mirror), image=f"{mirror.host}/{REPOSITORY}")
    assert len(ranges) == 3 and ranges[0] == 0 and ranges[1] > 0


def test_logs_in_with_a_token(registry, mirrors, fetch, binary):
    image = Image(tar(("opt/k3s", binary)))
    mirror, auth = mirrors(), mirrors()
    mirror.serve(TAG, image)
    auth.answers["/token"] = lambda handler: (200, {}, b'{"token": "T"}') if authorized(handler, basic()) else (401, {}, b"")
    for path, answer in list(mirror.answers.items()):
        mirror.answers[path] = lambda handler, answer=answer: answer if authorized(handler, "Bearer T") else (
            401, {"WWW-Authenticate": f'Bearer realm="{auth.url}/token",service="s",scope="repository:{REPOSITORY}:pull"'}, b"")
    config = trusting(registry, mirror)
    image_name = f"{mirror.host}/{REPOSITORY}"
    config["configs"][mirror.host]["auth"] = registry.config()["configs"][registry.host]["auth"]
    fetch.works(binary, registries=config, image=image_name)
    assert auth.asked == [f"/token?service=s&scope=repository%3A{REPOSITORY.replace('/', '%2F')}%3Apull"]
    auth.answers["/token"] = (200, {}, b'{"token": "another"}')
    fetch.fails("answers 401", registries=config, image=image_name)
    config["configs"][mirror.host]["auth"] = {"username": "x", "password": "y"}
    auth.answers["/token"] = (401, {}, b"")
    fetch.fails(f"{auth.url}/token answers 401", registries=config, image=image_name)


def test_follows_a_redirect_to_a_blob_store_but_not_out_of_tls(registry, mirrors, fetch, binary):
    image = Image(tar(("opt/k3s", binary)))
    mirror, store = mirrors(), mirrors()
    mirror.serve(TAG, image)
    store.serve(TAG, image)
    how = {"registries": trusting(registry, mirror), "image": f"{mirror.host}/{REPOSITORY}"}
    how["registries"]["configs"][mirror.host]["auth"] = {"username": "x", "password": "y"}
    for path in [p for p in mirror.answers if "/blobs/" in p]:
        mirror.answers[path] = (307, {"Location": store.url + path}, b"")
    fetch.works(binary, **how)
    for to in (f"http://{store.host}/x", "https://169.254.169.254/latest/meta-data"):
        for path in [p for p in mirror.answers if "/blobs/" in p]:
            mirror.answers[path] = (302, {"Location": to}, b"")
        fetch.fails(mirror.url, **how)


class Signer(Key):
    """Signs as cosign does: a payload that names the digest, its signature in an annotation of the layer."""

    def image(self, of: str) -> Image:
        payload = json.dumps({"critical": {"identity": {"docker-reference": "x"}, "image": {"docker-manifest-digest": of},
                                           "type": "cosign container image signature"}, "optional": None}).encode()
        encoded = base64.b64encode(self.sign(payload)).decode()
        return Image(payload, types="application/vnd.dev.cosign.simplesigning.v1+json",
                     annotations=[{"dev.cosignproject.cosign/signature": encoded}])


def test_wants_cosigns_signature_where_there_are_keys(registry, mirrors, fetch, binary, tmp_path):
    image = Image(tar(("opt/k3s", binary)))
    top = index(image)
    mirror = mirrors()
    mirror.serve(TAG, image, top=top)
    ours, theirs = Signer(tmp_path, "ours"), Signer(tmp_path, "theirs")
    how = {"registries": trusting(registry, mirror), "image": f"{mirror.host}/{REPOSITORY}", "keys": [ours.public]}

    def sig(of):
        return digest(of).replace(":", "-") + ".sig"
    fetch.fails("no valid signature", f"there is no {sig(top)}", f"there is no {sig(image.manifest)}", **how)
    mirror.serve(sig(top), theirs.image(digest(top)))
    fetch.fails("no valid signature", **how)
    mirror.serve(sig(top), ours.image(digest(b"another")))
    fetch.fails("signature of another image", **how)
    mirror.serve(sig(image.manifest), ours.image(digest(image.manifest)))
    fetch.works(binary, **how)
    mirror.serve(sig(top), ours.image(digest(top)))
    fetch.works(binary, **how)
    fetch.works(binary, **{**how, "keys": [theirs.public, ours.public]})
