# SPDX-License-Identifier: Apache-2.0
"""Bundles, made by the real tar, gzip, zstd and openssl, taken by the real `k3s-upgrade-agent fetch`."""

import gzip
import io
import os
import pathlib
import shutil
import stat
import subprocess
import tarfile

import pytest

from tests.cluster import releases

from .place import AGENT, SUMS, VERSION, Key, open_folder, sha256

IMAGES = "k3s-airgap-images-amd64.tar.zst"


def run(*words, **options):
    return subprocess.run([str(w) for w in words], check=True, timeout=60, capture_output=True, **options)


@pytest.fixture(scope="session")
def binary() -> bytes:
    return releases.binary(VERSION).read_bytes()


class Place:
    """A folder for bundles, an empty one to fetch into, and a configuration that names the first."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.bundles = root / "bundles"
        self.to = root / "to"
        self.release = root / "release"
        for folder in (self.bundles, self.to, self.release):
            folder.mkdir()
        self.keys = []

    def fetch(self, version=VERSION, to=None, cwd=None):
        config = self.root / "config.yaml"
        keys = f"verify: {{public_keys: [{', '.join(map(str, self.keys))}]}}\n" if self.keys else ""
        config.write_text(f"source: [{{bundle: {{directory: {self.bundles}}}}}]\n{keys}")
        return subprocess.run([AGENT, "fetch", version, "--config", config, "--to", to or self.to],
                              check=False, timeout=60, capture_output=True, text=True, cwd=cwd)

    def fetched(self, **options) -> dict:
        """What was fetched, by name; it must succeed."""
        done = self.fetch(**options)
        assert done.returncode == 0, done.stderr
        return {p.name: p.read_bytes() for p in self.to.iterdir()}

    def refused(self, *named) -> str:
        """The one line that says why; it names these, and nothing is left behind."""
        done = self.fetch()
        assert done.returncode != 0, done.stdout
        lines = [line for line in done.stderr.splitlines() if line]
        assert len(lines) == 1, done.stderr
        assert len(lines[0]) < 1000
        for name in named:
            assert str(name) in lines[0]
        assert list(self.to.iterdir()) == []
        return lines[0]

    def write(self, content: dict, sums=None):
        """Writes a release's files, with the right sums unless told otherwise."""
        for name, data in content.items():
            (self.release / name).write_bytes(data)
        text = "".join(f"{sha256(data)}  {name}\n" for name, data in content.items()).encode() if sums is None else sums
        (self.release / SUMS).write_bytes(text)

    def archive(self, name: str, *flags, members=None) -> pathlib.Path:
        path = self.bundles / name
        run("tar", "-C", self.release, *flags, "-caf", path, *(members or ["."]))
        return path


@pytest.fixture
def place():
    with open_folder() as root:
        yield Place(root)


