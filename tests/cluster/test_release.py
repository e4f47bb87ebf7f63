# SPDX-License-Identifier: Apache-2.0
"""Releases that are not what they should be, on a real host: each is refused before the node is touched."""

import contextlib
import hashlib
import pathlib
import shutil

import pytest

from . import releases
from .agent import BINARY, STATE


def publish(cluster, version, program):
    """A release of that one program, with its checksum."""
    folder = cluster.releases.directory / "releases" / version
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(program, folder / "k3s")
    (folder / "sha256sum-amd64.txt").write_text(f"{hashlib.sha256(program.read_bytes()).hexdigest()}  k3s\n")


@pytest.fixture
def build(tmp_path, fleet):
    """Builds tests/fakes/hostile, for a host that it is to reach the API on."""
    def program(mode="", arch="amd64") -> pathlib.Path:
        target = tmp_path / f"hostile-{mode}-{arch}"
        releases.go_build(releases.FAKES / "hostile", target, {"mode": mode, "api": fleet.workers[0].api}, arch)
        return target
    return program


@contextlib.contextmanager
def untouched(fleet, host):
    """Around a test's trouble: the node is not cordoned, its binary stays, and nothing is left running."""
    before = host.path(BINARY).stat()
    yield
    assert not fleet.was_cordoned(host)
    assert host.path(BINARY).stat() == before
    assert host.run("pgrep", "-f", f"{STATE}/staging|linger", check=False).stdout == ""
    assert host.run("systemctl", "list-units", "--all", "--no-legend", "k3s-upgrade-agent-trial*").stdout == ""


def refused(fleet, host, program, reason):
    """Publishes the program as a release, which is refused for that reason."""
    version = fleet.next_version(host)
    publish(fleet.cluster, version, program)
    fleet.plan("hostile", [host], version=version)
    fleet.agent(host).heard(reason, fleet.begun)


def test_a_release_that_is_asked_for_its_version_reaches_nothing(fleet, build):
    host = fleet.workers[0]
    with untouched(fleet, host):
        # `reached: ` with nothing behind it; two spaces because the line's end is shown as one.
        refused(fleet, host, build(), '--version says "reached:  ", which is no k3s version')


def test_a_release_that_does_not_end_is_ended(fleet, build):
    host = fleet.workers[0]
    with untouched(fleet, host):
        refused(fleet, host, build("hang"), "--version does not end")


def test_a_release_that_prints_without_end_is_cut(fleet, build):
    host = fleet.workers[0]
    with untouched(fleet, host):
        refused(fleet, host, build("flood"), "which is no k3s version")


def test_a_release_for_another_machine_is_not_run(fleet, build):
    host = fleet.workers[0]
    with untouched(fleet, host):
        refused(fleet, host, build(arch="arm64"), "is built for aarch64, this host is x86_64")
