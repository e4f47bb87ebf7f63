# SPDX-License-Identifier: Apache-2.0
"""Releases from where an administrator says, on real hosts: nothing is touched before every byte is verified."""

import contextlib
import json
import shutil

from tests.release.registry import PASSWORD, Image, Registry, tar

from . import now
from .agent import CONFIGURATION, STATE
from .network import CONTROL_PLANE
from .processes import run
from .watched import is_cordoned

BUNDLES = f"{STATE}/bundles"
IMAGES = "/var/lib/rancher/k3s/agent/images"
FROM_BUNDLES = CONFIGURATION + "source: [{bundle: {}}]\n"


def put_bundle(fleet, host, version, suffix=".tar.zst"):
    """A release on the host, as an administrator copies it there: beside its place, then moved."""
    release = fleet.cluster.releases.directory / "releases" / version
    name = f"k3s-{version}{suffix}"
    folder = host.path(BUNDLES)
    folder.mkdir(exist_ok=True)
    if suffix:
        run("tar", "--zstd", "-cf", folder / f".{name}", "-C", release, ".")
    else:
        shutil.copytree(release, folder / f".{name}")
    (folder / f".{name}").rename(folder / name)


def images(host) -> list:
    return host.run("sh", "-c", f"ls {IMAGES} 2>/dev/null", check=False).stdout.split()


@contextlib.contextmanager
def without_a_network(host):
    """None but to the API server: the release server's names lead nowhere."""
    hosts = host.read("/etc/hosts")
    host.push("/etc/hosts", "127.0.0.1 localhost\n")
    try:
        yield
    finally:
        host.push("/etc/hosts", hosts)


def test_a_host_without_a_network_is_upgraded_from_a_bundle_as_soon_as_it_appears(fleet):
    host = fleet.workers[0]
    fleet.agent(host).configure(FROM_BUNDLES)
    with without_a_network(host):
        for suffix in (".tar.zst", ""):
            version = fleet.next_version(host)
            fleet.plan("offline", [host], version=version)
            said = fleet.until_condition("offline", "Complete", "False", BUNDLES)
            assert said["reason"] == "Blocked" and version in said["message"]
            assert not is_cordoned(host.node())
            put_bundle(fleet, host, version, suffix)
            fleet.wait_complete("offline", version)
            assert host.is_ready(version)
            # The first one's went when the second was healthy.
            assert images(host) == [f"k3s-airgap-images-amd64.{version}.tar.zst"]
    assert host.run("ls", f"{STATE}/staging").stdout.split() == []


def test_a_host_pulls_the_plans_image_through_the_mirror_of_its_registries_yaml(fleet, tmp_path):
    host = fleet.workers[1]
    version = fleet.next_version(host)
    registry = Registry(tmp_path, CONTROL_PLANE, fleet.cluster.network.name)
    try:
        binary = (fleet.cluster.releases.directory / "releases" / version / "k3s").read_bytes()
        registry.push(version.replace("+", "-"), Image(tar(("opt/k3s", binary)), tar(("bin/upgrade.sh", b"#!/bin/sh\n"))),
                      repository="mirrored/k3s-upgrade")
        host.push("/etc/rancher/k3s/mirror-ca.pem", registry.ca.read_text())
        entry = registry.config(**{"docker.io": {
            "endpoint": [f"https://{registry.host}"], "rewrite": {"^rancher/(.*)": "mirrored/$1"}}})
        entry["configs"][registry.host]["tls"]["ca_file"] = "/etc/rancher/k3s/mirror-ca.pem"
        host.push("/etc/rancher/k3s/registries.yaml", json.dumps(entry), 0o600)
        fleet.agent(host).configure(CONFIGURATION + "source: [{registry: {}}]\n")
        fleet.plan("pulled", [host], version=version)
        fleet.wait_complete("pulled")
        assert host.is_ready(version)
        said = "\n".join(str(r.get("MESSAGE")) for r in fleet.agent(host).records(fleet.begun))
        assert f"fetched and verified {version}" in said and PASSWORD not in said
    finally:
        host.path("/etc/rancher/k3s/registries.yaml").unlink(missing_ok=True)
        registry.close()


def test_with_a_key_an_unsigned_release_touches_nothing_and_a_signed_one_is_installed(fleet, tmp_path):
    host = fleet.workers[1]
    version = fleet.next_version(host)
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "key.pem")
    host.push("/etc/k3s-upgrade-agent/release.pem", run("openssl", "pkey", "-in", tmp_path / "key.pem", "-pubout").stdout)
    fleet.agent(host).configure(
        CONFIGURATION + "source: [{http: {}}]\nverify: {public_keys: [/etc/k3s-upgrade-agent/release.pem]}\n")
    fleet.plan("signed", [host], version=version)
    said = fleet.until_condition("signed", "Complete", "False", "sha256sum-amd64.txt.sig")
    assert said["reason"] == "Blocked"
    sums = fleet.cluster.releases.directory / "releases" / version / "sha256sum-amd64.txt"
    run("openssl", "pkeyutl", "-sign", "-rawin", "-inkey", tmp_path / "key.pem", "-in", sums, "-out", f"{sums}.sig")
    assert not fleet.was_cordoned(host)
    fleet.wait_complete("signed")
    assert host.is_ready(version)


def test_a_folder_that_cannot_be_written_is_found_out_before_the_cordon(fleet):
    host = fleet.workers[0]
    version = fleet.next_version(host)
    # Before the agent starts: it has a mount of its own there.
    host.run("mount", "--bind", "/usr/local/bin", "/usr/local/bin")
    host.run("mount", "-o", "remount,ro,bind", "/usr/local/bin")
    try:
        fleet.agent(host).restart()
        fleet.plan("readonly", [host], version=version)
        said = fleet.until_condition("readonly", "Complete", "False", "/usr/local/bin")
        assert said["reason"] == "Blocked" and "read-only" in said["message"]
        assert not fleet.was_cordoned(host)
    finally:
        host.run("umount", "/usr/local/bin")
    fleet.agent(host).restart()
    fleet.wait_complete("readonly")
    assert host.is_ready(version)


def test_a_full_disk_is_found_out_before_the_download(fleet):
    host = fleet.workers[1]
    version = fleet.next_version(host)
    staging = f"{STATE}/staging"
    host.run("mkdir", "-p", staging)
    host.run("mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", staging)
    begun = now()
    try:
        fleet.agent(host).restart()
        fleet.plan("full", [host], version=version)
        said = fleet.until_condition("full", "Complete", "False", "make room")
        assert said["reason"] == "Blocked" and staging in said["message"]
        assert not fleet.was_cordoned(host)
        assert fleet.agent(host).records(begun, "took a slot") == []
    finally:
        host.run("umount", staging)
    fleet.agent(host).restart()
    fleet.wait_complete("full")
    assert host.is_ready(version)