def tar_bytes(*members) -> bytes:
    """A tar of (TarInfo, content) pairs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, data=b"", kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


def test_plain_files_in_the_folder_or_in_one_of_their_own(place, binary):
    place.write({"k3s": binary, IMAGES: b"images"})
    for folder in (place.bundles, place.bundles / "anything", place.bundles / VERSION.replace("+", "-")):
        shutil.rmtree(place.bundles)
        shutil.copytree(place.release, folder)
        assert place.fetched() == {"k3s": binary, IMAGES: b"images"}
        for path in place.to.iterdir():
            path.unlink()


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar"])
@pytest.mark.parametrize("extension", ["tar", "tar.gz", "tgz", "tar.zst"])
def test_archives_of_each_kind(place, binary, form, extension):
    place.write({"k3s": binary, IMAGES: b"images"})
    place.archive(f"k3s-{VERSION}.{extension}", f"--format={form}")
    # Another version's beside it.
    (place.bundles / f"k3s-v1.30.4+k3s1.{extension}").write_bytes(b"not looked at")
    assert place.fetched() == {"k3s": binary, IMAGES: b"images"}


def test_a_binary_of_another_version_is_refused(place, binary):
    place.write({"k3s": releases.binary("v1.30.4+k3s1").read_bytes()})
    place.archive("bundle.tar.zst")
    assert "v1.30.4+k3s1" in place.refused(VERSION)


def test_nothing_there(place):
    place.refused(place.bundles, VERSION, "no bundle for")
    place.bundles.rmdir()
    place.refused(place.bundles, VERSION, "no bundle for")


def test_which_one_cant_be_told(place):
    for name in ("a.tar", "b.tar"):
        (place.bundles / name).write_bytes(b"")
    place.refused("a.tar", "b.tar", "name them by version")


def harmed(binary: bytes) -> dict:
    flipped = bytearray(binary)
    flipped[len(flipped) // 2] ^= 1
    return {"truncated": binary[:-1000], "too long": binary + b"x", "flipped": bytes(flipped), "empty": b""}


@pytest.mark.parametrize("harm", ["truncated", "too long", "flipped", "empty"])
@pytest.mark.parametrize("extension", ["", "tar.zst"])
def test_a_binary_that_is_not_what_the_sums_say(place, binary, harm, extension):
    bad = harmed(binary)[harm]
    place.write({"k3s": bad}, f"{sha256(binary)}  k3s\n".encode())
    if extension:
        path = place.archive(f"{VERSION}.{extension}")
    else:
        path = place.bundles / VERSION
        shutil.copytree(place.release, path)
    place.refused(path, "k3s", sha256(bad), sha256(binary))


@pytest.mark.parametrize("extension", ["", "tar.gz"])
@pytest.mark.parametrize("sums,said", [
    (None, "sha256sum-amd64.txt"), (b"", "no checksum for k3s"), (b"x" * 10_000_000, "at most are allowed"),
    (f"{'a' * 64}  k3s\n{'b' * 64}  k3s\n".encode(), "two different checksums for k3s"),
    (b"<html>not found</html>\n", "line 1 is not a checksum"), (b"\0" * 100, "line 1 is not a checksum"),
    (f"{'a' * 64}  K3S\n{'a' * 64}  k3s-arm64\n{'a' * 64}  ./k3s\n".encode(), "no checksum for k3s"),
], ids=["missing", "empty", "long", "two", "html", "zeros", "others"])
def test_sums_that_are_not_in_order(place, binary, extension, sums, said):
    place.write({"k3s": binary}, sums or b"")
    if sums is None:
        (place.release / SUMS).unlink()
    if extension:
        place.archive(f"{VERSION}.{extension}")
    else:
        shutil.copytree(place.release, place.bundles / VERSION)
    place.refused(place.bundles / VERSION, SUMS, said)


def test_sums_in_capitals_for_binary_mode(place, binary):
    place.write({"k3s": binary}, f"{sha256(binary).upper()} *k3s\n".encode())
    place.archive("bundle.tar")
    assert place.fetched() == {"k3s": binary}


def test_sums_with_the_line_ends_of_another_system(place, binary):
    place.write({"k3s": binary}, f"{sha256(binary)}  k3s\r\n".encode())
    place.archive("bundle.tar")
    place.refused("bundle.tar", SUMS, "line 1 ends with CR LF")


def test_images_that_are_not_what_the_sums_say(place, binary):
    place.write({"k3s": binary, IMAGES: b"images"}, f"{sha256(binary)}  k3s\n{'a' * 64}  {IMAGES}\n".encode())
    path = place.archive("bundle.tar.zst")
    place.refused(path, IMAGES, "SHA-256")
    place.write({"k3s": binary, IMAGES: b"images"}, f"{sha256(binary)}  k3s\n".encode())
    path = place.archive("bundle.tar.zst")
    place.refused(path, f"no checksum for {IMAGES}")


@pytest.mark.parametrize("extension", ["tar", "tar.gz", "tar.zst"])
def test_an_archive_that_is_still_being_copied(place, binary, extension):
    place.write({"k3s": binary})
    path = place.archive(f"{VERSION}.{extension}")
    whole = path.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) * 9 // 10):
        path.write_bytes(whole[:size])
        place.refused(path, "is still being written")
    path.write_bytes(whole)
    assert place.fetched() == {"k3s": binary}


@pytest.mark.parametrize("extension", ["tar.gz", "tar.zst"])
def test_an_archive_that_was_damaged(place, binary, extension):
    place.write({"k3s": binary})
    path = place.archive(f"{VERSION}.{extension}")
    whole = bytearray(path.read_bytes())
    for at in range(len(whole) // 2, len(whole) // 2 + 2000):
        whole[at] ^= 0x5A
    path.write_bytes(whole)
    place.refused(path)


@pytest.mark.parametrize("evil,said", [
    (member("../k3s", b"x"), 'a name with ".."'), (member("/usr/local/bin/k3s", b"x"), "an absolute name"),
    (member("a/../../k3s", b"x"), 'a name with ".."'), (member("a\nb", b"x"), "control characters"),
    (member("other", kind=tarfile.LNKTYPE, target="/etc/shadow"), "an absolute name"),
    (member("other", kind=tarfile.LNKTYPE, target="../../etc/shadow"), 'a name with ".."'),
    (member("k3s", kind=tarfile.LNKTYPE, target="other"), "not a file"),
    (member("k3s", kind=tarfile.SYMTYPE, target="/bin/sh"), "not a file"),
    (member("k3s", kind=tarfile.CHRTYPE), "not a file"), (member("k3s", kind=tarfile.FIFOTYPE), "not a file"),
    (member("k3s", b"another"), "k3s is in it twice"), (member("sub/k3s", b"another"), "k3s is in it twice"),
])
def test_members_that_mean_harm(place, binary, evil, said):
    good = [member(SUMS, f"{sha256(binary)}  k3s\n".encode())]
    if said != "not a file":
        good.append(member("k3s", binary))
    path = place.bundles / "bundle.tar.gz"
    path.write_bytes(gzip.compress(tar_bytes(*good, evil), 1))
    place.refused(path, said)
    assert not (place.bundles.parent / "k3s").exists()


def test_a_million_entries(place):
    path = place.bundles / "bundle.tar.zst"
    block = tar_bytes(*[member(f"f{n}") for n in range(1000)])[:512 * 1000]
    with subprocess.Popen(["zstd", "-q", "-1", "-o", path], stdin=subprocess.PIPE) as zstd:
        for _ in range(1000):
            zstd.stdin.write(block)
        zstd.stdin.close()
    place.refused(path, "more than 10000 entries")


@pytest.mark.parametrize("name", ["k3s", "zeros"])
def test_a_hundred_gigabytes_of_zeros(place, name):
    path = place.bundles / "bundle.tar.zst"
    info = tarfile.TarInfo(name)
    info.size = 100 << 30
    zeros = subprocess.run(["zstd", "-q", "-c"], input=bytes(1 << 26), capture_output=True, check=True).stdout
    header = subprocess.run(["zstd", "-q", "-c"], input=info.tobuf(tarfile.GNU_FORMAT), capture_output=True,
                            check=True).stdout
    path.write_bytes(header + zeros * 1600)
    place.refused(path, name)


def test_a_window_of_two_gigabytes(place, binary):
    place.write({"k3s": binary})
    run("tar", "-C", place.release, "-cf", place.root / "bundle.tar", ".")
    path = place.bundles / "bundle.tar.zst"
    # From a pipe: a file's size would bound the window.
    with open(place.root / "bundle.tar", "rb") as source:
        packed = subprocess.run(["zstd", "-q", "-c", "--long=31"], stdin=source, capture_output=True, check=True).stdout
    path.write_bytes(packed)
    place.refused(path, "zstd's window")


def test_pipes_devices_and_links_are_not_opened(place, binary):
    place.write({"k3s": binary})
    path = place.bundles / f"{VERSION}.tar"
    os.mkfifo(path)
    place.refused(path, "is a pipe or device")
    path.unlink()
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
    place.refused(path, "is a pipe or device")
    path.unlink()
    path.symlink_to("/dev/zero")
    place.refused(path, "is a symbolic link")
    path.unlink()
    # The folder that the administrator named may be one.
    shutil.rmtree(place.bundles)
    place.bundles.symlink_to(place.release)
    assert place.fetched() == {"k3s": binary}


@pytest.mark.parametrize("extension", ["", "tar.zst"])
def test_signatures_are_required_with_keys(place, binary, extension):
    ours, other = Key(place.root, "ours"), Key(place.root, "other")
    place.keys = [ours.public]
    place.write({"k3s": binary, IMAGES: b"images"})

    def bundle():
        if extension:
            place.archive(f"{VERSION}.{extension}")
        else:
            shutil.rmtree(place.bundles)
            shutil.copytree(place.release, place.bundles / VERSION)

    bundle()
    place.refused(place.bundles / VERSION, f"{SUMS}.sig is missing")
    sums = (place.release / SUMS).read_bytes()
    signature = place.release / f"{SUMS}.sig"
    for wrong in (other.sign(sums), ours.sign(binary), b"", b"nonsense", b"x" * 100_000):
        signature.write_bytes(wrong)
        bundle()
        place.refused(place.bundles / VERSION, SUMS)
    signature.write_bytes(ours.sign(sums))
    bundle()
    assert place.fetched() == {"k3s": binary, IMAGES: b"images"}


def test_puts_the_files_into_a_folder_however_it_is_named(place, binary):
    place.write({"k3s": binary})
    place.archive("bundle.tar")
    os.symlink(place.to, place.root / "link")
    for to, found in (("new/folder", "new/folder/k3s"), (".", "k3s"), (place.root / "link", "to/k3s")):
        done = place.fetch(to=to, cwd=place.root)
        assert done.returncode == 0, done.stderr
        assert (place.root / found).read_bytes() == binary
        assert not (place.root / found).with_name(".k3s-upgrade-agent-fetch").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever is not root asks the binary as himself")
def test_says_which_folder_keeps_nobody_out(place, binary):
    place.write({"k3s": binary})
    place.archive("bundle.tar")
    closed = place.root / "closed"
    closed.mkdir(mode=0o700)
    done = place.fetch(to=closed / "below")
    assert done.returncode != 0
    assert f"chmod o+x {closed}`" in done.stderr


def test_works_in_no_folder_that_somebody_else_has_put_there(place, binary):
    place.write({"k3s": binary})
    place.archive("bundle.tar")
    victim = place.root / "victim"
    victim.mkdir(mode=0o700)
    work = place.to / ".k3s-upgrade-agent-fetch"

    def somebody_elses():
        work.mkdir()
        os.chown(work, 65534, 65534)

    def open_to_others():
        work.mkdir()
        work.chmod(0o777)

    for lay in [lambda: work.symlink_to(victim), open_to_others] + [somebody_elses] * (os.geteuid() == 0):
        lay()
        done = place.fetch()
        assert done.returncode != 0
        assert f"{work} is not a folder of this user's alone" in done.stderr
        assert stat.S_IMODE(victim.stat().st_mode) == 0o700 and list(victim.iterdir()) == []
        assert list(place.to.iterdir()) == [work]
        work.unlink() if work.is_symlink() else work.rmdir()
    place.to.chmod(0o777)
    assert f"everybody may write to {place.to}" in place.fetch().stderr
    place.to.chmod(0o1777)
    assert place.fetch().returncode == 0
