# SPDX-License-Identifier: Apache-2.0
"""A host's disk that is full at each step of an upgrade, down to the blocks that are root's own, and has room again later.

Whatever the agent writes there, and k3s itself, meets it: the journal, the new binary, copies, certificates, journald's files.
"""

import contextlib
import time

import pytest

from .agent import STATE
from .faults import ends_well, go_on, some, standing_still
from .watched import is_cordoned
from .workload import invocation

pytestmark = pytest.mark.usefixtures("without_pauses")
FILL = "/var/tmp/fill"
SECONDS = 8  # of a full disk: what fails is tried again in the meantime


@contextlib.contextmanager
def full(host):
    """Not a byte more can be written inside. The file has no content: it only takes the blocks."""
    host.run("sh", "-ec", f"""
        fallocate -l $(stat -f -c '%f * %S' / | sed 's/^/echo $((/; s/$/))/' | sh) {FILL} || true
        for size in 64M 8M 1M 64K 4K; do n=0; while fallocate -l $size {FILL}.$size.$n 2>/dev/null; do n=$((n + 1)); done; done
        ! touch {FILL}.probe || ! head -c 4096 /dev/zero >{FILL}.probe""")
    try:
        yield
    finally:
        host.run("sh", "-c", f"rm -f {FILL}*")


# Those where k3s was not restarted yet, and those where it was.
EARLY = ("swap:before", "prepare:before", "cordon:before", "drain:before", "restart:before")
LATE = ("verify:before", "uncordon:before", "label:before", "release:before")


@pytest.mark.parametrize("point", some(*EARLY))
def test_a_disk_that_is_full_before_the_restart_leaves_the_node_as_it_was(fleet, point):
    host = fleet.workers[0]
    old, started = host.k3s_version(), invocation(host)
    with standing_still(fleet, host, point, drain={}) as version:
        with full(host):
            go_on(fleet.agent(host))
            fleet.until_node(host, lambda n: not is_cordoned(n), "schedulable")
            time.sleep(SECONDS)
            assert not is_cordoned(host.node())
            assert invocation(host) == started and host.k3s_version() == old
    ends_well(fleet, host, version)


@pytest.mark.parametrize("point", some(*LATE))
def test_a_disk_that_is_full_after_the_restart_holds_up_no_more_than_the_end(fleet, point):
    host = fleet.workers[1]
    with standing_still(fleet, host, point, drain={}) as version:
        started = invocation(host)
        with full(host):
            go_on(fleet.agent(host))
            fleet.until_node(host, lambda n: not is_cordoned(n), "schedulable")
            time.sleep(SECONDS)
    ends_well(fleet, host, version)
    assert invocation(host) == started


def test_a_disk_that_is_full_from_the_beginning_is_said_and_nothing_is_touched(fleet):
    host = fleet.workers[0]
    version = fleet.next_version(host)
    with full(host):
        fleet.plan("upgrades", [host], version=version)
        said = fleet.until_condition("upgrades", "Complete", "False", f"{host.name}: ")
        assert said["reason"] == "Blocked" and ("no space left on device" in said["message"] or "make room" in said["message"])
        assert not fleet.was_cordoned(host)
    ends_well(fleet, host, version)


def test_a_copy_of_the_data_store_that_finds_no_room_leaves_k3s_running(fleet):
    host = fleet.server
    old = host.k3s_version()
    copies = f"{STATE}/datastore"
    host.run("mkdir", "-p", copies)
    with standing_still(fleet, host, "copy-datastore:before") as version:
        host.run("mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", copies)
        try:
            go_on(fleet.agent(host))
            said = fleet.agent(host).heard("undone, the node is as it was", fleet.begun)["MESSAGE"]
            assert "no space left on device" in said
            host.wait_ready(old)
        finally:
            host.run("umount", copies)
    ends_well(fleet, host, version)
