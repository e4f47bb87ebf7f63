# SPDX-License-Identifier: Apache-2.0
"""Releases over HTTP from a real nginx on TLS, taken by the real `k3s-upgrade-agent fetch`."""

import pathlib
import signal
import subprocess

import pytest

from tests.cluster import releases
from tests.cluster.certificates import Authority
from tests.cluster.processes import until

from .nginx import ForwardProxy, PATIENCE, Relay, Web, random_cuts
from .place import AGENT, SUMS, VERSION, environment_without_proxies, open_folder, sha256

LOCATIONS = """
location /slow { alias @ROOT@/plain; limit_rate 2m; limit_rate_after 1m; }
location /bearer { alias @ROOT@/plain; if ($http_authorization != "Bearer s3cret-token") { return 401; } }
location /basic { alias @ROOT@/plain; auth_basic x; auth_basic_user_file @ROOT@/htpasswd; }
location /busy { add_header Retry-After 3600 always; return 429; }
location /broken { return 500; }
location /loop { return 302 $request_uri; }
location /to-plain { return 302 http://127.0.0.1:1$request_uri; }
location /to-link-local { return 302 https://169.254.169.254$request_uri?signature=s3cret; }
location ~ ^/to-other/(.*)$ { return 302 https://127.0.0.1:@OTHER@/plain/$1?signature=s3cret; }
"""


class Place:
    """A mirror below `/plain`, and an empty folder to fetch into."""

    def __init__(self, root: pathlib.Path, authority: Authority):
        self.root = root
        self.to = root / "to"
        self.to.mkdir()
        work = root / "nginx"
        work.mkdir()
        self.web = Web(work, authority, LOCATIONS.replace("@ROOT@", str(work / "root")))
        self.folder = work / "root" / "plain" / VERSION
        self.folder.mkdir(parents=True)
        (work / "root" / "htpasswd").write_text("me:{PLAIN}s3cret-pass\n")
        self.extra = ""

    def publish(self, binary: bytes, sums=None):
        (self.folder / "k3s").write_bytes(binary)
        (self.folder / SUMS).write_bytes(f"{sha256(binary)}  k3s\n".encode() if sums is None else sums)

    def start(self, url=None, ca=True, credentials=None, env=None):
        lines = [f"base_url: {url or self.web.url('/plain')}"]
        if ca:
            lines.append(f"ca_file: {self.web.ca}")
        if credentials:
            path = self.root / "credentials"
            path.touch(mode=0o600)
            path.write_text(credentials)
            lines.append(f"credentials_file: {path}")
        config = self.root / "config.yaml"
        config.write_text(f"source: [{{http: {{{', '.join(lines)}}}}}]\n{self.extra}")
        return subprocess.Popen([AGENT, "fetch", VERSION, "--config", config, "--to", self.to], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env={**environment_without_proxies(), **(env or {})})

    def fetch(self, **options):
        process = self.start(**options)
        out, err = process.communicate(timeout=PATIENCE)
        assert "s3cret" not in out + err
        return process.returncode, out, err

    def fetched(self, **options) -> bytes:
        """The binary; it must succeed."""
        code, out, err = self.fetch(**options)
        assert code == 0, err
        assert VERSION in out
        return (self.to / "k3s").read_bytes()

    def refused(self, *named, **options) -> str:
        """The last line, which says why and names these; nothing is left behind."""
        code, out, err = self.fetch(**options)
        assert code != 0, out
        lines = [line for line in err.splitlines() if line]
        assert len(lines[-1]) < 1000
        for name in named:
            assert str(name) in lines[-1], err
        assert list(self.to.iterdir()) == []
        assert "Traceback" not in err and "terminate" not in err
        return lines[-1]

    @property
    def partial(self) -> pathlib.Path:
        return self.to / ".k3s-upgrade-agent-fetch" / VERSION / "unverified" / "k3s"


@pytest.fixture(scope="session")
def binary() -> bytes:
    # k3s is larger than the stand-in; what follows an ELF's last section is nobody's business.
    return releases.binary(VERSION).read_bytes() + bytes(range(256)) * 8192


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("web"), "web-ca")


@pytest.fixture
def place(authority, binary):
    with open_folder() as root:
        made = Place(root, authority)
        made.publish(binary)
        yield made
        made.web.stop()


def through(place, cuts):
    relay = Relay(place.web.ports["good"], cuts)
    return relay, f"https://127.0.0.1:{relay.port}/plain"


def test_takes_a_release_from_a_mirror_with_its_own_authority(place, binary):
    assert place.fetched() == binary
    assert [r["status"] for r in place.web.requests()] == [200, 200]
    assert all(r["encoding"] == "" and r["range"] == "" for r in place.web.requests())


def test_resumes_however_often_the_connection_is_cut(place, binary):
    cuts = random_cuts(seed=4711, size=len(binary), count=8)
    relay, url = through(place, cuts)
    try:
        assert place.fetched(url=url) == binary
    finally:
        relay.stop()
    asked = place.web.requests("/k3s")
    assert [r["status"] for r in asked] == [200] + [206] * (len(asked) - 1)
    assert len(asked) > 4
    starts = [int(r["range"].removeprefix("bytes=").removesuffix("-")) for r in asked[1:]]
    assert starts == sorted(starts) and len(set(starts)) == len(starts)
    assert all(r["if_range"].startswith('"') for r in asked[1:])


def killed_halfway(place, **options):
    process = place.start(url=place.web.url("/slow"), **options)
    try:
        until(lambda: place.partial.exists() and place.partial.stat().st_size > 500_000, "half a binary", interval=0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
    return place.partial.stat().st_size


def test_asks_only_for_what_is_missing_after_a_kill(place, binary):
    have = killed_halfway(place)
    assert 0 < have < len(binary)
    assert place.fetched(url=place.web.url("/slow")) == binary
    last = place.web.requests("/k3s")[-1]
    assert (last["status"], last["range"], last["sent"]) == (206, f"bytes={have}-", len(binary) - have)
    assert [p.name for p in place.to.iterdir()] == ["k3s"]


def test_begins_anew_after_a_kill_when_the_file_has_changed(place, binary):
    killed_halfway(place)
    place.publish(binary + b"another build")
    assert place.fetched(url=place.web.url("/slow")) == binary + b"another build"
    last = place.web.requests("/k3s")[-1]
    assert last["status"] == 200 and last["range"] != ""


def test_fetches_anew_what_a_power_cut_has_spoilt(place, binary):
    have = killed_halfway(place)
    place.partial.write_bytes(bytes(have))
    assert place.fetched(url=place.web.url("/slow")) == binary
    assert [r["status"] for r in place.web.requests("/k3s")[-2:]] == [206, 200]


def test_believes_only_a_certificate_that_is_in_order(place):
    assert "certificate" in place.refused(place.web.url("/plain", "expired"), url=place.web.url("/plain", "expired"))
    place.refused("127.0.0.1", url=place.web.url("/plain", "wrong_host"))
    assert "certificate" in place.refused(ca=False)
    assert place.web.requests() == []


def test_sends_credentials_and_never_shows_them(place, binary):
    assert place.fetched(url=place.web.url("/bearer"), credentials="bearer s3cret-token\n") == binary
    assert {r["authorization"] for r in place.web.requests()} == {"Bearer s3cret-token"}
    (place.to / "k3s").unlink()
    assert place.fetched(url=place.web.url("/basic"), credentials="basic me:s3cret-pass\n") == binary
    (place.to / "k3s").unlink()
    assert place.fetched(url=place.web.url("/basic").replace("//", "//me:s3cret-pass@")) == binary
    (place.to / "k3s").unlink()
    place.refused("answers 401", url=place.web.url("/bearer"), credentials="bearer s3cret-but-another")
    place.refused("answers 401", url=place.web.url("/basic").replace("//", "//me:s3cret@"))
    place.refused("bearer TOKEN", credentials="s3cret")
    (place.root / "credentials").chmod(0o644)
    place.refused("chmod 0600", credentials="bearer s3cret")


def test_keeps_credentials_from_another_host(place, binary):
    assert place.fetched(url=place.web.url("/to-other/"), credentials="bearer s3cret-token") == binary
    seen = {(r["uri"].split("/")[1], r["authorization"]) for r in place.web.requests()}
    assert seen == {("to-other", "Bearer s3cret-token"), ("plain", "")}


def test_goes_through_a_proxy_with_credentials(place, binary):
    proxy = ForwardProxy("me:s3cret@x")
    port = place.web.ports["good"]
    url = f"https://mirror.test:{port}/plain"
    try:
        env = {"HTTPS_PROXY": f"me:s3cret%40x@127.0.0.1:{proxy.port}"}
        assert place.fetched(url=url, env=env) == binary
        assert set(proxy.asked) == {f"CONNECT mirror.test:{port} HTTP/1.1"}
        (place.to / "k3s").unlink()
        place.refused("proxy", "407", url=url, env={"HTTPS_PROXY": f"http://me:s3cret@127.0.0.1:{proxy.port}"})
        proxy.asked.clear()
        assert place.fetched(env=env) == binary
        assert proxy.asked == [], "this host is not behind a proxy"
        (place.to / "k3s").unlink()
        place.refused("mirror.test", url=url, env={**env, "NO_PROXY": "example.org,mirror.test"})
        assert proxy.asked == []
    finally:
        proxy.stop()


def test_does_not_follow_redirects_to_wherever(place):
    place.refused("without TLS", "http://127.0.0.1:1/", url=place.web.url("/to-plain"))
    place.refused("link-local", "169.254.169.254", url=place.web.url("/to-link-local"))
    place.refused("more than 5 redirects", url=place.web.url("/loop"))


def test_says_what_the_server_answers(place):
    place.refused("answers 404", "no release v1.31.4+k3s1", url=place.web.url("/nowhere"))
    place.refused("answers 500", url=place.web.url("/broken"))
    place.refused("answers 429", "come again in 1h", url=place.web.url("/busy"))
    (place.folder / "k3s").unlink()
    place.refused("/k3s answers 404")
    place.web.stop()
    place.refused("refused")


@pytest.mark.parametrize("spoilt", ["truncated", "longer", "flipped", "empty"])
def test_refuses_a_binary_that_is_not_the_one_of_the_sums(place, binary, spoilt):
    other = {"truncated": binary[:-1], "longer": binary + b"x", "flipped": binary[:99] + bytes([binary[99] ^ 1]) + binary[100:],
             "empty": b""}[spoilt]
    place.publish(other, f"{sha256(binary)}  k3s\n".encode())
    place.refused(sha256(binary), sha256(other))


def test_gives_up_on_a_server_that_never_sends_all(place, binary):
    relay, url = through(place, [400_000] + [3_000] * 50)
    try:
        code, _, err = place.fetch(url=url)
    finally:
        relay.stop()
    assert code != 0
    assert "attempts brought no more" in err.splitlines()[-1]
    assert f"of {len(binary)} bytes" in err.splitlines()[-1]
    assert not (place.to / "k3s").exists()
    # What is here is gone on with when the server is well again: but that is another address.


@pytest.mark.parametrize("sums, said", [
    (b"", "no checksum for k3s"),
    (b"a" * 64 + b"  k3s\n" + b"b" * 64 + b"  k3s\n", "two different checksums for k3s"),
    (b"a" * 64 + b"  k3s-arm64\n", "no checksum for k3s"),
    (b"<html>not here</html>\n", "line 1"),
    (b"a" * 64 + b"  k3s\n" + b"#" * 10_000_000, "longer than"),
], ids=["empty", "twice", "others", "page", "10MB"])
def test_refuses_sums_that_are_not_in_order(place, binary, sums, said):
    place.publish(binary, sums)
    place.refused(said, SUMS)
    assert place.web.requests("/k3s") == []


def test_refuses_sums_with_the_line_ends_of_another_system(place, binary):
    place.publish(binary, f"{sha256(binary)}  k3s\r\n".encode())
    place.refused("line 1 ends with CR LF", SUMS)


def test_wants_a_signature_where_there_is_a_key(place, binary):
    key = place.root / "key.pem"
    for words in (["genpkey", "-algorithm", "ed25519", "-out", key], ["pkey", "-in", key, "-pubout", "-out", f"{key}.pub"]):
        subprocess.run(["openssl", *words], check=True, capture_output=True)
    place.extra = f"verify: {{public_keys: [{key}.pub]}}\n"
    signature = place.folder / f"{SUMS}.sig"
    place.refused(f"{SUMS}.sig answers 404", "verify.public_keys")
    signature.write_bytes(bytes(64))
    place.refused(SUMS)
    signature.write_bytes(bytes(100_000))
    place.refused(f"{SUMS}.sig", "longer than")
    subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", place.folder / SUMS, "-out", signature],
                   check=True, capture_output=True)
    assert place.fetched() == binary
